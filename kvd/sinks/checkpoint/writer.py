"""Writes checkpoints beside the event loop: one at a time, each in a thread that nobody waits for at the end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import NamedTuple

import structlog

from kvd.sinks.checkpoint.generations import Generations

log = structlog.get_logger()


class Written(NamedTuple):
    """The newest checkpoint on the disk: when it was taken, its bytes, and how long writing it took."""

    taken_us: int
    bytes: int
    seconds: float


class Statistics(NamedTuple):
    """What was written so far: the newest, if any; how many, how often that failed, and whether it fails now."""

    newest: Written | None
    writes: int
    failures: int
    failing: bool


class Writer:
    """Writes to `generations` what it is given. A disk that fails is a state, logged once, and tried again with what is
    given next.
    """

    def __init__(self, generations: Generations, failing: str = "") -> None:
        self._generations = generations
        self._newest: Written | None = None
        self._writes = self._failures = 0
        self._failure = ""
        self._busy: asyncio.Future[int] | None = None
        if failing:
            self._failed(failing)

    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(self._newest, self._writes, self._failures, bool(self._failure))

    async def write(self, make: Callable[[], bytes], taken_us: int) -> None:
        """Have the bytes that `make` returns, of a state taken at `taken_us`, on the disk; what fails is counted.

        `make` runs in the thread, too. Who is cancelled meanwhile leaves the thread at its work; the next call waits
        for that.
        """
        if self._busy is not None:
            await asyncio.wait((self._busy,))
        loop = asyncio.get_running_loop()
        self._busy = busy = _in_thread(partial(self._write, make))
        busy.add_done_callback(partial(self._done, taken_us, loop.time()))
        try:
            await asyncio.shield(busy)
        except OSError:
            return  # said already

    def gave_up(self) -> None:
        """The disk does not answer, and nobody waits for it any longer."""
        self._failed("the disk does not answer")

    def _write(self, make: Callable[[], bytes]) -> int:
        data = make()
        self._generations.write(data)
        return len(data)

    def _done(self, taken_us: int, began_s: float, done: asyncio.Future[int]) -> None:
        error = done.exception()
        if isinstance(error, OSError):
            self._failed(error.strerror or str(error))
        elif error is None:
            seconds = done.get_loop().time() - began_s
            self._newest = Written(taken_us, done.result(), seconds)
            self._writes += 1
            if self._failure:
                log.info("checkpoint.recovered", path=str(self._generations.path), bytes=done.result())
                self._failure = ""

    def _failed(self, why: str) -> None:
        self._failures += 1
        if not self._failure:
            log.error("checkpoint.failed", path=str(self._generations.path), why=why)
        self._failure = why


def _in_thread(work: Callable[[], int]) -> asyncio.Future[int]:
    """What comes of `work`. The thread is left behind where the process ends first."""
    future: Future[int] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="checkpoint", daemon=True).start()
    return asyncio.wrap_future(future)
