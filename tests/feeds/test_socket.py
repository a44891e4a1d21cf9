"""What waits for us is bounded."""

import asyncio
import socket
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET

from scripted_venue import run, serving

from kvd.config import Feed
from kvd.feeds.live.socket import MAX_WAITING_FRAMES, RECEIVE_BUFFER_BYTES, open_socket

FRAME = b"x" * 4096
SENT_BYTES = 1 << 16


def granted() -> int:
    """What the system makes of the wish: Linux doubles it, up to its own limit."""
    with socket.socket() as other:
        other.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return other.getsockopt(SOL_SOCKET, SO_RCVBUF)


def test_a_feed_that_cannot_keep_up_leaves_little_waiting():
    sent = 0

    async def flood(client):
        nonlocal sent
        client.transport.set_write_buffer_limits(0)
        client.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, SENT_BYTES)
        while True:
            await client.send(FRAME)
            sent += 1

    async def stands_still():
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)

    async def scenario():
        async with serving(flood, write_limit=0) as server:
            opened = await open_socket(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", Feed())
            raw = opened.transport.get_extra_info("socket")
            assert raw.getsockopt(SOL_SOCKET, SO_RCVBUF) == granted()
            taken = 0
            for _ in range(20_000):  # by and by, so that Linux would let the buffer grow
                taken += len(await opened.recv(decode=False))
            await stands_still()
            waiting = sent * len(FRAME) - taken
            assert waiting <= MAX_WAITING_FRAMES * len(FRAME) + 2 * (RECEIVE_BUFFER_BYTES + SENT_BYTES)
            await opened.close()

    run(scenario)
