"""A reel: the tapes of a venue in a folder, one after another, of which the oldest make room for new ones.

What later frames are read by, the venue's listings, is repeated at the beginning of each tape: so that every tape can
be read alone, and all of them in their order as the one stream that they are.
"""

import errno
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import structlog

from kvd.sinks.durable import keep_names
from kvd.sinks.record import Block, RecordError
from kvd.sinks.tape import SECOND_US, TapeFile, again

SUFFIX = ".ndjson.zst"
MOST_A_SECOND = 99

log = structlog.get_logger()


class Bounds(NamedTuple):
    """When a new tape begins: at multiples of `rotate_us` since the epoch, and beyond `rotate_bytes`.

    Beyond `keep_bytes` of tapes the oldest are deleted; 0 keeps them all.
    """

    rotate_us: int
    rotate_bytes: int
    keep_bytes: int = 0


class Reel:
    """The tapes of a venue in `folder`, one after another, each named for the second in which it begins.

    The first tape begins with an interruption, for nobody knows what came before it. After a failure a new tape
    begins. None that exists is ever written to again.
    """

    def __init__(self, venue: str, folder: Path, bounds: Bounds) -> None:
        self.place = folder
        self.written_bytes = 0
        self._venue, self._bounds = venue, bounds
        self._tape: TapeFile | None = None
        self._since_us = 0
        self._interrupted = True
        self._lasting: dict[str, bytes] = {}
        self._earlier: deque[tuple[Path, int]] = deque()  # tapes and their sizes, the oldest first
        self._earlier_bytes = 0

    @property
    def tape_bytes(self) -> int:
        """The size of the tape that is being written; 0 if there is none."""
        tape = self._tape  # the thread may take it away
        return tape.bytes if tape else 0

    def write(self, block: Block) -> None:
        """Put a block on the tape, or on a new one if its time has come. Raises OSError."""
        if block.interrupted or not block.frames:  # what lasts was lost with what came before
            self._lasting |= block.lasting
        if self._tape is None and not block.frames:
            self._interrupted = True
            return
        try:
            if self._tape is not None and block.frames and self._is_over(self._tape, block.since_us):
                self.close()
            new = self._tape is None
            tape = self._tape or self._begin(block.since_us)
            interrupted = self._interrupted or block.interrupted
            lead = (b"\n" if interrupted else b"") + (again(self._lasting) if new or interrupted else b"")
            before = tape.bytes
            tape.append(lead + block.lines, block.since_us // SECOND_US)
        except OSError:
            self._abandon()
            raise
        self.written_bytes += tape.bytes - before
        self._interrupted = False
        self._lasting |= block.lasting
        self._make_room(tape.bytes)

    def close(self) -> None:
        """End the tape that is being written. Raises OSError."""
        if self._tape is not None:
            try:
                self._tape.close()
            except OSError:
                self._abandon()
                raise
            self._tape = None

    def _is_over(self, tape: TapeFile, now_us: int) -> bool:
        rotate_us = self._bounds.rotate_us
        return tape.bytes >= self._bounds.rotate_bytes or now_us // rotate_us != self._since_us // rotate_us

    def _abandon(self) -> None:
        if self._tape is not None:
            whole = self._tape.abandon()
            self._tape = None
            self._interrupted = self._interrupted or not whole

    def _begin(self, since_us: int) -> TapeFile:
        self.place.mkdir(exist_ok=True)
        self._look()
        path, file = self._new_file(since_us)
        self._tape, self._since_us = TapeFile(path, file), since_us
        keep_names(self.place)
        return self._tape

    def _new_file(self, since_us: int) -> tuple[Path, FileIO]:
        at = datetime.fromtimestamp(since_us // SECOND_US, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        for number in range(1, MOST_A_SECOND + 1):  # `_` sorts behind `.`, so that names are in the order of time
            path = self.place / f"{self._venue}-{at}{f'_{number:02}' if number > 1 else ''}{SUFFIX}"
            with suppress(FileExistsError):
                return path, path.open("xb", buffering=0)
        raise FileExistsError(errno.EEXIST, "too many tapes of the same second")

    def _look(self) -> None:
        found = sorted(self.place.glob(f"{self._venue}-????-??-??T??-??-??Z*{SUFFIX}"))
        self._earlier = deque((path, path.stat().st_size) for path in found)
        self._earlier_bytes = sum(size for _, size in self._earlier)

    def _make_room(self, tape_bytes: int) -> None:
        keep_bytes = self._bounds.keep_bytes
        while keep_bytes and self._earlier and self._earlier_bytes + tape_bytes > keep_bytes:
            path, size = self._earlier.popleft()
            self._earlier_bytes -= size
            try:
                path.unlink()
            except OSError as error:
                log.warning("tape.not_deleted", tape=str(path), why=error.strerror)
            else:
                log.info("tape.deleted", tape=str(path), bytes=size)


def make_folder(path: Path) -> None:
    """Have a folder at `path`, in a folder that is there. Raises RecordError."""
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError:
        raise RecordError(
            f"{path} exists already and is no folder; choose another name, for one tape one that ends in .ndjson, .gz "
            "or .zst"
        ) from None
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}; choose a place that can be written to") from None
