"""What was sent lately, for subscribers who come back: a ring bounded in time and in bytes. Pure: no clock.

A smile is kept once, as the bytes that its topics carry, however many topics and subscribers there are; envelopes are
built anew for whoever missed them.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

OVERHEAD_BYTES = 288  # of an entry beside its bodies: the record, two heads of bytes, its place in four queues


class Entry(NamedTuple):
    """One message of each of `topics`: `small` is its body in `atm` topics, `whole` in all others."""

    at_us: int
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
        self.held_bytes = 0

    @property
    def span_us(self) -> int:
        """How far back it goes."""
        return self._newest_us - self._entries[0].at_us if self._entries else 0

    @property
    def newest_us(self) -> int:
        """The latest instant that any entry has had; 0 before the first."""
        return self._newest_us

    def put(self, entry: Entry) -> None:
        """Add what is sent now, and let go of what is too old or too much."""
        self._newest_us = max(self._newest_us, entry.at_us)
        self._entries.append(entry)
        self.held_bytes += entry.size_bytes
        for topic in entry.topics:
            self._runs.setdefault(topic, deque()).append(entry)
        oldest_us = self._newest_us - self._keep_us
        while self._entries and (self.held_bytes > self._keep_bytes or self._entries[0].at_us < oldest_us):
            self._let_go()

    def count(self, topic: str) -> int:
        """How many of the newest messages of `topic` are here: all of them in a row."""
        return len(self._runs.get(topic, ()))

    def newest(self, topic: str, count: int) -> Iterator[Entry]:
        """The newest `count` entries of `topic`, oldest first. Nothing may be put in while they are read."""
        run = self._runs[topic] if count else deque[Entry]()
        return (run[at] for at in range(-count, 0))

    def _let_go(self) -> None:
        entry = self._entries.popleft()
        self.held_bytes -= entry.size_bytes
        for topic in entry.topics:
            run = self._runs[topic]
            run.popleft()
            if not run:
                del self._runs[topic]
