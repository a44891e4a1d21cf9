"""How good are the published smiles? The measures of a replay, by definitions that treat every contender alike.

A quote counts if it is out of the money, two-sided, its half-spread is below a quarter of its mid vol and its expiry is
more than an hour away. Its yardstick is the venue's own bid and ask vol, at ``k = ln(strike / forward)`` with the
forward that came with it. Every minute of tape time the newest counted quote of each instrument, if no older than three
minutes, is held against the smile that subscribers see at that moment.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.quotes import Quote, held_out
from kvd.surface import Smile, SurfaceUpdate

Floats = NDArray[np.float64]

SAMPLE_US = 60_000_000
OLDEST_US = 180_000_000
LAST_HOUR_US = 3_600_000_000
WIDEST_HALF_RATIO = 0.25
DIVERGED_QUOTES = 5


class Counted(NamedTuple):
    """A quote that counts: its place, the venue's bid and ask vols, and whether it is withheld from the filter."""

    expiry_us: int
    k: float
    bid_vol: float
    ask_vol: float
    held_out: bool
    exchange_us: int


class Tally:
    """Sums over samples: how many quotes, how many enclosed the smile, and the squared error to their mids."""

    def __init__(self) -> None:
        self.n = 0
        self.inside = 0
        self.squared_error = 0.0

    def add(self, model: Floats, bid: Floats, ask: Floats) -> None:
        """Count one sample's quotes, (N,) each."""
        self.n += len(model)
        self.inside += int(np.count_nonzero((bid <= model) & (model <= ask)))
        self.squared_error += float(np.sum((model - 0.5 * (bid + ask)) ** 2))

    @property
    def inside_ratio(self) -> float | None:
        """Share of quotes with bid <= model <= ask."""
        return self.inside / self.n if self.n else None

    @property
    def rmse_vol(self) -> float | None:
        """Root mean square of model minus mid, a decimal vol."""
        return math.sqrt(self.squared_error / self.n) if self.n else None


class Quality:
    """The measures of one underlying: feed it quotes and updates in tape order, read `report` at any time."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._newest: dict[str, Counted] = {}
        self._held_out: dict[str, bool] = {}
        self._smiles: dict[int, Smile] = {}
        self._next_us: int | None = None
        self._shown, self._withheld = Tally(), Tally()
        self._nis, self._nis_dof, self._published, self._held, self._diverged = 0.0, 0, 0, 0, 0

    def hear(self, quotes: Iterable[Quote], now_us: int) -> None:
        """Take the quotes of one batch, after sampling every whole minute that lies before `now_us`."""
        if self._next_us is None:
            self._next_us = now_us + SAMPLE_US
        while self._next_us < now_us:
            self._sample(self._next_us)
            self._next_us += SAMPLE_US
        for q in quotes:
            name = q.instrument.name
            if name not in self._held_out:
                self._held_out[name] = held_out(self._seed, name)
            counted = count(q, self._held_out[name])
            if counted is not None:
                self._newest[name] = counted

    def see(self, update: SurfaceUpdate) -> None:
        """Take what was published."""
        for smile in update.smiles:
            self._smiles[smile.expiry_us] = smile
            self._held += smile.state == "held"
        for expiry_us in update.withdrawn:
            self._smiles.pop(expiry_us, None)
        self._published += len(update.smiles)
        self._nis += update.facts.nis
        self._nis_dof += update.facts.nis_dof

    def report(self) -> dict[str, Any]:
        """The measures by name; a ratio of nothing is absent."""
        measures = {
            "inside": self._shown.inside_ratio,
            "rmse_vol": self._shown.rmse_vol,
            "quotes": self._shown.n,
            "heldout_inside": self._withheld.inside_ratio,
            "heldout_rmse_vol": self._withheld.rmse_vol,
            "heldout_quotes": self._withheld.n,
            "nis_mean": self._nis / self._nis_dof if self._nis_dof else None,
            "nis_dof": self._nis_dof,
            "smiles_published": self._published,
            "held_ratio": self._held / self._published if self._published else None,
            "diverged": self._diverged,
        }
        return {name: value for name, value in measures.items() if value is not None}

    def _sample(self, at_us: int) -> None:
        by_expiry: dict[int, list[Counted]] = {}
        for quote in self._newest.values():
            if 0 <= at_us - quote.exchange_us <= OLDEST_US and quote.expiry_us in self._smiles:
                by_expiry.setdefault(quote.expiry_us, []).append(quote)
        for expiry_us, quotes in by_expiry.items():
            k, bid, ask, withheld = np.array([(q.k, q.bid_vol, q.ask_vol, q.held_out) for q in quotes]).T
            smile = self._smiles[expiry_us]
            model = np.sqrt(smile.total_variance(k) / smile.tau)
            hidden = withheld > 0
            self._shown.add(model[~hidden], bid[~hidden], ask[~hidden])
            self._withheld.add(model[hidden], bid[hidden], ask[hidden])
            shown = (bid <= model) & (model <= ask) & ~hidden
            seen = int(np.count_nonzero(~hidden))
            self._diverged += seen >= DIVERGED_QUOTES and int(np.count_nonzero(shown)) < 0.5 * seen


def count(q: Quote, withheld: bool) -> Counted | None:
    """The quote as it counts, or None."""
    if q.bid_vol is None or q.ask_vol is None or q.forward is None or q.bid is None or q.ask is None:
        return None
    k = math.log(q.instrument.strike / q.forward)
    out_of_the_money = k >= 0 if q.instrument.option_type == "call" else k <= 0
    narrow = q.bid_vol < q.ask_vol and q.ask_vol - q.bid_vol < WIDEST_HALF_RATIO * (q.ask_vol + q.bid_vol)
    if not (out_of_the_money and narrow and q.instrument.expiry_us - q.exchange_us > LAST_HOUR_US):
        return None
    return Counted(q.instrument.expiry_us, k, q.bid_vol, q.ask_vol, withheld, q.exchange_us)
