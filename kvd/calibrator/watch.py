"""The watch over what is published: each slice's own record, and the venue's mark beside it. Neither enters the
estimate: a slice that is doubted is published with wider bands, and the filter goes on as before.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.board import Board
from kvd.calibrator.ladder import Rung
from kvd.calibrator.shown import Shown
from kvd.calibrator.smiles import RECENT_US
from kvd.core import residual, smile
from kvd.core.estimate import Outcome
from kvd.core.measurement import BAND_90
from kvd.core.whiteness import Watch, absorbed, judged

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LOOK_EVERY_US = 5_000_000
LEAST_MARKS = 3


def remember(rungs: Sequence[Rung], outcome: Outcome, inside: Flags, w: Watch) -> None:
    """Add a batch to the record of each slice that it touched, on `rungs` (T,) in the order of `outcome.touched`.

    `inside` (N, 3) marks innovations inside their 50, 90 and 95 % predictive bands.
    """
    first = np.cumsum(outcome.nis_dof) - outcome.nis_dof
    counts = np.add.reduceat(inside, first, axis=0, dtype=np.intp).tolist()
    batch = (outcome.nis.tolist(), outcome.nis_dof.tolist(), counts, outcome.level.tolist())
    for rung, nis, dof, within, level in zip(rungs, *batch, strict=True):
        rung.sums = absorbed(rung.sums, nis, dof, within, level, w.memory)
        rung.record, rung.doubt = judged(rung.sums, rung.doubt, w)


class MarksState(NamedTuple):
    """Since when an expiry's marks have said otherwise than until then, when they were looked at, and who diverged."""

    turned_us: dict[int, int]
    looked_us: int
    diverged: set[int]


class Marks:
    """Whether the venue's marks agree with what is shown. `diverged` holds the expiries of which they do not.

    The marks of an expiry disagree while most of its recent ones, three at least, lie further from the smile as shown
    than its 90 % band and than half of their own quote's spread. Once they have for `mark_alarm_s` of quote time, the
    expiry is `diverged`, until they have agreed, or been too few, for as long.
    """

    def __init__(self, settings: Watch) -> None:
        self._lasts_us = settings.mark_alarm_s * 1e6
        self._turned_us: dict[int, int] = {}
        self._looked_us = -LOOK_EVERY_US
        self.diverged: set[int] = set()

    def state(self) -> MarksState:
        """What is known now."""
        return MarksState(self._turned_us.copy(), self._looked_us, self.diverged.copy())

    def restore(self, state: MarksState) -> None:
        """Know what was known then."""
        self._turned_us, self._looked_us, self.diverged = state

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        self._turned_us.pop(expiry_us, None)
        self.diverged.discard(expiry_us)

    def look(self, now_us: int, board: Board, shown: Mapping[int, Shown]) -> None:
        """Compare, every five seconds of quote time."""
        if now_us - self._looked_us < LOOK_EVERY_US or not shown:
            return
        if now_us - self._looked_us > self._lasts_us:
            self._turned_us.clear()  # nobody knows what was meanwhile
        self._looked_us = now_us
        expiries = np.array(sorted(shown), dtype=np.int64)
        away = disagreeing(board, expiries, [shown[e] for e in expiries.tolist()], now_us)
        for expiry_us, disagrees in zip(expiries.tolist(), away.tolist(), strict=True):
            if disagrees == (expiry_us in self.diverged):
                self._turned_us.pop(expiry_us, None)
            elif now_us - self._turned_us.setdefault(expiry_us, now_us) >= self._lasts_us:
                del self._turned_us[expiry_us]
                self.diverged ^= {expiry_us}


def disagreeing(board: Board, expiries: NDArray[np.int64], shown: Sequence[Shown], now_us: int) -> Flags:
    """Of which ascending `expiries` (S,), `shown` beside them, most recent marks lie outside the band, (S,)."""
    recent = board.counted & (now_us - board.exchange_us <= RECENT_US) & np.isfinite(board.mark_vol)
    rows = np.flatnonzero(recent & np.isin(board.expiry_us, expiries))
    place, k = np.searchsorted(expiries, board.expiry_us[rows]), board.k[rows]
    tau = np.array([s.smile.tau for s in shown])
    model = smile.vol(np.array([s.x for s in shown]), np.array([s.u for s in shown]), tau, place, k)
    w0_root = np.array([s.smile.parameters.atm_vol for s in shown]) * np.sqrt(tau)
    sd = _between_knots(np.array([s.smile.vol_sd for s in shown]), place, k / w0_root[place])
    half = 0.5 * (board.ask_vol[rows] - board.bid_vol[rows])
    outside = np.abs(board.mark_vol[rows] - model) > np.maximum(BAND_90 * sd, half)
    marks = np.bincount(place, minlength=len(expiries))
    return np.asarray((marks >= LEAST_MARKS) & (2 * np.bincount(place, outside, minlength=len(expiries)) > marks))


def _between_knots(values: Floats, place: NDArray[np.intp], z: Floats) -> Floats:
    """Rows `place` (N,) of `values` at the knots, (S, len(KNOTS)), between them at `z` (N,); constant beyond them."""
    knots = residual.KNOTS
    right = np.clip(np.searchsorted(knots, z), 1, len(knots) - 1)
    share = np.clip((z - knots[right - 1]) / (knots[right] - knots[right - 1]), 0.0, 1.0)
    return np.asarray((1 - share) * values[place, right - 1] + share * values[place, right])
