"""An exchange that offers any number of frames a second, in a process of its own: `flooding` is it as a trial sees it.

It speaks Deribit's protocol as `kvd simulate` does, but all its tickers are built beforehand: what is new in each is
the exchange's time, patched in as it leaves. Like an exchange of conflating channels it never queues: what the socket
does not take at once is lost, and counted as offered but not as taken.
"""

import asyncio
import os
import re
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from kvd.feeds.simulate import catalogue, dialect
from kvd.feeds.simulate.listing import BTC, ETH
from kvd.feeds.simulate.market import Market
from kvd.feeds.simulate.session import DERIBIT_LIMITS, Reply, Session
from kvd.sinks.frames import frame_head

ROOT = Path(__file__).resolve().parents[2]
TICK_S = 0.002
CHUNK = 64  # frames in one write: all that may wait here for the socket
VARIANTS, STEP_US = 4, 250_000  # how many states of the market there are tickers of, and what lies between them
INDEX_EVERY = 200  # frames between two prices of an index: an exchange says them however busy it is
SEND_BYTES = 512 * 1024  # of the kernel, which doubles it: what waits there is old when it leaves, and beyond our reach
DIGITS = 13  # of a timestamp in milliseconds
_STAMP = re.compile(rb'"timestamp":(\d{13})')


class Counts(msgspec.Struct):
    """Since the start: frames due at the rate asked for, frames that the sockets took, connections; clients now."""

    offered: int = 0
    taken: int = 0
    connections: int = 0
    clients: int = 0


class Order(msgspec.Struct):
    """From now on offer `rate` frames a second to every client; `hang_up` cuts all of them."""

    rate: float | None = None
    hang_up: bool = False


class Frames:
    """Frames in a row that repeats, with the places of their timestamps."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        heads = [frame_head(len(payload)) for payload in payloads]
        self._bytes = bytearray(b"".join(part for pair in zip(heads, payloads, strict=True) for part in pair))
        sizes = [len(head) + len(payload) for head, payload in zip(heads, payloads, strict=True)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        places = [_STAMP.search(payload).start(1) + len(head) for head, payload in zip(heads, payloads, strict=True)]
        self._stamps = (self._starts[:-1] + places)[:, None] + np.arange(DIGITS)
        self._at = 0

    def skip(self, count: int) -> None:
        """Time goes on for what nobody took."""
        self._at = (self._at + count) % len(self._stamps)

    def next(self, count: int, now_ms: int) -> tuple[bytes, int]:
        """The next frames, `count` of them or fewer, all stamped `now_ms`; and how many."""
        first, last = self._at, min(self._at + count, len(self._stamps))
        view = np.frombuffer(self._bytes, dtype=np.uint8)
        view[self._stamps[first:last]] = np.frombuffer(str(now_ms).encode(), dtype=np.uint8)
        self.skip(last - first)
        return view[self._starts[first] : self._starts[last]].tobytes(), last - first


class Client:
    """A connection and its session."""

    def __init__(self, connection: ServerConnection, session: Session) -> None:
        self.transport, self.session = connection.transport, session
        self.owed = 0.0

    @property
    def listens(self) -> bool:
        """Whether it has subscribed to any ticker."""
        return len(self.session.channels) > 10

    def say(self, payloads: Sequence[bytes]) -> None:
        """Answer, behind whatever waits."""
        for payload in payloads:
            self.transport.write(frame_head(len(payload)) + payload)


class Flooder:
    """Two markets of half the `instruments` each, and their clients."""

    def __init__(self, seed: int, instruments: int, rate: float) -> None:
        start_us = time.time_ns() // 1000
        self._markets = [Market(seed, start_us, family, instruments // 2, 12) for family in (BTC, ETH)]
        self._frames = Frames(list(_rotation(self._markets)))
        self._rate = rate
        self._clients: set[Client] = set()
        self.counts = Counts()

    async def serve(self, connection: ServerConnection) -> None:
        """One client, to its end."""
        client = Client(connection, Session(DERIBIT_LIMITS, self._known, self._listing))
        self._clients.add(client)
        self.counts.connections += 1
        try:
            async for text in connection:
                self._answer(client, client.session.receive(text, time.time_ns() // 1000, time.monotonic()))
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)

    async def pace(self) -> None:
        """Offer what is due, for ever."""
        at_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            for client in self._clients:
                if client.listens:
                    self._answer(client, client.session.beat(now_s))
                    self._offer(client, (now_s - at_s) * self._rate)
            at_s = now_s

    async def obey(self) -> None:
        """Carry out orders, one JSON object a line on standard input, and answer each with the counts."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = msgspec.json.decode(line, type=Order)
            self._rate = self._rate if order.rate is None else order.rate
            if order.hang_up:
                for client in self._clients:
                    client.transport.abort()
            self.counts.clients = sum(client.listens for client in self._clients)
            print(msgspec.json.encode(self.counts).decode(), flush=True)

    def _offer(self, client: Client, due: float) -> None:
        client.owed += due
        count = int(client.owed)
        client.owed -= count
        self.counts.offered += count
        transport, now_ms = client.transport, time.time_ns() // 1_000_000
        while count and not transport.get_write_buffer_size() and not transport.is_closing():
            data, some = self._frames.next(min(count, CHUNK), now_ms)
            transport.write(data)
            self.counts.taken += some
            count -= some
        self._frames.skip(count)

    def _answer(self, client: Client, reply: Reply) -> None:
        client.say(reply.frames)
        if reply.ends:
            client.transport.abort()

    def _known(self, channel: str) -> bool:
        return channel == "platform_state" or any(dialect.has_channel(market, channel) for market in self._markets)

    def _listing(self, currency: str, kind: str | None, expired: bool) -> list[dialect.Json]:
        found = [market for market in self._markets if currency in {market.family.currency, "any"}]
        return [row for market in found for row in catalogue.listing(market, kind, expired)]


