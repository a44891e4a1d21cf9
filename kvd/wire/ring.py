"""What was sent lately, for subscribers who come back: a ring bounded in time and in bytes. Pure: no clock.

A smile is kept once, as the bytes that its topics carry, however many topics and subscribers there are; envelopes are
built anew for whoever missed them.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

OVERHEAD_BYTES = 288  # of an entry beside its bodies: the record, two heads of bytes, its place in four queues


class Entry(NamedTuple):
    """One message of each of `topics`: `small` is its body in `atm` topics, `whole` in others, empty without such.

    What has no time of its own has None for `at_us`, and is as old as what is published next.
    """

    at_us: int | None
    topics: tuple[str, ...]
    whole: bytes
    small: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes of the ring."""
        return OVERHEAD_BYTES + len(self.whole) + (len(self.small) if self.small is not self.whole else 0)


class Ring:
    """The entries of the last `keep_us` microseconds of publish time, of at most `keep_bytes`; the oldest leave first.

    All topics share it: a busy surface and a quiet one have the same past.
    """

    def __init__(self, keep_us: int, keep_bytes: int) -> None:
        self._keep_us = keep_us
        self._keep_bytes = keep_bytes
        self._entries: deque[Entry] = deque()
        self._runs: dict[str, deque[Entry]] = {}
        self._newest_us = 0
        self._timeless = 0  # the newest entries of which that is not known yet
        self.held_bytes = 0

    @property
    def span_us(self) -> int:
        """How far back it goes."""
        oldest_us = self._entries[0].at_us if self._entries else None
        return 0 if oldest_us is None else self._newest_us - oldest_us

    def put(self, entry: Entry) -> None:
        """Add what is sent now, and let go of what is too old or too much."""
        self._entries.append(entry)
        self.held_bytes += entry.size_bytes
        for topic in entry.topics:
            self._runs.setdefault(topic, deque()).append(entry)
        if entry.at_us is None:
            self._timeless += 1
        else:
            self._date(entry.at_us)
        oldest_us = self._newest_us - self._keep_us
        while self._entries and (self.held_bytes > self._keep_bytes or _is_before(self._entries[0], oldest_us)):
            self._let_go()

    def count(self, topic: str) -> int:
        """How many of the newest messages of `topic` are here: all of them in a row."""
        return len(self._runs.get(topic, ()))

    def newest(self, topic: str, count: int) -> Iterator[Entry]:
        """The newest `count` entries of `topic`, oldest first. Nothing may be put in while they are read."""
        run = self._runs[topic] if count else deque[Entry]()
        return (run[at] for at in range(-count, 0))

    def _date(self, at_us: int) -> None:
        self._newest_us = max(self._newest_us, at_us)
        for at in range(-1 - self._timeless, -1):
            self._entries[at] = self._entries[at]._replace(at_us=at_us)
        self._timeless = 0

    def _let_go(self) -> None:
        entry = self._entries.popleft()
        self._timeless -= entry.at_us is None
        self.held_bytes -= entry.size_bytes
        for topic in entry.topics:
            run = self._runs[topic]
            run.popleft()
            if not run:
                del self._runs[topic]


def _is_before(entry: Entry, us: int) -> bool:
    return entry.at_us is not None and entry.at_us < us
