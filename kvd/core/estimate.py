"""One batch of vols into the joint posterior of all slices: an iterated, robust, whitened Kalman update.

For one slice let xi = x - x_mean and u = u_mean + A xi + e be backbone and residual (`kvd.core.joint`), a priori
N(0, P_i) and N(0, V). Vols y with model h, gradients J in x and B in u at a moving point say, with H = (J + B A, B),

    L = H' W R^-1 H,   b = H' W R^-1 (y - h* + H (xi*, e*)),   (xi, e) <- (diag(P_i, V)^-1 + L)^-1 b
    (Gauss-Newton)

with robust weights W fixed on the prior innovations (Bell & Cathey 1993 for the iteration). At the last point e is
integrated out and what remains of the batch for the backbone,

    V' = V (I + L_ee V)^-1,   L_x = L_xx - L_xe V' L_ex = U diag(l) U',   b_x' = b_x - L_xe V' b_e,

is handed to the filter as at most five rows l^(1/2) U' xi = l^(-1/2) U' b_x' + N(0, I), which have the posterior of
the full batch. The filter is joint over the backbones of all slices, so an expiry that was not quoted moves with its
neighbours. The residuals follow in closed form: A' = A - V' L_ex and u_mean' = u_mean + V' (b_e - L_ex xi') + A xi',
xi' the move of the backbone's mean. NIS is that of all n prior innovations with the R that was not inflated, slice
by slice.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import groups, kalman, smile
from kvd.core.joint import Joint, M, marginals, moved
from kvd.core.measurement import Measurement, student_weight
from kvd.core.svi import DIM, LEVEL

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LONGEST_STEP = 0.3
LONGEST = np.concatenate((np.full(DIM, LONGEST_STEP), np.full(M, np.inf)))
# a shorter Gauss-Newton step moves the linearisation by less than the quotes can tell
SETTLED_STEP = np.concatenate(([0.02, 0.02, 0.1, 0.15, 0.15], np.full(M, 2.0)))
NEGLIGIBLE = 1e-9
BACKBONE = np.arange(DIM)
EYE_M, EYE = np.eye(M), np.eye(DIM + M)
LOWEST = np.array([np.log(0.01), -2.0, np.log(1e-3), -3.0, -3.0])
HIGHEST = np.array([np.log(5.0), 2.0, np.log(50.0), 3.0, 3.0])


class Vols(NamedTuple):
    """Measured vols, each (N,), sorted by slice: slice index, log-moneyness, mid vol and its variance R.

    ``repetition`` >= 1 multiplies R where a quote mostly repeats its instrument's last one (`measurement.variance`).
    """

    place: Index
    k: Floats
    vol: Floats
    R: Floats
    repetition: Floats | float = 1.0


class Outcome(NamedTuple):
    """What a batch did. Per touched slice, (T,): its index, NIS and degrees of freedom; per quote, (N,): prior
    innovation, its predicted variance S, and weight; and per touched slice its level innovation, (T,).

    The level innovation is what all prior innovations e of a slice say together of its ln ATM vol, in its own standard
    deviations: the first component of the score H' R^-1 e, whose covariance is L + L P L, with the R of NIS.
    """

    touched: Index
    nis: Floats
    nis_dof: Index
    innovation: Floats
    S: Floats
    weight: Floats
    level: Floats


def update(joint: Joint, tau: Floats, vols: Vols, m: Measurement) -> tuple[Joint, Outcome]:
    """Condition `joint` on `vols` (N >= 1) at times to expiry `tau` (S,). Raises kalman.NotPositiveDefiniteError.

    The order of the quotes within a slice does not matter; the slices of `vols.place` must be ascending.
    """
    touched, first, dof, local = _groups(vols.place)
    x0, u0, A, tau_t = joint.x[touched], joint.u[touched], joint.A[touched], tau[touched]
    prior = _prior(joint, touched)

    h, H = _linearise(x0, u0, A, tau_t, local, vols.k)
    innovation = vols.vol - h
    precision = 1 / vols.R
    L, b = _information(H, innovation, precision, first)
    step = _solve(prior, L, b)
    # e' (H P H' + R)^-1 e = e' R^-1 e - b' (P^-1 + L)^-1 b
    nis = np.add.reduceat(innovation * innovation * precision, first) - (b * step).sum(axis=1)

    S = _state_variance(H, prior, first) + vols.R
    level = _level(prior, L, b)
    weight = student_weight(innovation, S, m)
    trust = weight / vols.repetition
    if trust.min() < 1:
        precision = trust * precision
        L, b = _information(H, innovation, precision, first)
        step = _solve(prior, L, b)
    at = np.zeros_like(step)
    for _ in range(m.passes):
        if (np.abs(step) < SETTLED_STEP).all():
            break
        at = at + np.minimum(np.maximum(step, -LONGEST), LONGEST)
        at[:, :DIM] = np.minimum(np.maximum(at[:, :DIM], LOWEST - x0), HIGHEST - x0)
        u = u0 + np.einsum("tmi,ti->tm", A, at[:, :DIM]) + at[:, DIM:]
        h, H = _linearise(x0 + at[:, :DIM], u, A, tau_t, local, vols.k)
        L, b = _information(H, vols.vol - h + np.einsum("ni,ni->n", H, at[local]), precision, first)
        step = _solve(prior, L, b) - at

    return _condition(joint, touched, L, b), Outcome(touched, nis, dof, innovation, S, weight, level)


def _groups(place: Index) -> tuple[Index, Index, Index, Index]:
    """Of ascending slices `place` (N,): the different ones, where each begins and how many it has, (T,), and which of
    them each is, (N,).
    """
    begins = groups.begins(place)
    first, local = begins.nonzero()[0], begins.cumsum() - 1
    return place[first], first, np.bincount(local), local


def _prior(joint: Joint, touched: Index) -> Floats:
    """Block-diagonal prior of (xi, e) for each touched slice, (T, 5 + M, 5 + M)."""
    prior = np.zeros((len(touched), DIM + M, DIM + M))
    prior[:, :DIM, :DIM] = marginals(joint.P, touched)
    prior[:, DIM:, DIM:] = joint.V[touched]
    return prior


def _linearise(x: Floats, u: Floats, A: Floats, tau: Floats, local: Index, k: Floats) -> tuple[Floats, Floats]:
    """Vols (N,) and H = (J + B A, B), (N, 5 + M)."""
    h, J, B = smile.vol_and_jacobian(x, u, tau, local, k)
    return h, np.concatenate((J + np.einsum("nm,nmi->ni", B, A[local]), B), axis=1)


def _condition(joint: Joint, touched: Index, L: Floats, b: Floats) -> Joint:
    """The posterior of `joint` given each touched slice's information L, (T, 5 + M, 5 + M), and b, (T, 5 + M)."""
    V, Lxe = joint.V[touched], L[:, :DIM, DIM:]
    given = np.linalg.solve(EYE_M + V @ L[:, DIM:, DIM:], V)
    given = 0.5 * (given + given.transpose(0, 2, 1))
    gain, pull = given @ Lxe.transpose(0, 2, 1), given @ b[:, DIM:, None]  # V' L_ex and V' b_e
    H, y = _rows(L[:, :DIM, :DIM] - Lxe @ gain, b[:, :DIM] - (Lxe @ pull)[:, :, 0])
    own = (DIM * touched[:, None] + BACKBONE).ravel()
    flat = joint.x.ravel()
    mean, P = kalman.update(flat, joint.P, H, y + H @ flat[own], own)
    x = np.minimum(np.maximum(mean.reshape(-1, DIM), LOWEST), HIGHEST)
    posterior = moved(joint, x, P)
    posterior.u[touched] += (pull - gain @ (x - joint.x)[touched][:, :, None])[:, :, 0]
    A, Vs = joint.A.copy(), joint.V.copy()
    A[touched] -= gain
    Vs[touched] = given
    return posterior._replace(A=A, V=Vs)


