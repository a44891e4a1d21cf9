"""The filter's state over all slices of an underlying, as a record, and what time and listings do to it.

The backbones of all slices are one joint Gaussian. A slice's residual coefficients belong to that slice alone and
are held conditionally on its backbone, which loses nothing as long as no quote speaks of two slices:

    u = u_mean + A (x - x_mean) + e,   e ~ N(0, V), independent of every backbone
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import dynamics, kalman, residual
from kvd.core.daycount import EVEN, YEAR_US, VarianceTime, year_fraction
from kvd.core.dynamics import STILL, Dynamics, Moves
from kvd.core.svi import DIM, LEVEL

Floats = NDArray[np.float64]
Index = NDArray[np.intp]


class Joint(NamedTuple):
    """State of S slices in ascending expiry.

    Backbones: mean `x` (S, 5), covariance `P` (5S, 5S) slice-major. Residuals, M coefficients each: mean `u` (S, M),
    regression `A` (S, M, 5) on the own backbone, covariance `V` (S, M, M) given it. `expiry_us` (S,).
    """

    x: Floats
    P: Floats
    u: Floats
    A: Floats
    V: Floats
    expiry_us: NDArray[np.int64]


M = residual.DIM
EMPTY = Joint(
    np.zeros((0, DIM)),
    np.zeros((0, 0)),
    np.zeros((0, M)),
    np.zeros((0, M, DIM)),
    np.zeros((0, M, M)),
    np.zeros(0, dtype=np.int64),
)


def marginals(P: Floats, chosen: Index) -> Floats:
    """The (5, 5) diagonal blocks of slices `chosen` (T,) of `P`, shape (T, 5, 5)."""
    return _blocks(P)[chosen]


def _blocks(P: Floats) -> Floats:
    """All diagonal blocks of `P`, (S, 5, 5), as a view."""
    slices = len(P) // DIM
    return np.asarray(np.einsum("iaib->iab", P.reshape(slices, DIM, slices, DIM)))


def followed(joint: Joint, x: Floats) -> Floats:
    """Each residual's mean, (S, M), once its own backbone has moved to `x` (S, 5)."""
    return np.asarray(joint.u + np.matmul(joint.A, (x - joint.x)[:, :, None])[:, :, 0])


def covariances(joint: Joint, chosen: Index) -> Floats:
    """Covariances of (x, u) of slices `chosen` (T,), shape (T, 5 + M, 5 + M)."""
    P, A = marginals(joint.P, chosen), joint.A[chosen]
    full = np.empty((len(chosen), DIM + M, DIM + M))
    full[:, :DIM, :DIM] = P
    full[:, DIM:, :DIM] = A @ P
    full[:, :DIM, DIM:] = full[:, DIM:, :DIM].transpose(0, 2, 1)
    full[:, DIM:, DIM:] = full[:, DIM:, :DIM] @ A.transpose(0, 2, 1) + joint.V[chosen]
    return full


def predict(joint: Joint, from_us: int, to_us: int, noise_factor: float, d: Dynamics, moves: Moves = STILL) -> Joint:
    """Let time pass from one instant to a later one; `noise_factor` multiplies the process noise.

    Residuals return to zero, with prior variance, over `Dynamics.residual_h` hours: u' = keep u + noise.
    """
    if not len(joint.x) or to_us <= from_us:
        return joint
    tau = year_fraction(to_us, joint.expiry_us)
    F, b, Q = dynamics.transition(tau, (to_us - from_us) / YEAR_US, noise_factor, d, moves)
    x, P = kalman.predict(joint.x.ravel(), joint.P, F, b, Q)
    keep = np.exp(-(to_us - from_us) * noise_factor / (d.residual_h * 3600e6))
    # cov(u', x') = keep A P F', F being diagonal; the regression on the new backbone, and what is left unexplained
    explained = joint.A @ _blocks(joint.P)
    cross = explained * (keep * F.reshape(-1, 1, DIM))
    A = np.linalg.solve(_blocks(P), cross.transpose(0, 2, 1)).transpose(0, 2, 1)
    V = joint.V + explained @ joint.A.transpose(0, 2, 1)
    V *= keep**2
    V -= A @ cross.transpose(0, 2, 1)
    V = V + V.transpose(0, 2, 1)
    V *= 0.5
    np.einsum("imm->im", V)[:] += (1 - keep**2) * d.residual_sd**2 * (joint.V[:, :1, 0] > 0)
    return Joint(x.reshape(-1, DIM), P, keep * joint.u, A, V, joint.expiry_us)


def admit(
    joint: Joint, expiry_us: int, now_us: int, d: Dynamics, curved: bool = True, clock: VarianceTime = EVEN
) -> Joint:
    """Let a new expiry in, started from its neighbours and independent of them until quotes say more.

    Without `curved` its residual curve is zero, and known to be. Neighbours are compared by their total variance per
    year of variance time, as `clock` tells it.
    """
    due = np.append(joint.expiry_us, expiry_us)
    busy = clock.years(now_us, due)
    slower = 0.5 * np.log(year_fraction(now_us, due) / busy)  # ln of vol in variance time less ln of vol
    known = joint.x.copy()
    known[:, LEVEL] += slower[:-1]
    x, block = dynamics.start(float(busy[-1]), busy[:-1], known, d)
    x[LEVEL] -= slower[-1]
    place = int(np.searchsorted(joint.expiry_us, expiry_us))
    own = slice(DIM * place, DIM * place + DIM)
    old = np.delete(np.arange(len(joint.P) + DIM), own)
    P = np.zeros((len(old) + DIM, len(old) + DIM))
    P[np.ix_(old, old)] = joint.P
    P[own, own] = block
    return Joint(
        np.insert(joint.x, place, x, axis=0),
        P,
        np.insert(joint.u, place, np.zeros(M), axis=0),
        np.insert(joint.A, place, np.zeros((M, DIM)), axis=0),
        np.insert(joint.V, place, np.eye(M) * curved * d.residual_sd**2, axis=0),
        np.insert(joint.expiry_us, place, expiry_us),
    )


def expire(joint: Joint, now_us: int) -> tuple[Joint, tuple[int, ...]]:
    """Let the expiries leave whose instant has come; returns what remains and who left."""
    keep = joint.expiry_us > now_us
    if keep.all():
        return joint, ()
    rows = np.repeat(keep, DIM)
    x, P, u, A, V, expiry_us = joint
    left = Joint(x[keep], P[np.ix_(rows, rows)], u[keep], A[keep], V[keep], expiry_us[keep])
    return left, tuple(expiry_us[~keep].tolist())
