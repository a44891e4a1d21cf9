"""A tape: what arrived and when, as lines of a file.

A line is ``<ISO arrival time> <raw JSON>``; an empty line says that the feed was interrupted there. ``# `` before a
line says that it stands on an earlier tape, too, and is repeated for who reads this one alone. A compressed tape is any
number of gzip or zstd members. A tape may end in the middle of anything; it must be whole up to there.
"""

import zlib
from collections.abc import Iterator
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import zstandard

CHUNK_BYTES = 1 << 16
ZEROS = 16  # so many at the end of a compressed tape are no part of a member
SUFFIXES = (".ndjson", ".gz", ".zst")
NAMES = "{}-????-??-??T??-??-??Z*"  # of the tapes that kvd records into a folder; the venue stands first


class TapeError(Exception):
    """A tape that cannot be read on. The message names the file, the line and the mend."""


class Repeated(NamedTuple):
    """A frame of an earlier tape, by which later ones are read."""

    receive_us: int
    frame: bytes


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Tape:
    """The lines of a tape: ``(receive_us, frame)``, `Repeated`, or None for an interruption.

    ``bytes_read`` of ``bytes_total`` is the position in the file as it lies on disk. ``torn_bytes`` at its end are of a
    member or line that was cut off in the middle; lines that came out of it whole are among the lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        self.lines = 0
        self.torn_bytes = 0
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
        if rest and not self.torn_bytes:
            self.lines += 1
            if _is_torn(rest):
                self.torn_bytes = len(rest)
            else:
                yield self._read_line(rest)

    def _read_line(self, line: bytes) -> tuple[int, bytes]:
        stamp, separator, frame = line.partition(b" ")
        second, fraction = stamp[:19], stamp[20:-1]
        if second != self._second:
            if second == b"#":
                return Repeated(*self._read_line(frame))
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
        try:
            with self.path.open("rb") as file:
                packed = self.path.suffix in (".gz", ".zst")
                yield from self._unpacked(file) if packed else self._chunks(file)
        except (zlib.error, zstandard.ZstdError, OSError) as error:
            raise TapeError(
                f"{self.path}, after line {self.lines}: {error}; fetch the tape again, or replay what can be unpacked "
                "of it"
            ) from None

    def _chunks(self, file: BufferedReader, zeros: int = 0) -> Iterator[bytes]:
        end = self.bytes_total - zeros
        while chunk := file.read(min(CHUNK_BYTES, end - self.bytes_read) if zeros else CHUNK_BYTES):
            self.bytes_read += len(chunk)
            yield chunk
        self.bytes_read += zeros

    def _unpacked(self, file: BufferedReader) -> Iterator[bytes]:
        decompressor: _Decompressor | None = None
        begins = 0  # where the member begins
        self.torn_bytes = zeros = self._zeros(file)
        for chunk in self._chunks(file, zeros):
            rest = chunk
            while rest:
                if decompressor is None:
                    decompressor, begins = self._decompressor(), self.bytes_read - len(rest)
                yield decompressor.decompress(rest)
                rest = decompressor.unused_data if decompressor.eof else b""
                decompressor = None if decompressor.eof else decompressor
        if decompressor is not None:
            self.torn_bytes = self.bytes_read - begins

    def _zeros(self, file: BufferedReader) -> int:
        """How many zeros stand at the end: what a power failure leaves of what had not been written. A few are none."""
        end = self.bytes_total  # 0 for a pipe
        while end:
            start = max(0, end - CHUNK_BYTES)
            file.seek(start)
            chunk = file.read(end - start)
            if any(chunk):
                end = start + len(chunk.rstrip(b"\0"))
                break
            end = start
        if self.bytes_total:
            file.seek(0)
        zeros = self.bytes_total - end
        return zeros if zeros >= ZEROS else 0

    def _decompressor(self) -> _Decompressor:
        if self.path.suffix == ".gz":
            return zlib.decompressobj(wbits=31)
        return zstandard.ZstdDecompressor().decompressobj()


def read_tape(path: Path) -> Tape:
    """Open the tape at `path` (.ndjson, .gz or .zst). Raises TapeError."""
    return Tape(path)


def read_tapes(path: Path, venue: str) -> list[Tape]:
    """The tape at `path`, or where that is a folder the tapes of `venue` that kvd recorded there, the oldest first.

    Raises TapeError.
    """
    if not path.is_dir():
        return [Tape(path)]
    found = sorted(each for each in path.glob(NAMES.format(venue)) if each.suffix in SUFFIXES)
    if not found:
        raise TapeError(
            f"{path}: a folder without tapes of {venue} as `kvd record` names them; name the tapes themselves"
        )
    return [Tape(each) for each in found]


def _is_torn(line: bytes) -> bool:
    try:
        msgspec.json.decode(line.partition(b" ")[2])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return True
    return False
