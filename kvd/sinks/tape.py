"""One tape on disk. A block goes onto it whole or not at all."""

import errno
import gzip
import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

import zstandard

from kvd.sinks.record import Block, begin

SECOND_US = 1_000_000


class TapeFile:
    """An open file, of which `bytes` are whole."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.bytes = 0
        self._file = file
        self._compress = _compressor(path)
        self._torn = False  # more than `bytes` may be in the file
        self._lost = False  # less than `bytes` may be
        self._synced_second = -1

    def append(self, lines: bytes, second: int) -> None:
        """Write a member whole or not at all; the first of each `second` is synced. Raises OSError."""
        self._mend()
        member = self._compress(lines)
        rest = memoryview(member)
        self._torn = True
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            if second != self._synced_second:
                self._sync()
                self._synced_second = second
        except OSError:
            with suppress(OSError):
                self._mend()
            raise
        self._torn = False
        self.bytes += len(member)

    def close(self) -> None:
        """Sync and close. Raises OSError, and is then still open."""
        self._sync()
        self._file.close()

    def abandon(self) -> bool:
        """Close it after a failure; whether all that was written before that is whole and in its place."""
        try:
            self._mend()
            self._sync()
            if not self.bytes:
                self.path.unlink()
        except OSError:
            return False
        finally:
            with suppress(OSError):
                self._file.close()
        return not self._lost

    def _sync(self) -> None:
        """Have it survive a power failure. Raises OSError, also if the file has no name any more."""
        lost, self._lost = self._lost, True  # after a failure, what was written may be gone without another
        if not os.fstat(self._file.fileno()).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the tape was deleted")
        os.fsync(self._file)
        self._lost = lost

    def _mend(self) -> None:
        """Take back what a failure has left of a member. Raises OSError."""
        if self._torn:
            self._file.truncate(self.bytes)
            self._file.seek(self.bytes)
            self._torn = False


class OneTape:
    """One new tape at `path`: zstd for .zst, gzip for .gz, plain otherwise. Raises RecordError if it cannot be begun.

    After a failure it goes on in the same file.
    """

    def __init__(self, path: Path) -> None:
        self.place = path
        self._tape = TapeFile(path, begin(path))
        self._lasting: dict[str, bytes] = {}

    @property
    def written_bytes(self) -> int:
        """What was written so far."""
        return self._tape.bytes

    @property
    def tape_bytes(self) -> int:
        """The same."""
        return self._tape.bytes

    def write(self, block: Block) -> None:
        """Put a block on the tape. Raises OSError."""
        if block.interrupted:
            self._lasting |= block.lasting
        lead = b"\n" + again(self._lasting) if block.interrupted else b""
        self._tape.append(lead + block.lines, block.since_us // SECOND_US)
        self._lasting |= block.lasting

    def close(self) -> None:
        """End the tape. Raises OSError."""
        self._tape.close()


def again(lasting: dict[str, bytes]) -> bytes:
    """Lines that a tape repeats: at its beginning, or after an interruption, which may have cost some of them."""
    return b"".join(b"# " + line for line in lasting.values())


def _compressor(path: Path) -> Callable[[bytes], bytes]:
    if path.suffix == ".zst":
        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    if path.suffix == ".gz":
        return lambda block: gzip.compress(block, compresslevel=4, mtime=0)
    return bytes
