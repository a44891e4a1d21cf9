"""Quotes that count, one by one and as columns."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core.measurement import TENOR_EDGES_D
from kvd.quotes import Quote

Floats = NDArray[np.float64]

LAST_HOUR_US = 3_600_000_000
WIDEST_HALF_RATIO = 0.25
DAY_US = 86_400_000_000
BUCKET_EDGES_US = DAY_US * TENOR_EDGES_D
OLDEST_US = 180_000_000  # of a quote that is sampled or refitted


class Counted(NamedTuple):
    """A quote that counts: its place, the venue's bid, ask and mark vols (NaN: none), and whether it is withheld from
    the filter.
    """

    name: str
    expiry_us: int
    k: float
    bid_vol: float
    ask_vol: float
    mark_vol: float
    held_out: bool
    exchange_us: int


class Counts(NamedTuple):
    """Counted quotes as columns, (N,) each; vols are decimals."""

    names: tuple[str, ...]
    expiry_us: NDArray[np.int64]
    k: Floats
    bid_vol: Floats
    ask_vol: Floats
    mark_vol: Floats
    held_out: NDArray[np.bool_]
    exchange_us: NDArray[np.int64]

    @property
    def mid_vol(self) -> Floats:
        """Mid vols."""
        return np.asarray(0.5 * (self.bid_vol + self.ask_vol))

    @property
    def bucket(self) -> NDArray[np.intp]:
        """Tenor buckets, 0 to 4."""
        return tenor_bucket(self.expiry_us - self.exchange_us)


def columns(quotes: Sequence[Counted]) -> Counts:
    """The columns of `quotes`, of which there is at least one."""
    names, expiry_us, k, bid, ask, mark, held_out, exchange_us = zip(*quotes, strict=True)
    times = np.array([expiry_us, exchange_us])
    return Counts(
        names, times[0], np.array(k), np.array(bid), np.array(ask), np.array(mark), np.array(held_out), times[1]
    )


def count(q: Quote, withheld: bool) -> Counted | None:
    """The quote as it counts, or None."""
    if q.bid_vol is None or q.ask_vol is None or q.forward is None or q.bid is None or q.ask is None:
        return None
    k = math.log(q.instrument.strike / q.forward)
    out_of_the_money = k >= 0 if q.instrument.option_type == "call" else k <= 0
    narrow = q.bid_vol < q.ask_vol and q.ask_vol - q.bid_vol < WIDEST_HALF_RATIO * (q.ask_vol + q.bid_vol)
    if not (out_of_the_money and narrow and q.instrument.expiry_us - q.exchange_us > LAST_HOUR_US):
        return None
    mark = math.nan if q.mark_vol is None else q.mark_vol
    of = q.instrument
    return Counted(of.name, of.expiry_us, k, q.bid_vol, q.ask_vol, mark, withheld, q.exchange_us)


def tenor_bucket(left_us: NDArray[np.int64]) -> NDArray[np.intp]:
    """Tenor buckets of times to expiry: under 1, 1 to 7, 7 to 30, 30 to 90, over 90 days are 0 to 4."""
    return np.searchsorted(BUCKET_EDGES_US, left_us)
