"""Instants to year fractions: ACT/365 in seconds, the convention of every published tau and vol; and variance time.

Variance time runs as fast as the market moves: an hour of a weekend counts `weekend_weight` hours, an hour of an
announced event its own weight. It shapes process noise and where a new slice starts, never a published number.
"""

from datetime import datetime
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

HOUR_US = 3_600 * 1_000_000
YEAR_US = 365 * 24 * HOUR_US
WEEK_US = 7 * 24 * HOUR_US
WEEKEND_US = 2 * 24 * HOUR_US
FIRST_SATURDAY_US = 2 * 24 * HOUR_US  # the epoch was a Thursday

Event = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\dZ \d+(\.\d+)? \d+(\.\d+)?$")]


class Calendar(Struct, frozen=True, forbid_unknown_fields=True):
    """[calendar]: how fast variance time runs. Weekends are Saturday and Sunday, UTC; an event reads
    ``2026-12-09T19:00Z 2 4``: when it begins, how many hours it lasts, how many-fold time counts.
    """

    weekend_weight: Annotated[float, Meta(gt=0)] = 1.0
    events: tuple[Event, ...] = ()


class Span(NamedTuple):
    """An event: its instants, and what it adds to a weight of one."""

    start_us: float
    end_us: float
    extra: float


class VarianceTime:
    """The clock of a calendar."""

    def __init__(self, calendar: Calendar) -> None:
        self._weekend = calendar.weekend_weight - 1
        self._spans = tuple(map(_span, calendar.events))

    def years(self, from_us: int, to_us: Times) -> Floats:
        """Years of variance time from one instant to each of `to_us`; what overlaps adds up, but time never stops."""
        extra: float | Floats = 0.0
        if self._weekend:
            extra = self._weekend * (_weekend_us(to_us) - _weekend_us(np.asarray(from_us)))
        for start_us, end_us, more in self._spans:
            extra = extra + more * (np.clip(to_us, start_us, end_us) - np.clip(from_us, start_us, end_us))
        return np.asarray(np.maximum(to_us - from_us + extra, 0.01 * (to_us - from_us)) / YEAR_US)


def year_fraction(from_us: int, to_us: Times) -> Floats:
    """Years from one instant to each of `to_us`; instants in microseconds since the epoch."""
    return np.asarray((to_us - from_us) / YEAR_US)


def _span(event: str) -> Span:
    start, hours, weight = event.split(" ")
    start_us = datetime.fromisoformat(start).timestamp() * 1e6
    return Span(start_us, start_us + float(hours) * HOUR_US, float(weight) - 1)


def _weekend_us(at_us: Times) -> Floats:
    """Microseconds of weekend between the epoch and `at_us`."""
    weeks, rest = np.divmod(at_us - FIRST_SATURDAY_US, WEEK_US)
    return np.asarray(weeks * WEEKEND_US + np.minimum(rest, WEEKEND_US), dtype=np.float64)


EVEN = VarianceTime(Calendar())
"""Variance time that is time."""
