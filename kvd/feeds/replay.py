"""A recorded tape as a feed: the same frames through the same adapter, at once or paced.

A tape line is ``<ISO arrival time> <raw JSON>``; an empty line says that the feed was interrupted there.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import zstandard

from kvd.quotes import BadFrame, Event, Gap
from kvd.venues import INTERRUPTED, VenueSession

CHUNK_BYTES = 1 << 16
YIELD_EVERY_S = 0.005  # a replay that is behind its pace still lets the loop breathe


class TapeError(Exception):
    """A tape that cannot be read on. The message names the file, the line and the mend."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Tape:
    """The lines of a tape: ``(receive_us, frame)``, or None for an interruption.

    ``bytes_read`` of ``bytes_total`` is the position in the file as it lies on disk; ``torn`` is 1 after a last line
    that was cut off in the middle, which is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        self.lines = 0
        self.torn = 0
        self.bytes_total = self._size()
        self._second = b""
        self._second_us = 0

    def __iter__(self) -> Iterator[tuple[int, bytes] | None]:
        rest = b""
        for block in self._blocks():
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                self.lines += 1
                yield self._read_line(line) if line else None
        if rest:
            self.lines += 1
            if _is_torn(rest):
                self.torn = 1
            else:
                yield self._read_line(rest)

    def _read_line(self, line: bytes) -> tuple[int, bytes]:
        stamp, separator, frame = line.partition(b" ")
        second, fraction = stamp[:19], stamp[20:-1]
        if second != self._second:
            self._second_us = self._parse_second(second)
            self._second = second
        if not separator or stamp[-1:] != b"Z" or not (fraction.isdigit() or stamp[19:] == b"Z"):
            raise self._not_a_line()
        return self._second_us + int(fraction[:6].ljust(6, b"0")), frame

    def _parse_second(self, second: bytes) -> int:
        try:
            return int(datetime.fromisoformat(second.decode("ascii") + "+00:00").timestamp()) * 1_000_000
        except ValueError:
            raise self._not_a_line() from None

    def _not_a_line(self) -> TapeError:
        return TapeError(
            f"{self.path}, line {self.lines}: not a tape line; convert the file so that each line is "
            "'<ISO time>Z <raw JSON>', as `kvd record` writes it"
        )

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise TapeError(f"{self.path}: {error.strerror}; check the path of the tape") from None

    def _blocks(self) -> Iterator[bytes]:
        decompressor: _Decompressor | None = None
        try:
            with self.path.open("rb") as file:
                while block := file.read(CHUNK_BYTES):
                    self.bytes_read += len(block)
                    if self.path.suffix not in (".gz", ".zst"):
                        yield block
                        continue
                    while block:  # a compressed tape is any number of members, one after another
                        decompressor = decompressor or self._decompressor()
                        yield decompressor.decompress(block)
                        block = decompressor.unused_data if decompressor.eof else b""
                        decompressor = None if decompressor.eof else decompressor
        except (zlib.error, zstandard.ZstdError, OSError) as error:
            raise self._damaged(str(error)) from None
        if decompressor is not None:
            raise self._damaged("the file ends in the middle")

    def _decompressor(self) -> _Decompressor:
        if self.path.suffix == ".gz":
            return zlib.decompressobj(wbits=31)
        return zstandard.ZstdDecompressor().decompressobj()

    def _damaged(self, what: str) -> TapeError:
        return TapeError(
            f"{self.path}, after line {self.lines}: {what}; fetch the tape again, or replay what can be unpacked of it"
        )


class ReplayStatistics(NamedTuple):
    """What a replay has read so far; ``bytes_read`` and ``bytes_total`` are of the file as it lies on disk."""

    frames: int
    gaps: int
    bad_frames: int
    torn_lines: int
    refusals: dict[str, int]
    bytes_read: int
    bytes_total: int


class Replay:
    """The events of a tape, in order. Iterate once; an interruption on the tape is a `Gap`."""

    def __init__(self, tape: Tape, session: VenueSession) -> None:
        self._tape = tape
        self._session = session
        self._frames = self._gaps = self._bad_frames = 0
        self._refusals: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Event]:
        since_us: int | None = None  # the last frame's arrival, unless a Gap has said so already
        for line in self._tape:
            if line is not None:
                since_us, frame = line
                yield from self._read(frame, since_us)
            elif since_us is not None:
                self._gaps += 1
                yield Gap(self._session.venue, since_us, INTERRUPTED)
                since_us = None

    def statistics(self) -> ReplayStatistics:
        """The counts so far."""
        tape = self._tape
        return ReplayStatistics(
            self._frames,
            self._gaps,
            self._bad_frames,
            tape.torn,
            dict(self._refusals),
            tape.bytes_read,
            tape.bytes_total,
        )

    def _read(self, frame: bytes, receive_us: int) -> tuple[Event, ...]:
        self._frames += 1
        try:
            reading = self._session.parse(frame, receive_us)
        except BadFrame:
            self._bad_frames += 1
            return ()
        for refusal in reading.refusals:
            self._refusals[refusal.reason] += 1
        return reading.events


def read_tape(path: Path) -> Tape:
    """Open the tape at `path` (.ndjson, .gz or .zst). Raises TapeError."""
    return Tape(path)


def replay(path: Path, session: VenueSession) -> Replay:
    """The events of the tape at `path`, read by `session`. Raises TapeError, also while iterating."""
    return Replay(read_tape(path), session)


async def paced(events: Replay, speed: float) -> AsyncIterator[Event]:
    """The events at `speed` times the pace at which they arrived."""
    loop = asyncio.get_running_loop()
    breathed = loop.time()
    start: float | None = None
    for event in events:
        if not isinstance(event, Gap):
            due = event.receive_us / 1e6 / speed
            start = loop.time() - due if start is None else start
            wait = start + due - loop.time()
            if wait > 0 or loop.time() - breathed > YIELD_EVERY_S:
                await asyncio.sleep(max(0.0, wait))
                breathed = loop.time()
        yield event


def _is_torn(line: bytes) -> bool:
    try:
        msgspec.json.decode(line.partition(b" ")[2])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return True
    return False
