"""The residual curve: what five parameters miss of a smile, as a Gaussian process on its normalised moneyness.

With z = k / sqrt(w0) and omega the SVI backbone (`kvd.core.svi`), the smile is

    vol(k) = sigma_atm (sqrt(omega(z)) + rho(z)),      rho(z) = sum_j u_j phi_j(z)

rho is a cubic spline on `KNOTS`, flat beyond the first and the last (it arrives there with slope zero, so that there
is no kink), with rho(0) = rho'(0) = 0: ATM vol and skew stay the backbone's own. A priori the values at the knots
are a Gaussian process conditioned on those two zeros, the sum of two Matern-5/2 processes (twice differentiable, as
Durrleman's condition asks), scales relative to the ATM vol:

    SCALE**2 M(|da| / LENGTH) + ROUGH**2 t(z) t(z') M(|dz| / ROUGH_LENGTH),   a = arcsinh z
    t(z) = exp(-(z / REACH)**2 / 2)

the first ever smoother in the wings, the second free to follow single strikes near the money. The basis phi is a
square root of that prior: the coefficients u are a priori independent with variance one, so that no scale has to be
carried along.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Floats = NDArray[np.float64]

_RIGHT = (0.3, 0.6, 0.9, 1.2, 1.5, 1.9, 2.3, 3.0, 4.0, 5.6, 8.0)
KNOTS = np.array([*(-z for z in reversed(_RIGHT)), 0.0, *_RIGHT])
SCALE, LENGTH = 0.007, 1.0
ROUGH, ROUGH_LENGTH, REACH = 0.007, 0.6, 3.0
_CARDINAL = CubicSpline(KNOTS, np.eye(len(KNOTS)), bc_type="clamped")  # a spline is linear in its values at the knots


def _kernel(r: Floats) -> Floats:
    """Matern correlation of smoothness 5/2 at distance r in units of its length."""
    r = np.sqrt(5) * r
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def _prior_root() -> Floats:
    """Columns that span the splines with rho(0) = rho'(0) = 0, scaled to the prior: knot values = root @ u."""
    at = np.arcsinh(KNOTS)
    near = ROUGH * np.exp(-0.5 * (KNOTS / REACH) ** 2)
    cov = SCALE**2 * _kernel(np.abs(at[:, None] - at) / LENGTH)
    cov += np.outer(near, near) * _kernel(np.abs(KNOTS[:, None] - KNOTS) / ROUGH_LENGTH)
    pins = np.stack((_CARDINAL(0.0), _CARDINAL(0.0, 1)))
    cross = cov @ pins.T
    pinned = cov - cross @ np.linalg.solve(pins @ cross, cross.T)
    values, vectors = np.linalg.eigh(pinned)
    keep = values > 1e-9 * values.max()
    root: Floats = vectors[:, keep] * np.sqrt(values[keep])
    return root[:, ::-1]


ROOT = _prior_root()
DIM = ROOT.shape[1]
_PHI = CubicSpline(KNOTS, ROOT, bc_type="clamped")
SLOPE = _PHI(KNOTS, 1)  # slopes at the knots = SLOPE @ u
# _C[i, p, j]: the coefficient of t**(3 - p) of phi_j on interval i
_C = np.ascontiguousarray(_PHI.c.transpose(1, 0, 2))
_BY_POWER = np.ascontiguousarray(_C.transpose(1, 2, 0))
_CARDINAL_BY_POWER = np.ascontiguousarray(_CARDINAL.c.transpose(0, 2, 1))
_CARDINAL_CUBICS = _CARDINAL_BY_POWER.reshape(4, -1)
_INNER = KNOTS[1:-1].copy()
_FALLING = np.array([3.0, 2.0, 1.0])


def basis(z: Floats) -> tuple[Floats, Floats]:
    """phi and its derivative in z at points `z` (N,), each of shape (N, DIM)."""
    i, t, flat = _locate(z)
    powers = np.empty((len(z), 2, 4))  # of t: in the value, and in the slope
    value, slope = powers[:, 0], powers[:, 1]
    value[:, 3], value[:, 2] = 1.0, t
    value[:, 1] = t * t
    value[:, 0] = value[:, 1] * t
    slope[:, :3], slope[:, 3] = value[:, 1:] * _FALLING * flat[:, None], 0.0
    phi, phi_z = (powers @ _C.take(i, axis=0)).transpose(1, 0, 2)
    return phi, phi_z


def curve(u: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """rho and its first two derivatives at `z` (T, G) for coefficients `u` (T, DIM), each of shape (T, G)."""
    return curve_at(u, np.arange(len(u))[:, None], z)


def curve_at(u: Floats, place: NDArray[np.intp], z: Floats) -> tuple[Floats, Floats, Floats]:
    """rho and its first two derivatives at `z`, any shape, of the curves `u[place]`; `place` broadcasts to z."""
    return evaluated((u @ _BY_POWER).reshape(4, -1), place, z)


def cubics(rho: Floats) -> Floats:
    """The curves through values `rho` (S, len(KNOTS)) at the knots, ready to be `evaluated`."""
    return np.asarray((rho @ _CARDINAL_BY_POWER).reshape(4, -1))


def evaluated(cubics: Floats, place: NDArray[np.intp], z: Floats) -> tuple[Floats, Floats, Floats]:
    """Values and first two derivatives at `z`, any shape, of curves made ready; `place`, of each, broadcasts to z."""
    i, t, flat = _locate(z)
    c3, c2, c1, c0 = cubics.take(i + len(_C) * place, axis=1)
    return c0 + t * (c1 + t * (c2 + t * c3)), (c1 + t * (2 * c2 + 3 * t * c3)) * flat, (2 * c2 + 6 * t * c3) * flat


def influence(z: Floats) -> tuple[Floats, Floats, Floats]:
    """By how much a curve, its slope and its second derivative at `z`, any shape, change with each of its values at the
    knots: each (*z.shape, len(KNOTS)).
    """
    return evaluated(_CARDINAL_CUBICS, np.arange(len(KNOTS)), np.asarray(z)[..., None])


def value_at(u: Floats, place: NDArray[np.intp], z: Floats) -> Floats:
    """rho alone, as of `curve_at`."""
    i, t, _ = _locate(z)
    c3, c2, c1, c0 = (u @ _BY_POWER).reshape(4, -1).take(i + len(_C) * place, axis=1)
    return np.asarray(c0 + t * (c1 + t * (c2 + t * c3)))


def from_knots(rho: Floats, z: Floats) -> Floats:
    """The curve through values `rho` (len(KNOTS),) at points `z`, any shape."""
    i, t, _ = _locate(z)
    c3, c2, c1, c0 = (_CARDINAL.c @ rho)[:, i]
    return np.asarray(c0 + t * (c1 + t * (c2 + t * c3)))


def at_knots(u: Floats) -> Floats:
    """rho at `KNOTS`, (T, len(KNOTS)), for coefficients `u` (T, DIM)."""
    return np.asarray(u @ ROOT.T)


def _locate(z: Floats) -> tuple[NDArray[np.intp], Floats, NDArray[np.bool_]]:
    """Interval, place within it, and whether the curve is not flat there."""
    inside = np.minimum(np.maximum(z, KNOTS[0]), KNOTS[-1])
    i = _INNER.searchsorted(inside, side="right")
    return i, inside - KNOTS[i], inside == z
