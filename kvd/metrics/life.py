"""How the process fares: its event loop, its garbage collector, and what is amiss with it."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import Metric

from kvd.metrics.families import Histogram, counter, gauge, keyed, one

LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
GENERATION = ("generation",)


class LifeStatistics(Protocol):
    """The process, since its start."""

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""

    @property
    def troubles(self) -> Mapping[str, bool]:
        """What is amiss, by name, and whether kvd is not ready for it."""

    @property
    def stalls(self) -> int:
        """How often the event loop was stuck."""

    @property
    def collections(self) -> Mapping[str, int]:
        """Collections of garbage, by generation."""

    @property
    def longest_collection_s(self) -> Mapping[str, float]:
        """The longest of them, by generation."""

    @property
    def frozen(self) -> int:
        """Objects that no collection looks at."""


class Life:
    """What was observed of it."""

    def __init__(self) -> None:
        self.newest: LifeStatistics | None = None
        self.lag = Histogram(LAG_BUCKETS_S)
        self.turns = Histogram(LAG_BUCKETS_S)

    def collect(self) -> Iterator[Metric]:
        """The series."""
        yield self.lag.family("kvd_event_loop_lag_seconds", "How late timers of the event loop fire.")
        yield self.turns.family("kvd_batch_turn_seconds", "How long a batch held the event loop at a stretch.")
        if self.newest is not None:
            yield from _of(self.newest)


def _of(life: LifeStatistics) -> Iterator[Metric]:
    yield counter("kvd_event_loop_stalls", "How often the event loop was stuck.", (), one(life.stalls))
    yield counter("kvd_gc_collections", "Collections of garbage.", GENERATION, keyed(life.collections))
    longest = [((generation,), seconds) for generation, seconds in life.longest_collection_s.items()]
    yield gauge("kvd_gc_longest_seconds", "The longest of them.", GENERATION, longest)
    yield gauge("kvd_gc_frozen_objects", "Objects that no collection looks at.", (), one(life.frozen))
    yield gauge("kvd_ready", "Whether /readyz says so.", (), one(life.ready))
    troubles = [((name, "missing" if unready else "degraded"), 1.0) for name, unready in life.troubles.items()]
    yield gauge("kvd_troubles", "1 for everything that /readyz?verbose names.", ("name", "kind"), troubles)
