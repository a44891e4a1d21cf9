"""The audit log: a chain of lines (`kvd.sinks.chain`) in a file that only grows, each on disk before it counts.

Lines are written in order by one thread beside the event loop, many at once if many wait. Where the disk fails, what
was not written waits and is tried again, and whoever must not act without a line is refused.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from kvd.config import ConfigError
from kvd.sinks import chain
from kvd.sinks.chain import Reader
from kvd.sinks.durable import keep_names, own, write_out
from kvd.wire import iso

RETRY_S = 1.0
MOST_WAITING = 1000
log = structlog.get_logger()


class AuditError(Exception):
    """A line could not be written; the message says why."""


class Statistics(NamedTuple):
    """How many lines the log holds, how often writing failed, if it fails now, and how many lines that has cost."""

    lines: int
    failures: int
    failing: bool
    lost: int


class Entry(NamedTuple):
    """What is to be written. Whoever waits for that is told why it failed, or nothing."""

    time_us: int
    kind: str
    content: object
    written: asyncio.Future[str] | None


class Audit:
    """Appends to the log at `path` while its ``async with`` block runs; a new file can be read by its owner alone.

    `head` is the newest line on disk, `continued` the newest of an earlier run. Raises ConfigError if the file cannot
    be had, or what stands in it was changed.
    """

    def __init__(self, path: Path, now_us: Callable[[], int]) -> None:
        self._path = path
        self._now_us = now_us
        self._file, reader = _open(path)
        self.head = self.continued = reader.head
        self._glue = b"\n" if not reader.ended or bytes(reader.rest[-1:]) not in (b"", b"\n") else b""
        self._waiting: list[Entry] = []
        self._failures = self._lost = self._lost_said = 0
        self._failure = ""  # why the disk fails now
        self._cut_to: int | None = None  # where the file ends, if what came after could not be taken back
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "audit")
        if reader.rest:
            rest = bytes(reader.rest) + self._glue
            log.warning("audit.repaired", path=str(path), bytes=len(rest), after=self.head.number)
            self.note(chain.REPAIRED, chain.torn(rest))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write_out())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._writing:
            self._task.cancel()
        if not await self.flush():
            log.error("audit.unwritten", path=str(self._path), lines=len(self._waiting))
        self._thread.shutdown()
        os.close(self._file)

    async def broken(self) -> None:
        """Wait for ever, or for the error in kvd itself that has ended the writing."""
        await asyncio.shield(self._task)

    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(self.head.number, self._failures, bool(self._failure), self._lost)

    def note(self, kind: str, content: object) -> None:
        """Have a line written when that is possible. Never waits; where very many wait already, it is lost."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            return
        self._put(Entry(self._now_us(), kind, content, None))

    async def record(self, kind: str, content: object) -> None:
        """Have a line written, and wait until it is on disk. Raises AuditError if it is not, and will not be."""
        if self._failure:
            raise AuditError(self._failure)
        written: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._put(Entry(self._now_us(), kind, content, written))
        why = await asyncio.shield(written)
        if why:
            raise AuditError(why)

    async def flush(self) -> bool:
        """Write all that waits now; whether the disk took it."""
        async with self._writing:
            entries, lines, head = tuple(self._waiting), [self._glue], self.head
            for entry in entries:
                line, head = chain.link(head, iso(entry.time_us), entry.kind, entry.content)
                lines += (line, b"\n")
            try:
                if entries:
                    await asyncio.get_running_loop().run_in_executor(self._thread, self._append, b"".join(lines))
            except OSError as error:
                self._failed(error.strerror or str(error), len(entries))
                return False
            if entries:
                self.head, self._glue = head, b""
                self._succeeded(len(entries))
            return True

    def _put(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._work.set()

    async def _write_out(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while not await self.flush():  # noqa: ASYNC110 a disk has no event to wait for
                await asyncio.sleep(RETRY_S)

    def _append(self, data: bytes) -> None:
        """Put `data` on disk, whole or not at all. In the thread."""
        if self._cut_to is not None:
            os.ftruncate(self._file, self._cut_to)
            self._cut_to = None
        before = os.fstat(self._file)
        if not before.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the file was deleted")
        try:
            write_out(self._file, data)
        except OSError:
            self._cut_to = before.st_size
            with suppress(OSError):
                os.ftruncate(self._file, self._cut_to)
                self._cut_to = None
            raise

    def _failed(self, why: str, tried: int) -> None:
        """Refuse whoever waits; the other lines go on waiting, with one that tells of this at their end."""
        self._failures += 1
        for entry in self._waiting[:tried]:
            if entry.written is not None and not entry.written.done():
                entry.written.set_result(why)
        self._waiting = [entry for entry in self._waiting if entry.written is None or not entry.written.done()]
        if not self._failure:
            log.error("audit.failed", path=str(self._path), why=why, waiting=len(self._waiting))
            self._failure = why
            self._put(Entry(self._now_us(), "failed", {"why": why}, None))

    def _succeeded(self, written: int) -> None:
        done, self._waiting = self._waiting[:written], self._waiting[written:]
        for entry in done:
            if entry.written is not None and not entry.written.done():
                entry.written.set_result("")
        if self._failure:
            log.info("audit.recovered", path=str(self._path), lines=self.head.number, lost=self._lost)
            self._failure = ""
        if self._lost > self._lost_said:
            self.note("lost", {"lines": self._lost - self._lost_said})
            self._lost_said = self._lost


def _open(path: Path) -> tuple[int, Reader]:
    """The file, ours alone, and what a reader of all that stands in it has found."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"audit.path: {path} cannot be opened ({error.strerror}); name a file that kvd may write to"
        ) from None
    try:
        return file, _read(file, path)
    except BaseException:
        os.close(file)
        raise


def _read(file: int, path: Path) -> Reader:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise ConfigError(f"audit.path: {path} is no file that keeps what is written to it; name another")
    try:
        own(file)
    except OSError as error:
        raise ConfigError(f"audit.path: {path} cannot be locked ({error.strerror}); name another file") from None
    reader = Reader()
    with open(file, "rb", closefd=False) as lines:
        for raw in lines:
            reader.read(raw)
            if reader.change:
                raise ConfigError(
                    f"audit.path: line {reader.change.line} of {path} {reader.change.why}; find out why, "
                    "then move the file away: kvd begins a new one"
                )
    if not reader.head.number and not reader.rest:
        keep_names(path.parent)
    return reader
