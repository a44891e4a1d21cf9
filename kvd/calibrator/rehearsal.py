"""The forwards of a tape, found once and recited each time the same tape is put through another filter.

They rest on quotes alone, on none of the settings of the filter, and finding them is a third of the work.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.forwards import Heard
from kvd.quotes import ForwardQuote, Quote
from kvd.surface import Forward


class ForwardsFound(Protocol):
    """What a book asks of its forwards (`kvd.calibrator.forwards.Forwards`)."""

    def __contains__(self, expiry_us: int) -> bool: ...

    def __getitem__(self, expiry_us: int) -> Forward: ...

    def hear(
        self, quotes: Sequence[Quote], futures: Sequence[ForwardQuote], withheld: NDArray[np.bool_] | None = None
    ) -> Heard:
        """Take a batch in."""

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""


class Recited:
    """`found`, heard once: after `rewind` it says of each batch what it said the first time.

    The batches must be the same, in the same order, with the same quotes withheld.
    """

    def __init__(self, found: ForwardsFound) -> None:
        self._found = found
        self._heard: list[tuple[Heard, dict[int, Forward]]] = []
        self._at = 0
        self._expiries: set[int] = set()
        self._now: dict[int, Forward] = {}

    def rewind(self) -> None:
        """Begin again with the first batch."""
        self._at, self._now = 0, {}

    def __contains__(self, expiry_us: int) -> bool:
        return expiry_us in self._now

    def __getitem__(self, expiry_us: int) -> Forward:
        return self._now[expiry_us]

    def hear(
        self, quotes: Sequence[Quote], futures: Sequence[ForwardQuote], withheld: NDArray[np.bool_] | None = None
    ) -> Heard:
        """What was said of the batch, here or the first time."""
        if self._at == len(self._heard):
            heard = self._found.hear(quotes, futures, withheld)
            self._expiries |= {q.instrument.expiry_us for q in quotes}
            self._heard.append((heard, {e: self._found[e] for e in self._expiries if e in self._found}))
        said, self._now = self._heard[self._at]
        self._at += 1
        return said

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry, from the next batch on."""
        if self._at == len(self._heard):
            self._found.forget(expiry_us)
