"""The model-free variance of a smile: the strip of options that a variance swap is worth.

Undiscounted, with Q the value of the put below the forward and of the call above it, per unit of underlying,

    variance = 2/tau integral Q(K) / K^2 dK = 2/tau integral q(k) dk,   q = Q(F e^k) / (F e^k)

(Demeterfi, Derman, Kamal & Zou 1999; the VIX of Cboe sums the same over listed strikes). The published smile has a vol
at every strike, so nothing is cut off: Gauss-Legendre quadrature between the knots of the residual, where q has its
kinks, and in ever wider panels beyond. A vol that moves by dvol moves q by n(d2) sqrt(tau) dvol.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import black, residual
from kvd.surface.curves import Curves

Floats = NDArray[np.float64]

_BEYOND = float(residual.KNOTS[-1]) * 1.5 ** np.arange(1, 12)
EDGES = np.concatenate((-_BEYOND[::-1], residual.KNOTS, _BEYOND))  # in z
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
FARTHEST = 600.0  # in k: exp of it can still be held


class VarianceIndex(NamedTuple):
    """What a variance swap to ``days`` days after the surface's instant is worth: ``variance`` a year, and ``vol`` its
    root, decimals both, each with its standard deviation.
    """

    days: float
    variance: float
    variance_sd: float
    vol: float
    vol_sd: float


def variance_index(curve: Curves, days: float) -> VarianceIndex:
    """Of one curve: its published smiles' strips, weighted as its total variance is."""
    total, gradient = _strips(curve)
    weight = curve.weight[0] / curve.tau[0]
    variance = float(weight @ total)
    sd = float(np.linalg.norm(weight[:, None] * gradient))
    vol = variance**0.5
    return VarianceIndex(days, variance, sd, vol, sd / (2 * vol))


def _strips(curve: Curves) -> tuple[Floats, Floats]:
    """The strip of each published smile as a total variance, (m,), and by how much it moves with each standard normal
    that the smile is uncertain by, (m, KNOTS).
    """
    shapes = curve.shapes
    edges = np.clip(EDGES * shapes.root, -FARTHEST, FARTHEST)
    half, middle = 0.5 * np.diff(edges)[:, :, None], (0.5 * (edges[:, 1:] + edges[:, :-1]))[:, :, None]
    k, weight = ((middle + half * NODES).reshape(len(edges), -1), (half * WEIGHTS).reshape(len(edges), -1))
    z = k / shapes.root
    v = shapes.root * shapes.normalised(z)[0]
    q = black.price(np.exp(-k), np.ones_like(k), v, np.where(k > 0, 1.0, -1.0))
    by_vol = black.density(-k / v - 0.5 * v) * (shapes.root / shapes.atm_vol)  # n(d2) sqrt(tau)
    moved = np.einsum("mp,mpj->mj", 2 * weight * by_vol, residual.influence(z)[0])
    return 2 * (weight * q).sum(axis=1), np.einsum("mj,mji->mi", moved, curve.factor)
