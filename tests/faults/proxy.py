"""The fault proxy: a man in the middle of a websocket, between kvd and an exchange, that does what networks do.

    async with Proxy(exchange.url, seed=1) as proxy:
        ... kvd with KVD_DERIBIT_URL = proxy.url ...
        proxy.stall()
        proxy.well()

It is one event loop's, on loopback, and knows nothing of Deribit but where a channel stands in a notification. All that
is random follows from the seed. A fault holds for the connections of now and of later until `well`.
"""

import asyncio
import contextlib
import time
from random import Random
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from framing import Splitter
from mischief import FRAMING, Mischief, unharmed

CHUNK_BYTES = 1 << 16
REASONS = {200: "OK", 418: "I'm a teapot", 429: "Too Many Requests", 503: "Service Unavailable"}


class Request(NamedTuple):
    """What a client sent: when (monotonic seconds), on which connection (from 0), and the text."""

    at_s: float
    connection: int
    text: bytes


class Proxy:
    """Stands at `url` before the exchange at `target`.

    `opened` holds the instant of every connection that reached it, `closed` that of every one that ended, `requests`
    what clients sent in whole frames, and `errors` the answers of the exchange that refuse something.
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        address = urlsplit(target)
        self._target, self._path = (address.hostname, address.port), address.path
        self.random = Random(seed)
        self.opened: list[float] = []
        self.closed: list[float] = []
        self.requests: list[Request] = []
        self.errors: list[bytes] = []
        self._port = 0
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._mischief: Mischief = unharmed
        self._answer: bytes | None = None  # instead of a connection; empty: hang up at once
        self._half_open = False
        self._bytes_per_s = 0.0
        self._cut_in_frame = False

    async def __aenter__(self) -> Self:
        self._flowing.set()
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where kvd is to connect."""
        return f"ws://127.0.0.1:{self._port}{self._path}"

    @property
    def links(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    # what it may do

    def well(self) -> None:
        """An end to every fault but a refusal; whoever was stalled is let go on, late."""
        self._mischief, self._answer, self._bytes_per_s = unharmed, None, 0.0
        self._half_open = self._cut_in_frame = False
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection."""
        for link in self._links:
            link.transport.abort()

    async def refuse(self) -> None:
        """Reset every connection and listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def listen(self) -> None:
        """Listen (again), at the same port."""
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", self._port, limit=CHUNK_BYTES)
        self._port = self._server.sockets[0].getsockname()[1]

    def stall(self) -> None:
        """Pass nothing on to clients any more, and close nothing; new connections are accepted, to the same silence."""
        self._flowing.clear()

    def half_open(self) -> None:
        """Stall those who are connected; accept others and never answer."""
        self._half_open = True
        self.stall()

    def truncate(self) -> None:
        """Close every connection politely in the middle of its next frame."""
        self._cut_in_frame = True

    def drip(self, bytes_per_s: float) -> None:
        """Pass on that little, a few bytes at a time."""
        self._bytes_per_s = bytes_per_s

    def hang_up(self) -> None:
        """Close whoever connects at once, and who is connected now."""
        self._answer = b""
        self.cut()

    def answer(self, status: int, retry_after: str | None = None) -> None:
        """Meet handshakes with that HTTP status. Those who are connected stay."""
        after = "" if retry_after is None else f"Retry-After: {retry_after}\r\n"
        self._answer = f"HTTP/1.1 {status} {REASONS[status]}\r\n{after}Content-Length: 0\r\n\r\n".encode()

    def harm(self, mischief: Mischief) -> None:
        """Let `mischief` (see the module of that name) have every frame on its way to a client."""
        self._mischief = mischief

    def say(self, *frames: bytes) -> None:
        """Slip bytes in, to every client, between two frames of the exchange's."""
        for link in self._links:
            link.write(b"".join(frames))

    def break_framing(self) -> None:
        """Say something that is no websocket frame."""
        self.say(self.random.choice(FRAMING))

    # how it is done

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = len(self.opened)
        self.opened.append(time.monotonic())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._through(reader, writer, number)
        except asyncio.CancelledError:
            pass  # the end of the proxy; asyncio's streams would log it
        finally:
            self.closed.append(time.monotonic())
            writer.transport.abort()
            self._tasks.discard(task)

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if self._answer == b"":
            return
        handshake = await reader.readuntil(b"\r\n\r\n")
        if self._answer is not None:
            writer.write(self._answer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        if self._half_open:
            while await reader.read(CHUNK_BYTES):
                pass
            return
        upstream, downstream = await asyncio.open_connection(*self._target, limit=CHUNK_BYTES)
        downstream.write(handshake)
        writer.write(await upstream.readuntil(b"\r\n\r\n"))
        self._links.add(writer)
        up = asyncio.create_task(self._up(reader, downstream, number))
        down = asyncio.create_task(self._down(upstream, writer))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(writer)
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            downstream.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, downstream: asyncio.StreamWriter, number: int) -> None:
        splitter = Splitter()
        while data := await reader.read(CHUNK_BYTES):
            self.requests += [Request(time.monotonic(), number, frame.payload) for frame in splitter.feed(data)]
            downstream.write(data)
            await downstream.drain()

    async def _down(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        while data := await upstream.read(CHUNK_BYTES):
            frames = splitter.feed(data)
            self.errors += [frame.payload for frame in frames if b'"error":{' in frame.payload[:200]]
            await self._flowing.wait()
            out = self._mischief(frames)
            if self._cut_in_frame and out:
                whole = b"".join(out)
                writer.write(whole[: len(whole) - self.random.randint(1, len(out[-1]) - 1)])
                writer.close()
                await writer.wait_closed()
                return
            await self._send(b"".join(out), writer)

    async def _send(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        while data and self._bytes_per_s:
            few = max(1, int(self._bytes_per_s / 50))
            writer.write(data[:few])
            await writer.drain()
            data = data[few:]
            await asyncio.sleep(few / self._bytes_per_s)
        writer.write(data)
        await writer.drain()
