"""A venue that misbehaves as its script says, a live feed that follows it, and what the feed has put."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import deribit_wire as wire
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from kvd.config import Deribit, Feed
from kvd.feeds.live import LiveFeed
from kvd.quotes import Event, Gap
from kvd.venues import deribit

SETTINGS = Feed(stale_after_s=0.5, reconnect_first_s=0.05, reconnect_cap_s=0.2, settled_after_s=5.0)

Script = Callable[[ServerConnection], Awaitable[None]]


class Heard:
    """What a feed has put so far, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        self.events.append(event)
        self.times.append(time.monotonic())
        self._news.set()

    @property
    def gaps(self) -> list[Gap]:
        return [event for event in self.events if isinstance(event, Gap)]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                with suppress(TimeoutError):  # conditions on the feed's own counts make no news
                    async with asyncio.timeout(0.02):
                        await self._news.wait()


@asynccontextmanager
async def serving(script: Script, port: int = 0, **options) -> AsyncIterator[Server]:
    async def quietly(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await script(socket)

    async with serve(quietly, "127.0.0.1", port, close_timeout=0.1, **options) as server:
        yield server


@asynccontextmanager
async def feeding(server: Server, settings: Feed = SETTINGS, **options) -> AsyncIterator[tuple[LiveFeed, Heard]]:
    heard = Heard()
    port = server.sockets[0].getsockname()[1]
    venue_settings = Deribit(url=f"ws://127.0.0.1:{port}", currencies=("BTC",))
    feed = LiveFeed(deribit, venue_settings, settings, heard.put, **options)
    task = asyncio.create_task(feed.run())
    try:
        yield feed, heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def answer(socket: ServerConnection) -> None:
    """Answer every request, for ever."""
    async for text in socket:
        assert isinstance(text, str)
        request = json.loads(text)
        result = request["params"].get("channels", "ok")
        if request["params"].get("kind") == "option":
            result = [wire.row("BTC-29DEC23-40000-C")]
        await socket.send(wire.result(request["id"], result), text=True)


def index() -> bytes:
    """The canary's word of now."""
    return wire.index(timestamp=time.time_ns() // 1_000_000)


async def tick(
    socket: ServerConnection, *frames: bytes | Callable[[], bytes], every_s: float = 0.02, count: int = 1_000_000
) -> None:
    for _ in range(count):
        for frame in frames:
            await socket.send(frame if isinstance(frame, bytes) else frame(), text=True)
        await asyncio.sleep(every_s)


async def exchange(socket: ServerConnection) -> None:
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer(socket))
        ticking = tasks.create_task(tick(socket, index, wire.ticker()))
        await socket.wait_closed()
        answering.cancel()
        ticking.cancel()


async def healthy(socket: ServerConnection) -> None:
    with suppress(BaseExceptionGroup):
        await exchange(socket)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())
