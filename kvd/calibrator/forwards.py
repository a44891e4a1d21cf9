"""The forwards of one underlying's expiries, as the venue says them and as put-call parity bounds them."""

from collections.abc import Sequence

import numpy as np

from kvd.calibrator.board import Board
from kvd.core import forward as parity
from kvd.quotes import ForwardQuote, Quote
from kvd.surface import Forward

PAIR_APART_US = 5_000_000
FUTURE_AFTER_US = 2_000_000
LEAST_SD_RATIO = 1e-5


class Forwards:
    """The newest forward of each expiry: the underlying price that came with the newest quote, or the expiry's
    future if fresher.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Forward, int]] = {}

    def __contains__(self, expiry_us: int) -> bool:
        return expiry_us in self._known

    def __getitem__(self, expiry_us: int) -> Forward:
        return self._known[expiry_us][0]

    def hear(self, quotes: Sequence[Quote], futures: Sequence[ForwardQuote]) -> set[int]:
        """Take in what a batch says of the forwards; returns the expiries that were heard of."""
        heard = set()
        for q in quotes:
            expiry_us = q.instrument.expiry_us
            if q.forward is not None and q.exchange_us >= self._heard_us(expiry_us):
                sd = self[expiry_us].sd if expiry_us in self else q.forward * LEAST_SD_RATIO
                self._known[expiry_us] = Forward(q.forward, sd, q.forward_source), q.exchange_us
                heard.add(expiry_us)
        for f in futures:
            if f.expiry_us is not None and f.exchange_us > self._heard_us(f.expiry_us) + FUTURE_AFTER_US:
                value = 0.5 * (f.bid + f.ask)
                sd = max(0.5 * (f.ask - f.bid), value * LEAST_SD_RATIO)
                self._known[f.expiry_us] = Forward(value, sd, f.name), f.exchange_us
                heard.add(f.expiry_us)
        return heard

    def check(self, expiry_us: int, board: Board) -> bool:
        """Hold the forward against the tightest call-put pair on the board; widens its sd and returns False if it
        lies outside.
        """
        forward, at_us = self._known[expiry_us]
        mine = np.flatnonzero((board.expiry_us == expiry_us) & (at_us - board.exchange_us < PAIR_APART_US))
        calls, puts = mine[board.sign[mine] > 0], mine[board.sign[mine] < 0]
        strikes, c, p = np.intersect1d(board.strike[calls], board.strike[puts], return_indices=True)
        call = np.stack((board.bid[calls[c]], board.ask[calls[c]]))
        put = np.stack((board.bid[puts[p]], board.ask[puts[p]]))
        bounds = parity.parity_bounds(strikes, call, put, bool(len(mine)) and bool(board.inverse[mine[0]]))
        if bounds is None:
            return True
        outside = parity.deviation(forward.value, bounds)
        # a price somewhere in an interval of this width has the standard deviation of a uniform law
        sd = max((bounds[1] - bounds[0]) / np.sqrt(12), outside, forward.value * LEAST_SD_RATIO)
        self._known[expiry_us] = Forward(forward.value, float(sd), forward.source), at_us
        return outside == 0

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        self._known.pop(expiry_us, None)

    def _heard_us(self, expiry_us: int) -> int:
        return self._known[expiry_us][1] if expiry_us in self._known else -1
