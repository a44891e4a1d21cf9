"""The one queue: newest value per key. Its writer never waits, so its memory is bounded by the number of keys.

The same weir stands at both banks: `Inbox` in front of the calibrator cuts the stream into batches on a grid of
arrival time; `Latest` in front of every subscriber lets a slow one skip to the newest of each smile.
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from kvd.quotes import Event, ForwardQuote, Gap, Lock, Quote, Unlock

K = TypeVar("K")
V = TypeVar("V")


class Latest(Generic[K, V]):
    """One slot a key; a new value replaces an unread one and is counted as an overwrite."""

    def __init__(self) -> None:
        self._slots: dict[K, V] = {}
        self.overwrites = 0

    def __len__(self) -> int:
        return len(self._slots)

    def values(self) -> Iterable[V]:
        """What is unread, oldest write first. Nothing may be put in while it is read."""
        return self._slots.values()

    def put(self, key: K, value: V) -> bool:
        """Store `value` as the newest of `key`; True if an unread value was overwritten. Order is by last write."""
        overwritten = self._slots.pop(key, None) is not None
        self.overwrites += overwritten
        self._slots[key] = value
        return overwritten

    def take(self) -> dict[K, V]:
        """Everything unread, oldest write first; empties the slots. May be empty."""
        taken, self._slots = self._slots, {}
        return taken

    def pop(self) -> V | None:
        """The value whose write is oldest, or None; empties its slot."""
        return self._slots.pop(next(iter(self._slots))) if self._slots else None


class Batch(NamedTuple):
    """What arrived in one cell of the grid: the newest event of each instrument, future and index.

    ``instant_us`` is the cell's upper edge: every event arrived at or before it. ``gap`` batches hold gaps alone and
    carry the instant of the last cell before the interruption, so that a recorded tape cuts the same batches as the
    live stream did; where nothing has arrived yet, after a restart, that of the gap's end.
    """

    instant_us: int
    events: tuple[Event, ...]


class Inbox:
    """Events in, batches out, cut on a grid of arrival time.

    A cell ends when an event of a later cell arrives or when the owner calls `seal` because its instant has passed;
    the content of a batch depends on arrival stamps alone, never on when it was taken. Within a cell the newest event
    of a key wins (``conflated`` counts the others): the last to arrive, unless the venue said it before the one that
    is held. A reader that falls behind finds the waiting cells merged in the same way; ``overwrites`` counts what that
    overload cost, and only then does a replay differ from what was live.
    """

    def __init__(self, grid_us: int) -> None:
        self.grid_us = grid_us
        self.conflated = 0
        self.overwrites = 0
        self._open: dict[tuple[str, str], Event] = {}
        self._cell = 0  # upper edge of the open cell, in units of the grid
        self._sealed: deque[Batch] = deque()

    def __len__(self) -> int:
        """Events that wait, in the open cell and in sealed ones."""
        return len(self._open) + sum(len(batch.events) for batch in self._sealed)

    def put(self, event: Event) -> None:
        """Add one event. Never waits; an event stamped earlier than the open cell joins the open cell."""
        if isinstance(event, Gap):
            self.seal()
            self._cell = self._cell or self._cell_of(event.until_us or event.since_us)
            self._push(Batch(self._cell * self.grid_us, (event,)))
            return
        cell = self._cell_of(event.receive_us)
        if cell > self._cell:
            self.seal()
            self._cell = cell
        key = _key(event)
        held = self._open.get(key)
        self.conflated += held is not None
        if held is None or not _older(event, held):
            self._open[key] = event

    @property
    def open_until_us(self) -> int | None:
        """The instant at which the open cell ends, or None when it is empty."""
        return self._cell * self.grid_us if self._open else None

    def seal(self) -> None:
        """End the open cell if it holds anything."""
        if self._open:
            self._push(Batch(self._cell * self.grid_us, tuple(self._open.values())))
            self._open = {}

    def take(self) -> Batch | None:
        """The oldest sealed batch, or None."""
        return self._sealed.popleft() if self._sealed else None

    def _cell_of(self, us: int) -> int:
        return -(-us // self.grid_us)

    def _push(self, batch: Batch) -> None:
        waiting = self._sealed[-1] if self._sealed else None
        if waiting is None or any(isinstance(event, Gap) for event in (*waiting.events, *batch.events)):
            self._sealed.append(batch)
        else:
            merged = {_key(event): event for event in waiting.events}
            for event in batch.events:
                held = merged.get(key := _key(event))
                if held is None or not _older(event, held):
                    merged[key] = event
            self.overwrites += len(waiting.events) + len(batch.events) - len(merged)
            self._sealed[-1] = Batch(batch.instant_us, tuple(merged.values()))


def _older(event: Event, held: Event) -> bool:
    """Whether the venue said `event` before `held`: with two connections open, the later may bring the older word."""
    return isinstance(event, Quote | ForwardQuote) and event.exchange_us < held.exchange_us  # type: ignore[union-attr]


def _key(event: Event) -> tuple[str, str]:
    if isinstance(event, Quote):
        return event.instrument.venue, event.instrument.name
    if isinstance(event, ForwardQuote):
        return event.venue, event.name
    if isinstance(event, Lock | Unlock):
        return event.venue, f"lock {event.id}"
    return event.venue, "gap"
