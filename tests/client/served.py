"""A real publisher on a real socket, and a way to it that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from smiles import NOON, SECOND

from kvd.config import Publish
from kvd.sinks.publish import Publisher
from kvd.wire import Encoder, Ring


@asynccontextmanager
async def publisher(epoch: str = "e1", within_s: float = 20.0, **settings) -> AsyncIterator[Publisher]:
    """Serves while the block lasts, for `within_s` at most; what it has sent in 60 s can be had again."""
    encoder = Encoder(epoch, Ring(60 * SECOND, 64 << 20))
    made = Publisher(Publish(port=0, **settings), encoder, dict, lambda: b"", lambda: NOON)
    async with asyncio.timeout(within_s), made:
        yield made


def url(port: int) -> str:
    """Where a stream is."""
    return f"ws://127.0.0.1:{port}/v1/stream"


async def soon(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 the other side has no event to wait for
            await asyncio.sleep(0.001)


class Way:
    """A way for bytes to a port and back. Nothing gets through while `open` is not set; `attempts` counts who has come.

    With no port to go to, it ends at once.
    """

    def __init__(self) -> None:
        self.to: int | None = None
        self.attempts = 0
        self.open = asyncio.Event()
        self.open.set()
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Break every connection, without a word."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        self._writers.append(writer)
        with suppress(OSError, asyncio.CancelledError):
            if self.to is None:
                writer.transport.abort()
                return
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
            self._writers.append(there_writer)
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def way(to: int | None = None) -> AsyncIterator[tuple[Way, str]]:
    """A way to port `to`, or one that ends at once, and the address of the stream over it."""
    made = Way()
    made.to = to
    async with await asyncio.start_server(made._serve, "127.0.0.1", 0) as server:
        try:
            yield made, url(server.sockets[0].getsockname()[1])
        finally:
            made.open.set()
            made.cut()
