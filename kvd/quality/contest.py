"""The same quotes, at the same instants, to every contender."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvd.quality.contenders import Contender
from kvd.quality.counted import OLDEST_US, Counted, Counts, columns, count
from kvd.quality.tally import BUCKETS, Tally
from kvd.quotes import Quote

Floats = NDArray[np.float64]

SAMPLE_US = 60_000_000
DIVERGED_QUOTES = 5


class Score:
    """What one contender made of the quotes: sampled and predicted, shown and withheld."""

    def __init__(self) -> None:
        self.shown, self.withheld = Tally(), Tally()
        self.predicted, self.predicted_withheld = Tally(), Tally()
        self.diverged = 0

    def sampled(self, model: Floats, quotes: Counts, at_us: int) -> None:
        """Take its vols (N,) of the quotes of one sample.

        A slice of which five or more quotes were shown, less than half of them enclosing it, has diverged.
        """
        self.shown.add(model, quotes, ~quotes.held_out, at_us)
        self.withheld.add(model, quotes, quotes.held_out, at_us)
        seen = ~quotes.held_out & np.isfinite(model)
        inside = (quotes.bid_vol <= model) & (model <= quotes.ask_vol)
        _, slices = np.unique(quotes.expiry_us, return_inverse=True)
        n = np.bincount(slices, seen)
        self.diverged += int(np.count_nonzero((n >= DIVERGED_QUOTES) & (np.bincount(slices, seen & inside) < 0.5 * n)))

    def arrived(self, model: Floats, quotes: Counts, now_us: int) -> None:
        """Take its vols (N,), from before the batch, of the quotes of one batch."""
        self.predicted.add(model, quotes, ~quotes.held_out, now_us)
        self.predicted_withheld.add(model, quotes, quotes.held_out, now_us)

    def measures(self, bucket: int | None = None) -> dict[str, Any]:
        """The measures by name, of one tenor bucket or of all; ``predictive`` is of shown instruments."""
        return {
            **self.shown.measures("", bucket),
            **self.withheld.measures("heldout_", bucket),
            **self.predicted.measures("predictive_", bucket),
            **self.predicted_withheld.measures("heldout_predictive_", bucket),
        }


class Contest:
    """The contenders of one underlying: feed it quotes in tape order.

    `withheld` says of an instrument's name whether the filter never sees it. Without `predictive` the contenders are
    sampled only.
    """

    def __init__(
        self, withheld: Callable[[str], bool], contenders: Mapping[str, Contender], predictive: bool = True
    ) -> None:
        self.scores = {name: Score() for name in contenders}
        self._contenders = contenders
        self._withheld = withheld
        self._predictive = predictive
        self._newest: dict[str, Counted] = {}
        self._next_us: int | None = None

    def hear(self, quotes: Iterable[Quote], now_us: int) -> None:
        """Take the quotes of one batch, after sampling every whole minute that lies before `now_us`."""
        self.pass_minutes(now_us)
        quotes = tuple(quotes)
        counted = [c for c in (count(q, self._withheld(q.instrument.name)) for q in quotes) if c is not None]
        if counted and self._predictive:
            self._predict(columns(counted), now_us)
        for contender in self._contenders.values():
            contender.hear(quotes, counted)
        self._newest |= {c.name: c for c in counted}

    def pass_minutes(self, now_us: int) -> None:
        """Sample every whole minute that lies before `now_us`."""
        if self._next_us is None:
            self._next_us = now_us + SAMPLE_US
        while self._next_us < now_us:
            self._sample(self._next_us)
            self._next_us += SAMPLE_US

    def measures(self, name: str) -> dict[str, Any]:
        """The measures of one contender, and the same ``by_tenor``."""
        score = self.scores[name]
        tenors = {label: score.measures(bucket) for bucket, label in enumerate(BUCKETS)}
        return {**score.measures(), "by_tenor": {label: found for label, found in tenors.items() if found}}

    def recent(self, at_us: int) -> Counts | None:
        """The newest counted quote of each instrument, if no older than three minutes; None if there is none."""
        recent = [q for q in self._newest.values() if 0 <= at_us - q.exchange_us <= OLDEST_US]
        return columns(recent) if recent else None

    def _sample(self, at_us: int) -> None:
        quotes = self.recent(at_us)
        for name, contender in self._contenders.items():
            contender.minute(at_us)
            if quotes is not None:
                self.scores[name].sampled(contender.vols(quotes), quotes, at_us)

    def _predict(self, quotes: Counts, now_us: int) -> None:
        for name, contender in self._contenders.items():
            self.scores[name].arrived(contender.vols(quotes), quotes, now_us)
