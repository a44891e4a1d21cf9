"""From the joint posterior to published smiles, all touched slices in one pass."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.board import Board
from kvd.core import arbitrage, svi
from kvd.core.daycount import year_fraction
from kvd.core.joint import Joint, marginals
from kvd.core.svi import LEVEL
from kvd.surface import Certificate, JumpWings, Parameters, RawSvi

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

GRID = 101
LEAST_SDS = 5.0
RECENT_US = 180_000_000


class Shape(NamedTuple):
    """What the posterior says of one slice; ``sound`` if it may be published: finite and of positive variance."""

    tau: float
    parameters: Parameters
    sd: Parameters
    raw: RawSvi
    jump_wings: JumpWings
    covariance: Floats
    certificate: Certificate
    sound: bool


class Quoted(NamedTuple):
    """What the recent quotes of one expiry say of its smile: their range of log-moneyness, number, and share
    enclosing it.
    """

    low: float | None
    high: float | None
    quotes: int
    inside: float | None


def shapes(joint: Joint, now_us: int, judged: Index, quoted: Mapping[int, Quoted]) -> list[Shape]:
    """Evaluate slices `judged` (T,) of `joint` at `now_us`.

    The certificate covers the quoted range and at least five standard deviations either side of the money.
    """
    tau = year_fraction(now_us, joint.expiry_us)
    raw = svi.to_raw(joint.x, tau)
    x = joint.x[judged]
    values, gradient = svi.parameters_and_jacobian(x)
    P = marginals(joint.P, judged)
    sd = np.sqrt(np.einsum("tij,tjk,tik->ti", gradient, P, gradient))

    reach = LEAST_SDS * np.exp(x[:, LEVEL]) * np.sqrt(tau[judged])
    expiries = joint.expiry_us[judged].tolist()
    low = np.minimum(-reach, [quoted[e].low or 0.0 for e in expiries])
    high = np.maximum(reach, [quoted[e].high or 0.0 for e in expiries])
    k = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, GRID)
    w_least, butterfly, calendar = arbitrage.margins(raw, judged, k)
    sound = (w_least > 0) & np.isfinite(sd).all(axis=1) & np.isfinite(butterfly)
    jump_wings = svi.jump_wings(x, tau[judged])
    rows = zip(low.tolist(), high.tolist(), butterfly.tolist(), calendar.tolist(), strict=True)
    certificates = [Certificate(kl, kh, GRID, g, c if np.isfinite(c) else None) for kl, kh, g, c in rows]
    return [
        Shape(t, Parameters(*v), Parameters(*s), RawSvi(*r), JumpWings(*j), p, certificate, ok)
        for t, v, s, r, j, p, certificate, ok in zip(
            tau[judged].tolist(),
            values.tolist(),
            sd.tolist(),
            raw[judged].tolist(),
            jump_wings.tolist(),
            P,
            certificates,
            sound.tolist(),
            strict=True,
        )
    ]


def quoted(board: Board, joint: Joint, now_us: int, judged: Index) -> dict[int, Quoted]:
    """Hold slices `judged` (T,) against the counted quotes of the last three minutes, expiry by expiry."""
    slice_of = np.full(len(joint.expiry_us), -1)
    slice_of[judged] = judged
    place = np.searchsorted(joint.expiry_us, board.expiry_us)
    known = np.flatnonzero(board.counted & (now_us - board.exchange_us <= RECENT_US) & (place < len(slice_of)))
    known = known[slice_of[place[known]] >= 0]
    place = place[known]
    k = board.k[known]
    model = svi.vol(joint.x, year_fraction(now_us, joint.expiry_us), place, k)
    inside = (board.bid_vol[known] <= model) & (model <= board.ask_vol[known])
    report = {}
    for i, expiry_us in zip(judged.tolist(), joint.expiry_us[judged].tolist(), strict=True):
        mine = place == i
        n = int(np.count_nonzero(mine))
        report[expiry_us] = (
            Quoted(float(k[mine].min()), float(k[mine].max()), n, float(inside[mine].mean()))
            if n
            else Quoted(None, None, 0, None)
        )
    return report
