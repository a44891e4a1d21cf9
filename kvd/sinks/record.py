"""Writes what arrives to tapes, in the form that `kvd.feeds.tape` reads, in a thread beside the event loop.

The loop only puts lines together, a block for each second of arrivals; the thread compresses, writes and syncs them.
Where the disk is slower than the stream, or fails, blocks wait in memory up to a limit. Beyond it whole blocks are left
out, counted, and the tape says that it was interrupted there.
"""

import asyncio
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import structlog

BLOCK_BYTES = 1 << 18
BLOCK_S = 1.0
RETRY_S = 2.0
CLOSE_S = 2.0

log = structlog.get_logger()


class RecordError(Exception):
    """A file that cannot be begun. The message names the file and the mend."""


def begin(path: Path) -> FileIO:
    """A new, unbuffered file at `path`; one that exists already is never touched. Raises RecordError."""
    try:
        return path.open("xb", buffering=0)
    except FileExistsError:
        raise RecordError(f"{path} exists already; choose another name or move it away") from None
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}; choose a place that can be written to") from None


class Block(NamedTuple):
    """Lines of the same second, UTC, as they will stand on the tape; the first frame of them arrived at `since_us`.

    `interrupted`: what came before it is not on the tape. `lasting` are the lines among them, by what they stand for,
    that a tape begun later repeats (`kvd.venues.Reading`).
    """

    since_us: int
    lines: bytes
    frames: int
    interrupted: bool = False
    lasting: tuple[tuple[str, bytes], ...] = ()


class Tapes(Protocol):
    """Where blocks go: one tape, or a folder of them. Called from one thread."""

    @property
    def place(self) -> Path:
        """The tape or the folder."""

    @property
    def written_bytes(self) -> int:
        """What was written so far, as it lies on disk."""

    @property
    def tape_bytes(self) -> int:
        """The size of the tape that is being written; 0 if there is none."""

    def write(self, block: Block) -> None:
        """Put a block on the tape, whole or not at all. Raises OSError; the same block may then be tried again."""

    def close(self) -> None:
        """End the tape. Raises OSError."""


class Statistics(NamedTuple):
    """What a recorder has done so far: frames and bytes on the tapes, and frames that are on none, by reason.

    ``why`` is not empty while the disk fails. ``queue_bytes`` wait in memory for the disk, not yet compressed.
    """

    frames: int
    bytes: int
    dropped: dict[str, int]
    failures: int
    why: str
    queue_bytes: int
    tape_bytes: int


class Recorder:
    """Records to `tapes` while its ``async with`` block runs, with at most `queue_bytes` waiting for the disk.

    After a crash the tapes lack what arrived in the last second, or what the disk had not taken.
    """

    def __init__(self, venue: str, tapes: Tapes, queue_bytes: int = 1 << 26) -> None:
        self._venue, self._tapes, self._most_bytes = venue, tapes, queue_bytes
        self._place = str(tapes.place)
        self._lines: list[bytes] = []
        self._lasting: dict[str, bytes] = {}
        self._lines_bytes = self._lines_frames = self._since_us = 0
        self._interrupted = False  # lines are lost since the newest block that waits
        self._second, self._stamp = -1, b""
        self._waiting: deque[Block] = deque()
        self._queue_bytes = self._frames = self._failures = 0
        self._dropped: Counter[str] = Counter()
        self._why = ""
        self._behind = False
        self._work, self._closing = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "recorder")

    def record(self, frame: bytes, receive_us: int) -> None:
        """Add a frame that arrived at `receive_us`. A line break inside it, mere space to JSON, becomes a space."""
        second, fraction_us = divmod(receive_us, 1_000_000)
        if second != self._second or self._lines_bytes >= BLOCK_BYTES:
            self.flush()
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        if not self._lines_frames:
            self._since_us = receive_us
        line = b"%s.%06d0Z %s\n" % (self._stamp, fraction_us, frame.replace(b"\n", b" "))
        self._lines.append(line)
        self._lines_frames += 1
        self._lines_bytes += len(line)

    def record_lasting(self, name: str) -> None:
        """The frame that was just recorded stands for `name`, and later ones are read by it: later tapes repeat it."""
        self._lasting[name] = self._lines[-1]

    def record_gap(self) -> None:
        """Add an empty line: the feed was interrupted here."""
        self._lines.append(b"\n")
        self._lines_bytes += 1
        self.flush()

    def flush(self) -> None:
        """Hand everything recorded so far to the thread, or drop it where too much waits already."""
        if not self._lines:
            return
        room = self._most_bytes - self._queue_bytes - self._lines_bytes
        if room < 0 or (self._behind and self._queue_bytes > self._most_bytes // 2):  # one long hole, not many
            self._drop()
        else:
            lasting, self._lasting = tuple(self._lasting.items()), {}
            lines, frames = b"".join(self._lines), self._lines_frames
            self._waiting.append(Block(self._since_us, lines, frames, self._interrupted, lasting))
            self._queue_bytes += self._lines_bytes
            self._interrupted = False
            self._work.set()
        self._lines, self._lines_bytes, self._lines_frames = [], 0, 0

    def statistics(self) -> Statistics:
        """The counts so far."""
        tapes, queue_bytes = self._tapes, self._queue_bytes + self._lines_bytes
        dropped = dict(self._dropped)
        return Statistics(
            self._frames, tapes.written_bytes, dropped, self._failures, self._why, queue_bytes, tapes.tape_bytes
        )

    async def broken(self) -> None:
        """Wait for ever, or for the error in kvd itself that has ended the writing."""
        await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write_out())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._closing.set()
        self._work.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._task
                await self._end()
        lost = sum(block.frames for block in self._waiting)
        if lost:
            self._dropped["unwritten"] += lost
        say = log.error if lost else log.info
        dropped = sum(self._dropped.values())
        say("recorder.ended", venue=self._venue, place=self._place, frames=self._frames, dropped_frames=dropped)
        self._thread.shutdown(wait=False)

    async def _write_out(self) -> None:
        while not self._closing.is_set():
            await _either(self._work, BLOCK_S)
            self._work.clear()
            self.flush()  # what a quiet stream has left is not held back for longer
            if not await self._write_waiting():
                await _either(self._closing, RETRY_S)
        await self._write_waiting()

    async def _write_waiting(self) -> bool:
        """Write all that waits; whether the disk took it."""
        while self._waiting:
            block = self._waiting[0]
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._tapes.write, block)
            except OSError as error:
                self._failed(error)
                return False
            self._waiting.popleft()
            self._queue_bytes -= len(block.lines)
            self._frames += block.frames
            self._succeeded()
        return True

    async def _end(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._tapes.close)
        except OSError as error:
            self._failed(error)

    def _drop(self) -> None:
        self._dropped["failing" if self._why else "slow"] += self._lines_frames
        self._interrupted = True
        if not self._behind:
            self._behind = True
            log.warning("recorder.behind", venue=self._venue, waiting_bytes=self._queue_bytes, why=self._why or "slow")

    def _failed(self, error: OSError) -> None:
        self._failures += 1
        if not self._why:
            self._why = error.strerror or str(error)
            log.error("recorder.failed", venue=self._venue, place=self._place, why=self._why)

    def _succeeded(self) -> None:
        dropped = sum(self._dropped.values())
        if self._why:
            self._why = ""
            log.info("recorder.recovered", venue=self._venue, place=self._place, dropped_frames=dropped)
        if self._behind and not self._waiting:
            self._behind = False
            log.info("recorder.caught_up", venue=self._venue, dropped_frames=dropped)


async def _either(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
