"""From slices that may be published to what is published of them, all judged slices in one pass."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.board import Board
from kvd.core import residual, smile, svi
from kvd.core.arbitrage import Surface
from kvd.core.joint import Joint
from kvd.core.svi import LEVEL
from kvd.surface import JumpWings, Parameters, RawSvi
from kvd.surface.curves import BELOW

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LEAST_SDS = 5.25  # a little more than the five that are promised, for a projection may move the standard deviation
RECENT_US = 180_000_000
DIGITS, JITTER, LEAST_VARIANCE = 1e5, 1e-6, 1e-18


class Shape(NamedTuple):
    """What is published of one slice, as Python numbers and records."""

    tau: float
    parameters: Parameters
    sd: Parameters
    raw: RawSvi
    jump_wings: JumpWings
    residual: tuple[float, ...]
    vol_sd: tuple[float, ...]
    vol_root: Floats
    covariance: Floats


class Quoted(NamedTuple):
    """What the recent quotes of one slice say of its smile: where they lie in k, how many there are, and which share of
    them encloses it; None where there are none.
    """

    quoted_low: float | None
    quoted_high: float | None
    inside: float | None
    quotes: int


class Recent(NamedTuple):
    """The counted quotes of the last three minutes of some slices, (N,): row among them, k, bid and ask vol."""

    row: Index
    k: Floats
    bid_vol: Floats
    ask_vol: Floats

    def bounds(self, rows: int) -> tuple[Floats, Floats, Index]:
        """Least and greatest k and number of quotes of each row, (rows,); infinite where there are none."""
        low, high = np.full(rows, np.inf), np.full(rows, -np.inf)
        np.minimum.at(low, self.row, self.k)
        np.maximum.at(high, self.row, self.k)
        return low, high, np.bincount(self.row, minlength=rows)

    def of(self, chosen: Index, rows: int) -> "Recent":
        """Those of the rows `chosen` among as many as `rows`, which are rows of their own then."""
        row_of = np.full(rows, -1)
        row_of[chosen] = np.arange(len(chosen))
        row = row_of[self.row]
        known = np.flatnonzero(row >= 0)
        return Recent(row[known], self.k[known], self.bid_vol[known], self.ask_vol[known])

    def judged(self, surface: Surface, sl: svi.Slices) -> list[Quoted]:
        """What they say of each slice of `surface`, prepared as `sl`."""
        model = smile.vol_of(sl, surface.u, surface.tau, self.row, self.k)
        enclosed = (self.bid_vol <= model) & (model <= self.ask_vol)
        rows = len(surface.tau)
        columns = (*self.bounds(rows), np.bincount(self.row, enclosed, minlength=rows))
        return [
            Quoted(low, high, share / quotes, quotes) if quotes else Quoted(None, None, None, 0)
            for low, high, quotes, share in zip(*(c.tolist() for c in columns), strict=True)
        ]


def recent(board: Board, joint: Joint, now_us: int, judged: Index) -> Recent:
    """The quotes that slices `judged` (T,) are held against."""
    row_of = np.full(len(joint.expiry_us) + 1, -1)
    row_of[judged] = np.arange(len(judged))
    row = row_of[np.searchsorted(joint.expiry_us, board.expiry_us)]
    known = np.flatnonzero(board.counted & (now_us - board.exchange_us <= RECENT_US) & (row >= 0))
    return Recent(row[known], board.k[known], board.bid_vol[known], board.ask_vol[known])


def reach(surface: Surface) -> Floats:
    """How far the certificate reaches on either side of the money at least, in k, (T,)."""
    return np.asarray(LEAST_SDS * np.sqrt(surface.w0))


def shapes(surface: Surface, sl: svi.Slices, covariances: Floats) -> list[Shape]:
    """Evaluate every slice of `surface` (T,), prepared as `sl`; `covariances` (T, D, D) of its states begin with the
    backbone's.
    """
    tau = surface.tau
    wings = svi.wing_gradient(sl)
    values, gradient = svi.parameters_and_jacobian(sl, wings)
    P, raw = covariances[:, : svi.DIM, : svi.DIM].copy(), svi.raw(sl, tau)
    vol_sd, vol_root = _correlated(smile.jacobian_at_knots(sl, wings, surface.u), covariances)
    columns = (
        tau.tolist(),
        map(Parameters._make, values.tolist()),
        map(Parameters._make, _sd(gradient, P).tolist()),
        map(RawSvi._make, raw.tolist()),
        map(JumpWings._make, svi.jump_wings(sl, raw, tau).tolist()),
        map(tuple, residual.at_knots(surface.u).tolist()),
        map(tuple, vol_sd.tolist()),
        vol_root,
        P,
    )
    return [Shape(*row) for row in zip(*columns, strict=True)]


def _correlated(gradient: Floats, covariances: Floats) -> tuple[Floats, Floats]:
    """Standard deviations (T, n) of what has gradients (T, n, D), and below the diagonal, row by row, the root of their
    correlations. Its digits are cut off towards zero, so that no row is longer than one.
    """
    C = gradient @ covariances @ gradient.transpose(0, 2, 1)
    variance = np.maximum(np.einsum("tii->ti", C), LEAST_VARIANCE)
    np.einsum("tii->ti", C)[:] = variance * (1 + JITTER)  # a curve that is known exactly leaves them fewer dimensions
    sd = np.sqrt(variance)
    C /= sd[:, :, None] * sd[:, None, :]
    root = np.linalg.cholesky(C)[:, *BELOW]
    return sd, np.ascontiguousarray(np.trunc(root * DIGITS) / DIGITS)


def _sd(gradient: Floats, covariances: Floats) -> Floats:
    """Standard deviations (T, n) of what has gradients (T, n, D) in states of `covariances` (T, D, D)."""
    return np.asarray(np.sqrt(np.maximum(((gradient @ covariances) * gradient).sum(axis=2), 0.0)))


def level_sd(joint: Joint) -> Floats:
    """Standard deviation of ln ATM vol of every slice, (S,)."""
    return np.sqrt(joint.P.diagonal()[LEVEL :: svi.DIM])
