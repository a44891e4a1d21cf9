"""The filter's state over all slices of an underlying, as a record, and what time and listings do to it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import dynamics, kalman
from kvd.core.daycount import YEAR_US, year_fraction
from kvd.core.dynamics import Dynamics
from kvd.core.svi import DIM

Floats = NDArray[np.float64]
Index = NDArray[np.intp]


class Joint(NamedTuple):
    """Mean (S, 5), covariance (5S, 5S) slice-major, and each slice's expiry in microseconds since the epoch, (S,),
    ascending.
    """

    x: Floats
    P: Floats
    expiry_us: NDArray[np.int64]


EMPTY = Joint(np.zeros((0, DIM)), np.zeros((0, 0)), np.zeros(0, dtype=np.int64))


def marginals(P: Floats, chosen: Index) -> Floats:
    """The (5, 5) diagonal blocks of slices `chosen` (T,) of `P`, shape (T, 5, 5)."""
    slices = len(P) // DIM
    return P.reshape(slices, DIM, slices, DIM)[chosen, :, chosen, :]


def predict(joint: Joint, from_us: int, to_us: int, noise_factor: float, d: Dynamics) -> Joint:
    """Let time pass from one instant to a later one; `noise_factor` multiplies the process noise."""
    if not len(joint.x) or to_us <= from_us:
        return joint
    tau = year_fraction(to_us, joint.expiry_us)
    F, u, Q = dynamics.transition(tau, (to_us - from_us) / YEAR_US, noise_factor, d)
    x, P = kalman.predict(joint.x.ravel(), joint.P, F, u, Q)
    return Joint(x.reshape(-1, DIM), P, joint.expiry_us)


def admit(joint: Joint, expiry_us: int, now_us: int, d: Dynamics) -> Joint:
    """Let a new expiry in, started from its neighbours and independent of them until quotes say more."""
    x, block = dynamics.start((expiry_us - now_us) / YEAR_US, year_fraction(now_us, joint.expiry_us), joint.x, d)
    place = int(np.searchsorted(joint.expiry_us, expiry_us))
    own = slice(DIM * place, DIM * place + DIM)
    old = np.delete(np.arange(len(joint.P) + DIM), own)
    P = np.zeros((len(old) + DIM, len(old) + DIM))
    P[np.ix_(old, old)] = joint.P
    P[own, own] = block
    return Joint(np.insert(joint.x, place, x, axis=0), P, np.insert(joint.expiry_us, place, expiry_us))


def expire(joint: Joint, now_us: int) -> tuple[Joint, tuple[int, ...]]:
    """Let the expiries leave whose instant has come; returns what remains and who left."""
    keep = joint.expiry_us > now_us
    if keep.all():
        return joint, ()
    rows = np.repeat(keep, DIM)
    return Joint(joint.x[keep], joint.P[np.ix_(rows, rows)], joint.expiry_us[keep]), tuple(
        joint.expiry_us[~keep].tolist()
    )