def _rotation(markets: Sequence[Market]) -> Iterator[bytes]:
    """Every ticker of every market in each of a few states, in an order of no pattern, and the indexes in between."""
    shuffled = np.random.default_rng(0)
    for _ in range(VARIANTS):
        tickers: list[bytes] = []
        for market in markets:
            market.step(STEP_US)
            rows = market.draw(len(market.instruments) // 2)
            assert len(rows)
            every = dialect.option_tickers(market, market.look(range(len(market.instruments))))
            tickers += [_ticker(name, data) for name, data in every]
            tickers += [_ticker(future.name, dialect.future_ticker(market, future)) for future in market.futures()]
        for at, row in enumerate(shuffled.permutation(len(tickers)).tolist()):
            if at % INDEX_EVERY == 0:
                for market in markets:
                    yield dialect.notification(dialect.index_channel(market), dialect.index_price(market))
            yield tickers[row]


def _ticker(name: str, data: dialect.Json) -> bytes:
    return dialect.notification(dialect.ticker_channel(name, "100ms"), data)


async def main(seed: int, instruments: int, rate: float) -> None:
    """Say the address, then flood until standard input ends."""
    flooder = Flooder(seed, instruments, rate)
    async with serve(flooder.serve, "127.0.0.1", 0, compression=None, close_timeout=1.0, max_size=1 << 20) as server:
        for listener in server.sockets:  # what it accepts inherits this
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/api/v2", flush=True)
        pacing = asyncio.create_task(flooder.pace())
        await flooder.obey()
        pacing.cancel()
        for connection in list(server.connections):
            connection.transport.abort()


class Flood(NamedTuple):
    """A flooder in another process. `url` is where it serves."""

    url: str
    process: asyncio.subprocess.Process

    async def order(self, **order: float | bool) -> Counts:
        """Have an `Order` carried out, none for no change; what it has done so far."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        return msgspec.json.decode(await self.process.stdout.readline(), type=Counts)


@asynccontextmanager
async def flooding(seed: int, rate: float, instruments: int = 1700) -> AsyncIterator[Flood]:
    """A flooder while the block lasts."""
    command = (sys.executable, __file__, str(seed), str(instruments), str(rate))
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Flood((await process.stdout.readline()).decode().strip(), process)
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
