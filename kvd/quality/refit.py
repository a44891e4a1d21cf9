"""The cold refit: what a desk would do without a filter, least squares on the last three minutes, every minute anew."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from kvd.core import svi
from kvd.core.daycount import YEAR_US
from kvd.quality.counted import OLDEST_US, Counted, Counts
from kvd.quotes import Quote

Floats = NDArray[np.float64]

LAST_HALF_HOUR_US = 1_800_000_000
FEWEST = 5
WIDEST_HALF_RATIO = 0.5
NEAR_MONEY_SD = 0.1
HALF_SPREAD_FACTOR, FLOOR_VOL = 0.35, 0.001

# a weak prior on all but the level, which starts at the money's own vol: a slice like an SSVI one with gentle wings
PRIOR = np.array([math.log(0.6), 0.0, math.log(0.3), 0.7, 0.5])
PRIOR_SD = np.array([0.7, 0.3, 1.0, 0.5, 0.5])


class Seen(NamedTuple):
    """A quote that the refit may use: what the filter is shown, by the venue's own vols."""

    expiry_us: int
    k: float
    vol: float
    sd: float
    exchange_us: int


class Refit:
    """A smile per expiry by scipy's least squares in the filter's coordinates, fitted cold every minute.

    `withheld` says which instruments are withheld; `clock_s` measures what a fit costs. A slice with fewer than five
    quotes keeps its last fit.
    """

    def __init__(self, withheld: Callable[[str], bool], clock_s: Callable[[], float]) -> None:
        self._withheld = withheld
        self._clock_s = clock_s
        self._seen: dict[str, Seen] = {}
        self._fits: dict[int, Floats] = {}
        self.spent_s, self.fitted = 0.0, 0

    def vols(self, quotes: Counts) -> Floats:
        """The last fit of each quote's expiry, at the quote's own log-moneyness and time to expiry."""
        model = np.full(len(quotes.k), np.nan)
        for expiry_us in set(quotes.expiry_us.tolist()) & self._fits.keys():
            mine = quotes.expiry_us == expiry_us
            tau = (expiry_us - quotes.exchange_us[mine].max()) / YEAR_US
            model[mine] = _vol(self._fits[expiry_us], tau, quotes.k[mine])
        return model

    def hear(self, quotes: Sequence[Quote], _: Sequence[Counted]) -> None:
        """Remember what the filter is shown too; a quote that is of no use takes its instrument's last one away."""
        for q in quotes:
            name, seen = q.instrument.name, _usable(q)
            if seen is not None and not self._withheld(name):
                self._seen[name] = seen
            else:
                self._seen.pop(name, None)

    def minute(self, at_us: int) -> None:
        """Fit every slice that has enough quotes."""
        by_expiry: dict[int, list[Seen]] = {}
        for q in self._seen.values():
            if 0 <= at_us - q.exchange_us <= OLDEST_US and q.expiry_us > at_us:
                by_expiry.setdefault(q.expiry_us, []).append(q)
        for expiry_us, seen in by_expiry.items():
            if len(seen) >= FEWEST:
                _, k, vol, sd, _ = np.array(seen).T
                began_s = self._clock_s()
                self._fits[expiry_us] = fit(k, vol, sd, (expiry_us - at_us) / YEAR_US)
                self.spent_s += self._clock_s() - began_s
                self.fitted += 1


def fit(k: Floats, vol: Floats, sd: Floats, tau: float) -> Floats:
    """The state (5,) that fits vols `vol` with standard deviations `sd` at log-moneyness `k`, (N,) each, from cold."""
    start = PRIOR.copy()
    start[svi.LEVEL] = math.log(vol[np.argmin(np.abs(k))])

    def residuals(x: Floats) -> Floats:
        return np.concatenate(((_vol(x, tau, k) - vol) / sd, (x - PRIOR) / PRIOR_SD))

    return np.asarray(least_squares(residuals, start).x)


def _vol(x: Floats, tau: float, k: Floats) -> Floats:
    return svi.vol(x[None], np.array([tau]), np.zeros(len(k), dtype=np.intp), k)


def _usable(q: Quote) -> Seen | None:
    if q.bid_vol is None or q.ask_vol is None or q.forward is None or q.bid is None or q.ask is None:
        return None
    left_us = q.instrument.expiry_us - q.exchange_us
    mid, half = 0.5 * (q.bid_vol + q.ask_vol), 0.5 * (q.ask_vol - q.bid_vol)
    if not 0 < half <= WIDEST_HALF_RATIO * mid or left_us < LAST_HALF_HOUR_US:
        return None
    k = math.log(q.instrument.strike / q.forward)
    sign = 1.0 if q.instrument.option_type == "call" else -1.0
    if sign * k < -NEAR_MONEY_SD * mid * math.sqrt(left_us / YEAR_US):
        return None
    return Seen(q.instrument.expiry_us, k, mid, math.hypot(HALF_SPREAD_FACTOR * half, FLOOR_VOL), q.exchange_us)
