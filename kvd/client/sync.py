"""The same stream for code without asyncio, such as a notebook: a thread of its own keeps it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from kvd.client.errors import ClientError
from kvd.client.stream import Held, Statistics, Stream
from kvd.quotes import LockOf
from kvd.surface import Smile, Surface
from kvd.wire import Atm

T = TypeVar("T")
CANCELLED_WITHIN_S = 1.0


class SyncStream:
    """A stream that is open from the start until `close`, or the end of its ``with`` block; see `kvd.connect_sync`.

    What it does is what `Stream` does; its iterators are plain ones, and Ctrl-C interrupts them.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kvd.client", daemon=True)
        self._thread.start()
        try:
            self._do(stream.__aenter__())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream. Its iterators end with it."""
        if not self._loop.is_closed():
            self._do(self._stream.__aexit__(None, None, None))
            self._stop()

    def statistics(self) -> Statistics:
        """What was done so far."""
        return self._stream.statistics()

    def surfaces(self, *underlyings: str, venue: str = "*") -> Generator[Surface, None, None]:
        """The surface of an underlying whenever it has changed, whole batches at a time; none named: of each."""
        return self._each(self._stream.surfaces(*underlyings, venue=venue))

    def smiles(self, underlying: str = "*", expiry: str = "*", venue: str = "*") -> Generator[Smile, None, None]:
        """Each smile when it has changed; `expiry` as in topics, ``2026-12-25``."""
        return self._each(self._stream.smiles(underlying, expiry, venue))

    def atm(self, *underlyings: str, venue: str = "*") -> Generator[Atm, None, None]:
        """The small, fast record of each expiry when it has changed; no underlying named: of each."""
        return self._each(self._stream.atm(*underlyings, venue=venue))

    def messages(self, *topics: str) -> Generator[dict[str, Any], None, None]:
        """Every message of `topics` as it came: snapshots, updates, gaps and status."""
        return self._each(self._stream.messages(*topics))

    def surface(self, underlying: str, venue: str | None = None, at: datetime | None = None) -> Surface:
        """The surface of `underlying` once, as it is, or as it was `at` an instant; `venue` where several have it."""
        return self._do(self._stream.surface(underlying, venue, at))

    def lock(
        self,
        underlying: str,
        expiry: str,
        of: LockOf,
        value: float,
        sd: float,
        until: datetime | timedelta,
        *,
        strike: float | None = None,
        venue: str = "deribit",
    ) -> Held:
        """Hold a parameter of a smile, or its vol at `strike`, to `value` within `sd`, until then or for so long."""
        return self._do(self._stream.lock(underlying, expiry, of, value, sd, until, strike=strike, venue=venue))

    def unlock(self, id: str) -> None:
        """Release a lock."""
        self._do(self._stream.unlock(id))

    def _each(self, iterator: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        try:
            while not self._loop.is_closed():
                try:
                    yield self._do(_next(iterator))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self._do(iterator.aclose())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the thread do `work`, and wait for it. An exception here, such as Ctrl-C, cancels it there."""
        if self._loop.is_closed():
            work.close()
            raise ClientError("the stream is closed: make another with kvd.connect_sync(...)")
        ended = threading.Event()
        done = asyncio.run_coroutine_threadsafe(_noted(work, ended), self._loop)
        try:
            return done.result()
        except BaseException:
            done.cancel()
            ended.wait(CANCELLED_WITHIN_S)  # an iterator cannot be closed while it is still being asked
            raise

    def _stop(self) -> None:
        self._do(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(iterator: AsyncGenerator[T, None]) -> T:
    return await anext(iterator)


async def _noted(work: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await work
    finally:
        ended.set()
