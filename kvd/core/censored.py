"""Bounds on vols: what an ask says that has no bid beside it, or a bid that has no ask.

An ask alone says that the vol is at most its own, a bid alone that it is at least, give or take noise of variance R.
With side d = +1 for an ask and -1 for a bid, the likelihood of a bound a is Phi(d (a - h)/sqrt(R)) (Tobin 1958). Let
the vol be N(h, C) before it, s**2 = C + R, q = d (a - h)/s and r = phi(q)/Phi(q). The vol has, given the bound,

    mean  h - d C r/s,   variance  C - C**2 r (r + q)/s**2

which is what a measurement of innovation e and variance R' leaves of it:

    e = -d s/(r + q),   R' = s**2/(r (r + q)) - C   (R' >= R, for r (r + q) <= 1)

These moments are also the first two derivatives of ln Phi(q) in h: matching those at the prior is the same thing.
Bounds of one slice are not independent: the lowest of many asks may leave nothing to say for the others. So each is
taken against what the *other* bounds leave of the vols, N(h, H P H') jointly, in turn and again until nothing changes
(expectation propagation, Minka 2001). The measurements that stand for them go to `estimate.update`, with its iterations
and its robust weights: these go by e**2/(C + R') = r/(r + q), which is about q**2 where a bound is far exceeded.

A bound that the mean h keeps is idle. A bound stands for hours and is said again with every move of the underlying; a
normal law cut off by it once has its mean below it, and cutting off the tail of that again and again, as if the bound
were news each time, would push the smile ever further away from it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx

from kvd.core import estimate, smile
from kvd.core.estimate import Outcome, Vols
from kvd.core.joint import Joint, covariances
from kvd.core.measurement import Measurement

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

KEPT = 8.0  # standard deviations beyond which a bound, taken with others, says nothing
SWEEPS = 20
SETTLED = 1e-3


class Bounds(NamedTuple):
    """Bounds on vols, each (N,), sorted by slice: slice index, log-moneyness, the vol that bounds, side (+1 from above,
    an ask; -1 from below, a bid) and noise variance R.
    """

    place: Index
    k: Floats
    vol: Floats
    side: Floats
    R: Floats


def update(joint: Joint, tau: Floats, bounds: Bounds, m: Measurement) -> tuple[Joint, Outcome | None]:
    """Condition `joint` on `bounds` (N,) at times to expiry `tau` (S,). The outcome is of those that were not idle,
    None if all were. Raises kalman.NotPositiveDefiniteError.

    A batch's vols come first: most bounds are idle once these have spoken.
    """
    vols = measurements(joint, tau, bounds)
    return estimate.update(joint, tau, vols, m) if len(vols.k) else (joint, None)


def measurements(joint: Joint, tau: Floats, bounds: Bounds) -> Vols:
    """The measurements that leave of each slice what its bounds leave of it; none for a bound that is idle."""
    room = bounds.side * (bounds.vol - smile.vol(joint.x, joint.u, tau, bounds.place, bounds.k))
    broken = np.flatnonzero(room < 0)
    broken = broken[np.lexsort((room[broken], bounds.k[broken], bounds.place[broken]))]  # in whatever order they came
    place, k, vol = bounds.place[broken], bounds.k[broken], bounds.vol[broken]
    side, R = bounds.side[broken], bounds.R[broken]
    if not len(broken):
        return Vols(place, k, vol, R)
    h, J, B = smile.vol_and_jacobian(joint.x, joint.u, tau, place, k)
    H = side[:, None] * np.concatenate((J, B), axis=1)
    e, variance, touched = np.empty(len(k)), np.empty(len(k)), np.unique(place)
    for i, P in zip(touched.tolist(), covariances(joint, touched), strict=True):
        own = place == i
        e[own], variance[own] = propagated(H[own] @ P @ H[own].T, room[broken][own], R[own])
    told = np.isfinite(variance)
    return Vols(place[told], k[told], (h + side * e)[told], variance[told])


def stand_in(room: float, C: float, R: float) -> tuple[float, float]:
    """Innovation and variance of the measurement that stands for an upper bound `room` above the mean of a vol of
    variance `C`, known with noise variance `R`; infinite variance if the bound is too far above to say anything.
    """
    s = np.sqrt(C + R)
    q = room / s
    if q > KEPT:
        return 0.0, np.inf
    r = np.sqrt(2 / np.pi) / erfcx(-q / np.sqrt(2))
    return -s / (r + q), s * s / (r * (r + q)) - C


def propagated(C: Floats, room: Floats, R: Floats) -> tuple[Floats, Floats]:
    """Innovations and variances, (N,) each, of the measurements that stand for upper bounds `room` (N,) above the means
    of vols of covariance `C` (N, N).
    """
    n = len(room)
    e, precision = np.zeros(n), np.zeros(n)
    mean, covariance = np.zeros(n), C
    for _ in range(SWEEPS):
        before = mean
        for i in range(n):
            # without i's own measurement: a Gaussian divided by another
            variance = 1 / (1 / covariance[i, i] - precision[i])
            centre = variance * (mean[i] / covariance[i, i] - precision[i] * e[i])
            innovation, R_i = stand_in(room[i] - centre, variance, R[i])
            more = 1 / R_i - precision[i]
            push = (centre + innovation) / R_i - precision[i] * e[i]
            column = covariance[:, i] / (1 + more * covariance[i, i])
            mean = mean + column * (push - more * mean[i])
            covariance = covariance - more * np.outer(column, covariance[i])
            e[i], precision[i] = centre + innovation, 1 / R_i
        if (np.abs(mean - before) < SETTLED * np.sqrt(np.diag(C))).all():
            break
    with np.errstate(divide="ignore"):
        return e, 1 / precision
