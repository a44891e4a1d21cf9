"""Numbers of constant maturity, interpolated between listed expiries (`kvd.surface.between`)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import residual
from kvd.surface.curves import Curves
from kvd.surface.points import delta_points

Floats = NDArray[np.float64]

TENORS_D = (7, 30, 60, 90, 180)


class Tenor(NamedTuple):
    """A smile of constant maturity in the five numbers of a desk, each with its standard deviation.

    ``expiry_us`` is ``days`` days after the surface's instant. RR25 and BF25 are in forward delta; None where no strike
    has it.
    """

    days: float
    expiry_us: int
    forward: float
    forward_sd: float
    atm_vol: float
    atm_vol_sd: float
    skew: float
    skew_sd: float
    rr25: float | None
    rr25_sd: float | None
    bf25: float | None
    bf25_sd: float | None


def tenors(curves: Curves, expiry_us: Mapping[float, int]) -> tuple[Tenor, ...]:
    """The five numbers of each of the curves, which reach to `expiry_us` by days."""
    points = delta_points(curves, "forward")
    columns = (curves.forward, curves.forward_sd, *_at_the_money(curves))
    rows = zip(expiry_us.items(), *(column.tolist() for column in columns), points, strict=True)
    return tuple(
        Tenor(days, at_us, forward, forward_sd, vol, vol_sd, skew, skew_sd, p.rr25, p.rr25_sd, p.bf25, p.bf25_sd)
        for (days, at_us), forward, forward_sd, vol, vol_sd, skew, skew_sd, p in rows
    )


def _at_the_money(curves: Curves) -> tuple[Floats, Floats, Floats, Floats]:
    """ATM vol and skew with their standard deviations, (C,) each.

    With v = sqrt(w) the skew is v' at k = 0: ``dv = dw / (2 v)``, ``dv' = dw' / (2 v) - v' dv / v``, where
    ``dw = sum weight_i 2 w0_i f_i df_i`` and ``dw' = sum weight_i 2 sqrt(w0_i) (f_i' df_i + f_i df_i')``.
    """
    count = len(curves.tau)
    at = curves.at(np.zeros((count, 1)))
    v = np.sqrt(at.w)
    skew = at.w1 / (2 * v)
    _, f1, _ = curves.shapes.normalised(at.z)
    df, df1 = ((rows @ curves.factor)[:, 0] / curves.shapes.atm_vol for rows in residual.influence(at.z)[:2])
    weight, root = 2 * curves.weight.reshape(-1, 1), curves.shapes.root
    dw, dw1 = weight * root**2 * at.f * df, weight * root * (f1 * df + at.f * df1)
    dv = dw.reshape(count, -1) / (2 * v)
    dv1 = dw1.reshape(count, -1) / (2 * v) - skew / v * dv
    sd, skew_sd = np.linalg.norm(dv, axis=1), np.linalg.norm(dv1, axis=1)
    root_tau = np.sqrt(curves.tau)
    return v[:, 0] / root_tau, sd / root_tau, skew[:, 0], skew_sd
