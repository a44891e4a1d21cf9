"""Recorded tapes as a feed: the same frames through the same adapter, at once or paced."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kvd.feeds.tape import Repeated, Tape, read_tapes
from kvd.quotes import BadFrame, Event, Gap
from kvd.venues import INTERRUPTED, VenueSession

YIELD_EVERY_S = 0.005  # a replay that is behind its pace still lets the loop breathe


class ReplayStatistics(NamedTuple):
    """What a replay has read so far; ``bytes_read`` and ``bytes_total`` are of the files as they lie on disk.

    ``torn_bytes`` at the ends of tapes are of a member or line that was cut off in the middle.
    """

    frames: int
    gaps: int
    bad_frames: int
    torn_bytes: int
    refusals: dict[str, int]
    bytes_read: int
    bytes_total: int


class Replay:
    """The events of tapes that follow one another, in order. Iterate once; an interruption on a tape is a `Gap`.

    A tape that was cut off in the middle and is followed by another is an interruption, too.
    """

    def __init__(self, tapes: Sequence[Tape], session: VenueSession) -> None:
        self._tapes = tapes
        self._session = session
        self._frames = self._gaps = self._bad_frames = 0
        self._refusals: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Event]:
        since_us: int | None = None  # the last frame's arrival, unless a Gap has said so already
        for line in self._lines():
            if line is None:
                if since_us is not None:
                    self._gaps += 1
                    yield Gap(self._session.venue, since_us, INTERRUPTED)
                    since_us = None
            elif not isinstance(line, Repeated):
                since_us, frame = line
                yield from self._read(frame, since_us)
            elif since_us is None:  # otherwise it was heard where it first stood
                with suppress(BadFrame):
                    self._session.parse(line.frame, line.receive_us)

    def statistics(self) -> ReplayStatistics:
        """The counts so far."""
        return ReplayStatistics(
            self._frames,
            self._gaps,
            self._bad_frames,
            sum(tape.torn_bytes for tape in self._tapes),
            dict(self._refusals),
            sum(tape.bytes_read for tape in self._tapes),
            sum(tape.bytes_total for tape in self._tapes),
        )

    def _lines(self) -> Iterator[tuple[int, bytes] | None]:
        for tape in self._tapes:
            yield from tape
            if tape.torn_bytes and tape is not self._tapes[-1]:
                yield None

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


def replay(path: Path, session: VenueSession, more: Sequence[Path] = ()) -> Replay:
    """The events of the tape at `path` and of those at `more` after it, read by `session` as one stream.

    A folder counts as the tapes that were recorded into it. Raises TapeError, also while iterating.
    """
    return Replay([tape for each in (path, *more) for tape in read_tapes(each, session.venue)], session)


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
