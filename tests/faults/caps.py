"""R4: what one client may take, and all of them together."""

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress

from verdicts import Row
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

PASSERS_BY = 500  # sockets beside those with a place on the stream
TOPICS, MESSAGES, FRAME_BYTES = 1000, 50, 64 * 1024
AT_ONCE = 50


async def caps(port: int, places: int, sockets: bool) -> list[Row]:
    """Take one more of everything than there is; hundreds of `sockets` too."""
    stream = f"ws://127.0.0.1:{port}/v1/stream"
    async with connect(stream, max_size=None, compression=None) as client:
        codes = [await _too_many_topics(client)]
        began_s = time.monotonic()
        answers = await _too_many_messages(client)
        most = MESSAGES * (1 + time.monotonic() - began_s)
    frame = await _too_large(stream)
    taken = await _too_many_clients(stream, places)
    said = f"{answers['ack']} answered, {answers['error']} refused of {3 * MESSAGES} at once"
    rows = [
        Row("R4", f"{TOPICS + 1} topics", codes[0], "too_many_subscriptions", codes == ["too_many_subscriptions"]),
        Row("R4", "messages", said, f"<= {most:.0f} answered", MESSAGES - 1 <= answers["ack"] <= most),
        Row("R4", f"a frame of {FRAME_BYTES + 1} bytes", f"close {frame}", "close 1009", frame == 1009),
        Row("R4", "clients beyond the last place", f"HTTP {taken}", "HTTP 503", taken == 503),
    ]
    return [*rows, await _sockets(port, places + PASSERS_BY)] if sockets else rows


async def _sockets(port: int, most: int) -> Row:
    stayed, away = await _too_many_sockets(port, most + AT_ONCE)
    enough = away >= AT_ONCE and stayed <= most
    return Row("R4", "sockets that say nothing", f"{stayed} stay, {away} turned away", f"<= {most}", enough)


async def _too_many_topics(client: ClientConnection) -> str:
    await client.send(json.dumps({"op": "subscribe", "topics": [f"atm.nowhere.T{n}" for n in range(TOPICS + 1)]}))
    return str(json.loads(await client.recv()).get("code"))


async def _too_many_messages(client: ClientConnection) -> Counter[str]:
    """What is answered to three times as much as may be said in a second, said at once."""
    for _ in range(3 * MESSAGES):
        await client.send('{"op":"ping"}')
    answers = [json.loads(await client.recv())["type"] for _ in range(3 * MESSAGES)]
    return Counter(answers)


async def _too_large(stream: str) -> int:
    async with connect(stream, compression=None) as client:
        with suppress(ConnectionClosed):
            await client.send(" " * (FRAME_BYTES + 1))
            await client.recv()
        return client.close_code or 0


async def _too_many_sockets(port: int, count: int) -> tuple[int, int]:
    """How many of `count` sockets that say nothing stay, and how many are turned away."""
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            readers.append(reader)
        await asyncio.sleep(0.3)
        away = sum(reader.at_eof() or reader.exception() is not None for reader in readers)
    return count - away, away


async def _too_many_clients(stream: str, places: int) -> int:
    """The status with which the first one too many is refused."""
    async with AsyncExitStack() as stack:
        for _ in range(places + 1):
            try:
                await stack.enter_async_context(connect(stream, compression=None, close_timeout=0.1))
            except InvalidStatus as refused:
                return refused.response.status_code
    return 0
