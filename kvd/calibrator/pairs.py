"""Calls and puts of one strike, side by side: what put-call parity is read from."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import executable as core
from kvd.core import forward
from kvd.core.daycount import year_fraction
from kvd.core.forward import ForwardFilter
from kvd.core.groups import begins
from kvd.quotes import Quote

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Index = NDArray[np.intp]

LEAST_WIDTH = 2e-5


class PairsState(NamedTuple):
    """The columns of all pairs."""

    expiry_us: Times
    strike: Floats
    inverse: NDArray[np.bool_]
    bid: Floats
    ask: Floats
    base: Floats
    at_us: Times
    low: Floats
    high: Floats
    apart: Floats
    paired_us: Times


COLUMNS = PairsState._fields


class Pairs:
    """A row for every strike of every expiry. Columns of shape (rows, 2) hold the call and the put.

    `base` is the venue's ln price of the expiry when the leg was quoted. `low` and `high` are the parity bounds on
    ln F less that base when both legs were last quoted within `pair_apart_s` of each other, at `paired_us` (-1 for
    never); `apart` is by how much the bases of the two legs differed.
    """

    def __init__(self, settings: ForwardFilter) -> None:
        self._settings = settings
        self._rows: dict[tuple[int, float], int] = {}
        self.expiry_us = np.zeros(0, dtype=np.int64)
        self.strike, self.low, self.high, self.apart = np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0)
        self.inverse = np.zeros(0, dtype=np.bool_)
        self.paired_us = np.zeros(0, dtype=np.int64)
        self.bid, self.ask, self.base = np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))
        self.at_us = np.zeros((0, 2), dtype=np.int64)

    def post(self, quotes: Sequence[Quote], base: Floats) -> tuple[Index, bool]:
        """Take the newest quotes in, `base` (N,) beside them; returns the rows they are in, and whether a row has
        bounds for the first time.
        """
        if not quotes:
            return np.zeros(0, dtype=np.intp), False
        instruments = [q.instrument for q in quotes]
        keys = [(i.expiry_us, i.strike) for i in instruments]
        if not self._rows.keys() >= set(keys):
            self._add({key: i.inverse for key, i in zip(keys, instruments, strict=True) if key not in self._rows})
        row = np.array([self._rows[key] for key in keys])
        leg = np.array([i.option_type != "call" for i in instruments], dtype=np.intp)
        at_us = np.array([q.exchange_us for q in quotes])
        new = np.flatnonzero(at_us >= self.at_us[row, leg])
        new = new[
            np.argsort(at_us[new], kind="stable")
        ]  # of several quotes of one leg the newest comes last, and stays
        row, leg = row[new], leg[new]
        bid, ask = np.array([(q.bid, q.ask) for q in quotes], dtype=np.float64)[new].T
        self.at_us[row, leg], self.base[row, leg] = at_us[new], base[new]
        self.bid[row, leg], self.ask[row, leg] = bid, ask
        row.sort()
        row = row[begins(row)]
        return row, self._bound(row)

    def shift(self, expiry_us: int, by: float) -> None:
        """The venue's price of an expiry was rebased by `by` while its forward stayed where it was."""
        mine = self.expiry_us == expiry_us
        self.base[mine] += by
        self.low[mine] -= by
        self.high[mine] -= by

    def forget(self, expiry_us: int) -> None:
        """Drop every row of an expiry."""
        keep = self.expiry_us != expiry_us
        for name in COLUMNS:
            setattr(self, name, getattr(self, name)[keep])
        self._index()

    def state(self) -> PairsState:
        """All there are now."""
        return PairsState(*(getattr(self, name).copy() for name in COLUMNS))

    def restore(self, state: PairsState) -> None:
        """Hold those there were then."""
        for name, column in zip(COLUMNS, state, strict=True):
            setattr(self, name, column)
        self._index()

    def _index(self) -> None:
        keys = zip(self.expiry_us.tolist(), self.strike.tolist(), strict=True)
        self._rows = {key: row for row, key in enumerate(keys)}

    def _bound(self, rows: Index) -> bool:
        call_us, put_us = self.at_us[rows].T
        rows = rows[np.abs(call_us - put_us) <= self._settings.pair_apart_s * 1e6]
        if not len(rows):
            return False
        sides = np.stack((self.bid[rows], self.ask[rows]))
        low, high = forward.parity_bounds(self.strike[rows], sides[:, :, 0], sides[:, :, 1], self.inverse[rows])
        known = np.isfinite(low) & np.isfinite(high)
        rows, low, high = rows[known], low[known], high[known]
        base = self.base[rows]
        middle = 0.5 * (base[:, 0] + base[:, 1])
        self.low[rows], self.high[rows], self.apart[rows] = low - middle, high - middle, base[:, 0] - base[:, 1]
        first = bool((self.paired_us[rows] < 0).any())
        self.paired_us[rows] = np.maximum(*self.at_us[rows].T)
        return first

    def _add(self, fresh: dict[tuple[int, float], bool]) -> None:
        n = len(fresh)
        for key in fresh:
            self._rows[key] = len(self._rows)
        columns = {
            "expiry_us": [expiry_us for expiry_us, _ in fresh],
            "strike": [strike for _, strike in fresh],
            "inverse": list(fresh.values()),
            "at_us": np.full((n, 2), -(2**61)) + np.array([0, 2**60]),
            "paired_us": np.full(n, -1),
        }
        for name in COLUMNS:
            old = getattr(self, name)
            new = np.asarray(columns.get(name, np.full((n, *old.shape[1:]), np.nan)), dtype=old.dtype)
            setattr(self, name, np.concatenate((old, new)))


