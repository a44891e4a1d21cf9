"""Writes what arrives to a tape, in the form that `kvd.feeds.replay` reads."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType

import zstandard

BLOCK_BYTES = 1 << 18
BLOCK_US = 1_000_000


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


class Recorder:
    """A new tape at `path`: zstd for .zst, gzip for .gz, plain otherwise. Never touches a file that exists already.

    Lines are held back for a block of at most a second of arrivals, and each block is compressed by itself: whatever
    happens to the process, the file ends with a whole block. Raises RecordError if the tape cannot be begun, OSError if
    the disk gives up later.
    """

    def __init__(self, path: Path) -> None:
        self._compress = _compressor(path)
        self._file = begin(path)
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._block_until_us = 0
        self._second = -1
        self._stamp = ""

    def record(self, frame: bytes, receive_us: int) -> None:
        """Add a frame that arrived at `receive_us`. A line break inside it, mere space to JSON, becomes a space."""
        if not self._block:
            self._block_until_us = receive_us + BLOCK_US
        line = self._arrival(receive_us) + frame.replace(b"\n", b" ") + b"\n"
        self._block.append(line)
        self._block_bytes += len(line)
        if self._block_bytes >= BLOCK_BYTES or receive_us >= self._block_until_us:
            self.flush()

    def record_gap(self) -> None:
        """Add an empty line: the feed was interrupted here."""
        self._block.append(b"\n")
        self.flush()

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        if self._block:
            waiting = memoryview(self._compress(b"".join(self._block)))
            self._block, self._block_bytes = [], 0
            while waiting:
                waiting = waiting[self._file.write(waiting) :]

    def close(self) -> None:
        """Flush and close. Closing twice is no harm."""
        if not self._file.closed:
            try:
                self.flush()
            finally:
                self._file.close()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _arrival(self, receive_us: int) -> bytes:
        second, fraction_us = divmod(receive_us, 1_000_000)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return b"%s.%06d0Z " % (self._stamp.encode(), fraction_us)


def _compressor(path: Path) -> Callable[[bytes], bytes]:
    if path.suffix == ".zst":
        return zstandard.ZstdCompressor(level=3).compress
    if path.suffix == ".gz":
        return lambda block: gzip.compress(block, compresslevel=4, mtime=0)
    return bytes
