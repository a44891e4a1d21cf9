"""One batch of vols into the joint posterior of all slices: an iterated, robust, whitened Kalman update.

For slice i with prior mean x_i, marginal covariance P_i, vols z, model h and gradient J at a moving point x*, the
batch says

    L = J' W R^-1 J,   b = J' W R^-1 (z - h(x*) + J (x* - x_i)),   x* <- x_i + (P_i^-1 + L)^-1 b          (Gauss-Newton)

with robust weights W fixed on the prior innovations. At the last point L = V diag(l) V' is handed to the filter as
at most five rows

    H = l^(1/2) V',   z - H x_i = l^(-1/2) V' b,   R = I

which have the posterior of the full batch (Bell & Cathey 1993 for the iteration; the rows are its information square
root). The filter itself is joint over all slices, so an expiry that was not quoted moves with its neighbours. NIS is
that of all n prior innovations with the R that was not inflated, slice by slice: e' (J P J' + R)^-1 e by the
Woodbury identity.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import kalman, svi
from kvd.core.joint import Joint, marginals
from kvd.core.measurement import Measurement, student_weight
from kvd.core.svi import DIM

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LONGEST_STEP = 0.3
# a shorter Gauss-Newton step moves the linearisation by less than the quotes can tell
SETTLED_STEP = np.array([0.02, 0.02, 0.07, 0.1, 0.1])
NEGLIGIBLE = 1e-9
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
    innovation and weight.
    """

    touched: Index
    nis: Floats
    nis_dof: Index
    innovation: Floats
    weight: Floats


def update(joint: Joint, tau: Floats, vols: Vols, m: Measurement) -> tuple[Joint, Outcome]:
    """Condition `joint` on `vols` (N >= 1) at times to expiry `tau` (S,). Raises kalman.NotPositiveDefiniteError.

    The order of the quotes within a slice does not matter; the slices of `vols.place` must be ascending.
    """
    touched, first, local = np.unique(vols.place, return_index=True, return_inverse=True)
    x0, tau_t = joint.x[touched], tau[touched]
    P0 = marginals(joint.P, touched)

    h, J = svi.vol_and_jacobian(x0, tau_t, local, vols.k)
    innovation = vols.vol - h
    precision = 1 / vols.R
    L, b = _information(J, innovation, precision, first)
    step = _solve(P0, L, b)
    # e' (J P J' + R)^-1 e = e' R^-1 e - b' (P^-1 + L)^-1 b
    nis = np.add.reduceat(innovation * innovation * precision, first) - np.einsum("ti,ti->t", b, step)

    state_variance = np.einsum("ni,nij,nj->n", J, P0[local], J)
    weight = student_weight(innovation, state_variance + vols.R, m)
    trust = weight / vols.repetition
    if trust.min() < 1:
        precision = trust * precision
        L, b = _information(J, innovation, precision, first)
        step = _solve(P0, L, b)
    x = x0
    for _ in range(m.passes):
        if (np.abs(step) < SETTLED_STEP).all():
            break
        x = np.clip(x + np.clip(step, -LONGEST_STEP, LONGEST_STEP), LOWEST, HIGHEST)
        h, J = svi.vol_and_jacobian(x, tau_t, local, vols.k)
        L, b = _information(J, vols.vol - h + np.einsum("ni,ni->n", J, (x - x0)[local]), precision, first)
        step = x0 + _solve(P0, L, b) - x

    H, y = _rows(L, b)
    own = (DIM * touched[:, None] + np.arange(DIM)).ravel()
    flat = joint.x.ravel()
    posterior, P = kalman.update(flat, joint.P, H, y + H @ flat[own], own)
    moved = Joint(np.clip(posterior.reshape(-1, DIM), LOWEST, HIGHEST), P, joint.expiry_us)
    return moved, Outcome(touched, nis, np.diff(np.append(first, len(vols.k))), innovation, weight)


def _information(J: Floats, e: Floats, precision: Floats, first: Index) -> tuple[Floats, Floats]:
    """J' W J, (T, 5, 5), and J' W e, (T, 5), summed over the quotes of each slice."""
    weighted = J * precision[:, None]
    L = np.add.reduceat(weighted[:, :, None] * J[:, None, :], first, axis=0)
    return np.asarray(L), np.add.reduceat(weighted * e[:, None], first, axis=0)


def _solve(P: Floats, L: Floats, b: Floats) -> Floats:
    """(P^-1 + L)^-1 b for each slice without inverting P, (T, 5)."""
    step: Floats = P @ np.linalg.solve(np.eye(DIM) + L @ P, b[:, :, None])
    return step[:, :, 0]


def _rows(L: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The whitened batch: rows H (m, 5T) and innovations y (m,) with unit noise, m <= 5T."""
    values, vectors = np.linalg.eigh(L)
    keep = values > NEGLIGIBLE * values[:, -1:]
    root = np.sqrt(np.where(keep, values, 1.0))
    y = np.einsum("tij,ti->tj", vectors, b) / root
    every = np.arange(len(L))
    H = np.zeros((len(L), DIM, len(L), DIM))
    H[every, :, every, :] = root[:, :, None] * vectors.transpose(0, 2, 1)
    return H.reshape(len(L) * DIM, len(L) * DIM)[keep.ravel()], y[keep]