def readings(pairs: Pairs, now_us: int, f: ForwardFilter) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Of the rows that have bounds: expiries, middles of the bounds and their variances, which grow with width and
    age, (M,) each.

    A crossed pair says nothing: one of its prices is wrong.
    """
    rows = np.flatnonzero((pairs.paired_us >= 0) & (pairs.high > pairs.low))
    low, high = pairs.low[rows], pairs.high[rows]
    age_s = np.maximum(now_us - pairs.paired_us[rows], 0) / 1e6
    spread = f.parity_width_factor * np.maximum(high - low, LEAST_WIDTH)
    R = (spread**2 + (0.5 * pairs.apart[rows]) ** 2) * np.exp(np.minimum(age_s / f.parity_memory_s, 50.0))
    return pairs.expiry_us[rows], 0.5 * (low + high), R


def outside(pairs: Pairs, said: Mapping[int, float], now_us: int, f: ForwardFilter) -> int:
    """How many expiries' prices, `said` as ln less base, lie outside what the tightest fresh pair of each allows."""
    rows = np.flatnonzero(pairs.paired_us >= now_us - f.pair_apart_s * 1e6)
    expiry_us, low, high = pairs.expiry_us[rows], pairs.low[rows], pairs.high[rows]
    order = np.lexsort((low, high - low, expiry_us))
    tightest = order[begins(expiry_us[order])]
    bounds = zip(expiry_us[tightest].tolist(), low[tightest].tolist(), high[tightest].tolist(), strict=True)
    return sum(e in said and not least <= said[e] <= most for e, least, most in bounds)


def executable(
    pairs: Pairs, touched: Index, now_us: int, f: ForwardFilter, bias: Mapping[int, float] = MappingProxyType({})
) -> dict[str, int]:
    """Arbitrage on the venue's own fresh bids and asks that a row of `touched` takes part in, by kind; an absent kind
    is none. `bias` is by how much each expiry's ln forward differs from the venue's word.

    box: two pairs of one expiry whose bounds exclude each other. butterfly: three neighbouring strikes of one type
    whose outer asks cost less than the inner bid pays. calendar: a later option costs less than an earlier one pays
    that it covers unless the carry between them moves far.
    """
    if not len(touched):
        return {}
    fresh_us = now_us - f.pair_apart_s * 1e6
    new = np.zeros(len(pairs.strike), dtype=np.bool_)
    new[touched] = True
    rows = np.flatnonzero(pairs.paired_us >= fresh_us)
    boxes = core.boxes(pairs.expiry_us[rows], pairs.low[rows], pairs.high[rows], new[rows])
    rows, leg = np.nonzero(pairs.at_us >= fresh_us)
    sides = pairs.bid[rows, leg], pairs.ask[rows, leg], pairs.base[rows, leg]
    flies = core.butterflies(2 * pairs.expiry_us[rows] + leg, pairs.strike[rows], *sides, new[rows])
    calendars = _calendars(pairs, new, now_us, f, bias)
    return {kind: n for kind, n in (("box", boxes), ("butterfly", flies), ("calendar", calendars)) if n}


def _calendars(pairs: Pairs, new: NDArray[np.bool_], now_us: int, f: ForwardFilter, bias: Mapping[int, float]) -> int:
    rows, leg = np.nonzero(pairs.at_us >= now_us - core.TOGETHER_S * 1e6)
    expiry_us = pairs.expiry_us[rows]
    expiries = np.array(sorted(set(expiry_us.tolist())), dtype=np.int64)
    if len(expiries) < 2:
        return 0
    place = np.searchsorted(expiries, expiry_us)
    forward = pairs.base[rows, leg] + np.array([bias.get(e, 0.0) for e in expiries.tolist()])[place]
    inverse = bool(pairs.inverse[rows[0]])  # an underlying is all in coins or all in the quote currency
    unit = 1.0 if inverse else np.exp(-forward)
    bid, ask = pairs.bid[rows, leg] * unit, pairs.ask[rows, leg] * unit
    k, tau = np.log(pairs.strike[rows]) - forward, year_fraction(now_us, expiries)
    sign = np.where(leg == 0, 1.0, -1.0)
    return core.calendars(tau, place, k, bid, ask, sign, inverse, new[rows], f)
