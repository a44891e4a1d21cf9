"""Files that outlive a crash, each written by one process alone."""

import errno
import fcntl
import os
from pathlib import Path


class TakenError(OSError):
    """Another process holds the file."""


def own(file: int) -> None:
    """Hold an open `file` until it is closed. Raises TakenError if another process does, OSError if nobody can."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TakenError(errno.EWOULDBLOCK, "another kvd writes to it") from None


def write_out(file: int, data: bytes) -> None:
    """Put all of `data` on the disk below an open `file`. Raises OSError; then any part of it may stand there."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.fsync(file)


def keep_names(folder: Path) -> None:
    """Have the names that were given in `folder` so far survive a crash. Raises OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
