"""One batch of vols into the joint posterior of all slices: an iterated, robust, whitened Kalman update.

For one slice let xi = x - x_mean and u = u_mean + A xi + e be backbone and residual (`kvd.core.joint`), a priori
N(0, P_i) and N(0, V). Vols y with model h and gradients J in x and B in u at a moving point (xi*, e*) say, with
H = J + B A and weights W fixed on the prior innovations,

    y* = y - h* + H xi* + B e*,   S = H P_i H' + C,   C = B V B' + R W^-1
    xi <- P_i H' S^-1 y*,   e <- V B' S^-1 y*        (Gauss-Newton; Bell & Cathey 1993)

At the last point e is integrated out, and with C = G G' what the batch says of the backbone alone is G^-1 y* = G^-1 H
xi + N(0, I): at most five rows after a QR factorisation, which the filter takes. The filter is joint over the backbones
of all slices, so an expiry that was not quoted moves with its neighbours. The residual follows its backbone in closed
form: with K = V B' C^-1 and xi' the move of the backbone's mean,

    A' = A - K H,   V' = V - K B V,   u_mean' = u_mean + A xi' + K (y* - H xi')

NIS is that of all n prior innovations with the R that was not inflated, slice by slice.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dgeqrf, dposv, dpotrf, dtrtrs

from kvd.core import groups, kalman, smile
from kvd.core.joint import Joint, M, followed
from kvd.core.measurement import Measurement, student_weight
from kvd.core.svi import DIM, LEVEL

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LONGEST_STEP = 0.3
LONGEST = np.concatenate((np.full(DIM, LONGEST_STEP), np.full(M, np.inf)))
# a shorter Gauss-Newton step moves the linearisation by less than the quotes can tell
SETTLED_STEP = np.concatenate(([0.02, 0.02, 0.1, 0.15, 0.15], np.full(M, 2.0)))
BACKBONE = np.arange(DIM)
UPPER = np.triu(np.ones((DIM, DIM + 1)))  # of a QR factorisation, what is not reflectors
NOWHERE = np.zeros(DIM + M)
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
    x, u = joint.x.take(touched, axis=0), joint.u.take(touched, axis=0)
    h, J, B = smile.vol_and_jacobian(x, u, tau.take(touched), local, vols.k)
    innovation = vols.vol - h
    ends = [*first[1:].tolist(), len(h)]
    batches = [
        _Batch(joint, int(i), J[a:b], B[a:b], innovation[a:b])
        for i, a, b in zip(touched.tolist(), first.tolist(), ends, strict=True)
    ]
    judged = [batch.judged(vols.R[a:b]) for batch, a, b in zip(batches, first.tolist(), ends, strict=True)]
    S = np.concatenate([S for S, _, _ in judged])
    weight = student_weight(innovation, S, m)
    R = vols.R * vols.repetition / weight
    told = []
    for batch, a, b in zip(batches, first.tolist(), ends, strict=True):
        batch.settle(R[a:b], vols.vol[a:b], vols.k[a:b], float(tau[batch.place]), m.passes)
        told.append(batch.told(R[a:b]))
    nis, level = (np.array([figures[j] for figures in judged]) for j in (1, 2))
    return _condition(joint, touched, told), Outcome(touched, nis, dof, innovation, S, weight, level)


def _groups(place: Index) -> tuple[Index, Index, Index, Index]:
    """Of ascending slices `place` (N,): the different ones, where each begins and how many it has, (T,), and which of
    them each is, (N,).
    """
    begins = groups.begins(place)
    first, local = begins.nonzero()[0], begins.cumsum() - 1
    return place[first], first, np.bincount(local), local


class _Told(NamedTuple):
    """What one slice's batch of n vols says: rows `H` (r, 5) and `z` (r,) of its backbone, r <= 5, with unit noise; and
    of its residual given that, K H (M, 5), K y* (M,) and V' (M, M).
    """

    H: Floats
    z: Floats
    gain: Floats
    pull: Floats
    V: Floats


class _Batch:
    """One slice's vols, linearised: H (n, 5), B (n, M) and y* (n,) of the module's equations."""

    def __init__(self, joint: Joint, place: int, J: Floats, B: Floats, y: Floats) -> None:
        self.place, self._joint = place, joint
        own = slice(DIM * place, DIM * place + DIM)
        self._P, self._V = joint.P[own, own], joint.V[place]
        self._see(J, B, y)

    def _see(self, J: Floats, B: Floats, y: Floats) -> None:
        self._H, self._y = J + B @ self._joint.A[self.place], y
        self._PH, self._VB = self._P @ self._H.T, self._V @ B.T
        self._BVB = B @ self._VB
        self._HPH = self._H @ self._PH + self._BVB

    def judged(self, R: Floats) -> tuple[Floats, float, float]:
        """The innovations against what was predicted: their variances (n,), NIS, and the score along ln ATM vol over
        its standard deviation.
        """
        S = _plus(self._HPH, R)
        along = self._H[:, LEVEL] / R
        level = along @ self._y / math.sqrt(along @ S @ along)
        return S.diagonal(), float(self._y @ _solve(S, self._y)), float(level)

    def settle(self, R: Floats, vol: Floats, k: Floats, tau: float, passes: int) -> None:
        """Linearise where Gauss-Newton comes to rest, `passes` steps away at most."""
        joint, i, at = self._joint, self.place, NOWHERE
        for _ in range(passes):
            s = _solve(_plus(self._HPH, R), self._y)
            step = np.concatenate((self._PH @ s, self._VB @ s)) - at
            if (np.abs(step) < SETTLED_STEP).all():
                break
            at = at + np.minimum(np.maximum(step, -LONGEST), LONGEST)
            x = np.minimum(np.maximum(joint.x[i] + at[:DIM], LOWEST), HIGHEST)
            at[:DIM] = x - joint.x[i]
            u = joint.u[i] + joint.A[i] @ at[:DIM] + at[DIM:]
            h, J, B = smile.vol_and_jacobian(x[None], u[None], np.array([tau]), np.zeros(len(k), dtype=np.intp), k)
            self._see(J, B, vol - h)
            self._y = self._y + self._H @ at[:DIM] + B @ at[DIM:]

    def told(self, R: Floats) -> _Told:
        """Backbone and residual apart, with noise variances `R` (n,)."""
        G = _root(_plus(self._BVB, R))
        white, _ = dtrtrs(G, np.concatenate((self._H, self._y[:, None], self._VB.T), axis=1), lower=1)
        rows, rest = white[:, : DIM + 1], white[:, DIM + 1 :]  # G^-1 (H, y*) and G^-1 B V
        of_residual = rest.T @ rows
        if len(rows) > DIM:
            rows = dgeqrf(rows)[0][:DIM] * UPPER
        return _Told(rows[:, :DIM], rows[:, DIM], of_residual[:, :DIM], of_residual[:, DIM], self._V - rest.T @ rest)


def _plus(C: Floats, R: Floats) -> Floats:
    """C + diag(R)."""
    S = C.copy()
    S.ravel()[:: len(R) + 1] += R
    return S


def _root(C: Floats) -> Floats:
    """The lower triangle G with G G' = C."""
    G, info = dpotrf(C, lower=1)
    if info:
        raise kalman.NotPositiveDefiniteError("the variance of a batch's innovations is not positive definite")
    return np.asarray(G)


