"""The files of a checkpoint: the present one, the one before it, and those that were set aside.

Of ``kvd.checkpoint`` the generation before is ``kvd.checkpoint.previous``. What is being written stands in
``kvd.checkpoint.part`` until it is whole and on the disk; ``kvd.checkpoint.lock`` says whose they are. All block, and
raise OSError.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import get_args

from kvd.sinks.checkpoint.form import MOST_BYTES, Kind, UnfitError
from kvd.sinks.durable import keep_names, own, write_out

ASIDE = 3  # of the files that were set aside the newest are kept


class Generations:
    """The files at `path` and beside it. They are held from the first `own` or `write` until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def own(self) -> None:
        """Hold the files. Raises TakenError if another process does."""
        if self._lock is not None:
            if os.fstat(self._lock).st_nlink:
                return
            self.close()  # the lock was deleted: nobody is kept out by it
        lock = os.open(self._beside("lock"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            own(lock)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def close(self) -> None:
        """Let others have the files."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, data: bytes) -> None:
        """Make `data` the present generation, whole or not at all, and what was the present one the previous."""
        self.own()
        part, previous = self._beside("part"), self._beside("previous")
        part.unlink(missing_ok=True)
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_out(file, data)
            finally:
                os.close(file)
            if self.path.exists():
                self._keep(previous)
            part.replace(self.path)
            keep_names(self.path.parent)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise

    def candidates(self) -> Iterator[Path]:
        """What may be taken up, the newest first."""
        return (path for path in (self.path, self._beside("previous")) if os.path.lexists(path))

    def set_aside(self, path: Path, kind: Kind, now_us: int) -> Path:
        """Move a generation out of the way, for somebody to look at; returns where it is now. Of all that were the
        newest `ASIDE` stay.
        """
        aside = self._beside(f"{kind}-{_stamp(now_us)}")
        while os.path.lexists(aside):
            now_us += 1
            aside = self._beside(f"{kind}-{_stamp(now_us)}")
        path.replace(aside)
        name = escape(self.path.name)
        there = [found for kind in get_args(Kind) for found in self.path.parent.glob(f"{name}.{kind}-*")]
        for old in sorted(there, key=lambda found: found.name.rpartition("-")[2])[:-ASIDE]:
            with suppress(OSError):
                old.unlink()
        return aside

    def _keep(self, previous: Path) -> None:
        """Have the present generation be the previous one, too: at no instant is there none."""
        previous.unlink(missing_ok=True)
        try:
            previous.hardlink_to(self.path)
        except OSError:  # a disk without hard links; until the next step only the previous one is there
            self.path.replace(previous)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{ending}")


def read(path: Path) -> bytes:
    """What stands at `path`. Raises UnfitError if it cannot be a checkpoint, or cannot be read."""
    try:
        if not path.is_file():
            raise UnfitError("corrupt", "is no file")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UnfitError("corrupt", f"has {size:,} bytes, more than any checkpoint")
        return path.read_bytes()
    except OSError as error:
        raise UnfitError("corrupt", f"cannot be read ({error.strerror})") from None


def _stamp(us: int) -> str:
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y%m%dT%H%M%S}.{us % 1_000_000:06d}Z"
