"""What a client that does not read holds of ours: what was sent, and what it asks."""

import asyncio
import json
import socket
import struct
from contextlib import asynccontextmanager, suppress

import pytest
from smiles import CHRISTMAS, DAY, NOON, smile, update

from kvd.config import Publish
from kvd.sinks.outbox import SOCKET_BYTES
from kvd.sinks.publish import RECEIVE_BYTES, Publisher
from kvd.wire import Encoder

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(12))
EMPTY = struct.pack("!BB4x", 0x81, 0x80)  # a text frame of nothing, masked with zeros
UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: kvd\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def publisher(**changes):
    return Publisher(Publish(port=0, **changes), Encoder("e1"), dict, bytes, lambda: NOON)


@asynccontextmanager
async def deaf(server, topics):
    """A bare socket with small buffers that has subscribed and is not read any more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connected:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connected.setsockopt(socket.SOL_SOCKET, option, 4096)
        connected.setblocking(False)
        await loop.sock_connect(connected, ("127.0.0.1", server.port))
        await loop.sock_sendall(connected, UPGRADE + masked({"op": "subscribe", "topics": topics}))
        await until(lambda: server.statistics().subscriptions == len(topics))
        yield connected


def masked(request):
    """A request of at most 125 bytes as a text frame, masked with zeros."""
    payload = json.dumps(request).encode()
    return struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload


async def until(condition):
    while not condition():  # noqa: ASYNC110 it has no event to wait for
        await asyncio.sleep(0.01)


async def fill(server, times):
    """Publish a surface so many times."""
    for count in range(times):
        server.publish(update(*[smile(expiry, quotes=count) for expiry in EXPIRIES]))
        await asyncio.sleep(0)


def test_a_client_that_does_not_read_holds_less_than_a_mebibyte():
    async def run():
        async with (
            asyncio.timeout(30),
            publisher(stalled_after_s=20.0) as server,
            deaf(server, ["surface.*.*", "smile.*.*.*", "atm.*.*"]) as client,
        ):
            await fill(server, 100)
            statistics = server.statistics()
            assert statistics.overwrites > 1000
            assert statistics.buffered_bytes < statistics.held_bytes < 2**20
            client.close()
            await until(lambda: server.statistics().held_bytes == 0)

    asyncio.run(run())


def test_what_waits_in_the_kernel_goes_with_a_client_that_is_cut():
    async def run():
        loop = asyncio.get_running_loop()
        async with (
            asyncio.timeout(30),
            publisher(stalled_after_s=0.3) as server,
            deaf(server, ["surface.*.*"]) as client,
        ):
            while not server.statistics().cut:
                await fill(server, 1)
                await asyncio.sleep(0.01)
            read = 0
            with pytest.raises(ConnectionResetError):
                while data := await loop.sock_recv(client, 2**20):
                    read += len(data)
            assert read < SOCKET_BYTES / 4
            assert server.statistics().cut == {"stalled": 1}

    asyncio.run(run())


def test_who_asks_without_reading_is_soon_not_read_either():
    async def run():
        loop = asyncio.get_running_loop()
        async with (
            asyncio.timeout(30),
            publisher(stalled_after_s=20.0) as server,
            deaf(server, ["surface.*.*"]) as client,
        ):
            await fill(server, 100)
            sent = 0
            with suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(1.0):
                        await loop.sock_sendall(client, EMPTY)
                    sent += len(EMPTY)
            assert sent < 8 * RECEIVE_BYTES

    asyncio.run(run())