def _solve(S: Floats, y: Floats) -> Floats:
    """S^-1 y for a covariance S."""
    _, x, info = dposv(S, y)
    if info:
        raise kalman.NotPositiveDefiniteError("the variance of a batch's innovations is not positive definite")
    return np.asarray(x)


def _condition(joint: Joint, touched: Index, told: Sequence[_Told]) -> Joint:
    """The posterior of `joint` given what was told of the `touched` slices (T,)."""
    own = (DIM * touched[:, None] + BACKBONE).ravel()
    z = np.concatenate([part.z for part in told])
    H, row = np.zeros((len(z), len(own))), 0
    for column, part in enumerate(told):
        H[row : row + len(part.z), DIM * column : DIM * column + DIM] = part.H
        row += len(part.z)
    flat = joint.x.ravel()
    mean, P = kalman.update(flat, joint.P, H, z + H @ flat[own], own)
    bounded = np.minimum(np.maximum(mean.reshape(-1, DIM), LOWEST), HIGHEST)
    u, A, V = followed(joint, bounded), joint.A.copy(), joint.V.copy()
    for i, part in zip(touched.tolist(), told, strict=True):
        u[i] += part.pull - part.gain @ (bounded[i] - joint.x[i])
        A[i] -= part.gain
        V[i] = part.V
    return Joint(bounded, P, u, A, V, joint.expiry_us)