def _slices(first: Index, n: int) -> Iterator[tuple[int, slice]]:
    """Each touched slice and where its quotes stand among all `n`: matrices are cheaper by slice than by quote."""
    return enumerate(map(slice, first.tolist(), [*first[1:].tolist(), n]))


def _state_variance(H: Floats, prior: Floats, first: Index) -> Floats:
    """H P H' of every quote, (N,)."""
    variance = np.empty(len(H))
    for i, own in _slices(first, len(H)):
        variance[own] = ((H[own] @ prior[i]) * H[own]).sum(axis=1)
    return variance


def _information(H: Floats, e: Floats, precision: Floats, first: Index) -> tuple[Floats, Floats]:
    """H' W H, (T, d, d), and H' W e, (T, d), summed over the quotes of each slice."""
    L = np.empty((len(first), H.shape[1], H.shape[1]))
    b = np.empty((len(first), H.shape[1]))
    for i, own in _slices(first, len(e)):
        weighted = H[own].T * precision[own]
        np.matmul(weighted, H[own], out=L[i])
        np.matmul(weighted, e[own], out=b[i])
    return L, b


def _solve(P: Floats, L: Floats, b: Floats) -> Floats:
    """(P^-1 + L)^-1 b for each slice without inverting P, (T, d)."""
    step: Floats = P @ np.linalg.solve(EYE + L @ P, b[:, :, None])
    return step[:, :, 0]


def _level(prior: Floats, L: Floats, b: Floats) -> Floats:
    """The score b along ln ATM vol over its standard deviation, sqrt((L + L P L)_00), for each slice, (T,)."""
    row = L[:, LEVEL]
    spread = np.matmul(row[:, None, :], prior)[:, 0]
    return np.asarray(b[:, LEVEL] / np.sqrt(row[:, LEVEL] + (spread * row).sum(axis=1)))


def _rows(L: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The whitened batch: rows H (m, 5T) and innovations y (m,) with unit noise, m <= 5T."""
    values, vectors = np.linalg.eigh(L)
    keep = values > NEGLIGIBLE * values[:, -1:]
    root = np.sqrt(np.where(keep, values, 1.0))
    y = (b[:, None] @ vectors)[:, 0] / root
    T = len(L)
    H = np.zeros((T, DIM, T, DIM))
    every = np.arange(T)
    H[every, :, every, :] = root[:, :, None] * vectors.transpose(0, 2, 1)
    return H.reshape(T * DIM, T * DIM)[keep.ravel()], y[keep]
