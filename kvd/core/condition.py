"""A slice conditioned on what is claimed of it: some of its five parameters, or vols at log-moneynesses.

With (x, u) = m + R v, R R' the slice's covariance, and claims y with standard deviations s of numbers h with gradient
H, the posterior's mode is where

    |v|**2 + |(y - h) / s|**2

is least. It is found by Gauss-Newton (Bell & Cathey 1993): with G = H R / s at the moving point v*, and by a QR
factorisation of G on top of the identity, for which no claim is too certain (Bierman 1977, chapter 5),

    T'T = I + G'G,   v <- T^-1 T^-T G' ((y - h*)/s + G v*),   R <- R T^-1

the backbone going no further than `LONGEST_STEP` at once, and half as far as long as the sum does not fall. Of numbers
that are linear in (x, u) this is the Kalman update, in one step.

The slice is known so well that a claim some points away would bend it around the one number claimed: every other vol
is certain, too. A claim that its covariance all but rules out says instead that the smile is about to move. So the
slice is given as long to move by its own dynamics, Q(t), as makes the claims likeliest (type II maximum likelihood;
Berger 1985, section 3.5.4):

    max over t >= 0 of N(y; h, H (R R' + Q(t)) H' + s**2)

Q is that of the backbone's coordinates which are claimed, all of them where a vol is. Claims within what is known leave
t at zero, and so do claims that contradict nothing but each other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import dynamics, smile, svi
from kvd.core.dynamics import Dynamics
from kvd.core.estimate import LONGEST_STEP
from kvd.core.svi import DIM

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

VOL = DIM  # the claim of a vol; those before are the parameters, in their order
PASSES = 25
HALVINGS = 5
SETTLED = 1e-2  # standard deviations, of the slice's coordinates and of the claims: no further step is worth taking
MOVED_BY = np.concatenate((np.eye(DIM, dtype=np.bool_), np.ones((1, DIM), dtype=np.bool_)))  # coordinates, by claim
TIMES_Y = np.concatenate(([0.0], np.geomspace(1e-8, 1e2, 101)))  # from a third of a second to ever


class Claims(NamedTuple):
    """What is claimed of one slice, (m,) each: which number it is, 0 to 4 a parameter (`svi.parameters_and_jacobian`)
    and `VOL` the vol at log-moneyness `k` (0 of a parameter), its value and its standard deviation.
    """

    of: Index
    k: Floats
    value: Floats
    sd: Floats


class Slice(NamedTuple):
    """What is known of one slice: means of `x` (5,) and `u` (M,), a `root` (D, D) of their covariance, and tau."""

    x: Floats
    u: Floats
    root: Floats
    tau: float


def numbers(x: Floats, u: Floats, tau: float, claims: Claims) -> tuple[Floats, Floats]:
    """The numbers that are claimed of a slice as it has them, (m,), and their gradient in (x, u), (m, D)."""
    values, gradient = np.empty(len(claims.of)), np.zeros((len(claims.of), DIM + len(u)))
    vols = claims.of == VOL
    if not vols.all():
        sl, named = svi.slices(x[None]), claims.of[~vols]
        parameters, slopes = svi.parameters_and_jacobian(sl, svi.wing_gradient(sl))
        values[~vols], gradient[~vols, :DIM] = parameters[0, named], slopes[0, named]
    if vols.any():
        k = claims.k[vols]
        values[vols], J, B = smile.vol_and_jacobian(
            x[None], u[None], np.array([tau]), np.zeros(len(k), dtype=np.intp), k
        )
        gradient[vols, :DIM], gradient[vols, DIM:] = J, B
    return values, gradient


def condition(before: Slice, claims: Claims) -> Slice:
    """The slice given the `claims` (m >= 1)."""
    x, u, root, tau = before
    m, D = len(claims.of), len(root)
    v, identity = np.zeros(D), np.eye(D)
    h, H = numbers(x, u, tau, claims)
    missed = (claims.value - h) / claims.sd
    for _ in range(PASSES):
        G = H @ root / claims.sd[:, None]
        Q, T = np.linalg.qr(np.concatenate((G, identity)))
        step = np.linalg.solve(T, Q[:m].T @ (missed + G @ v)) - v
        if max(np.abs(step).max(), np.abs(G @ step).max()) < SETTLED:
            break
        share = min(1.0, LONGEST_STEP / np.abs(root[:DIM] @ step).max())
        sum_ = v @ v + missed @ missed
        for _ in range(HALVINGS):
            following = v + share * step
            d = root @ following
            x, u = before.x + d[:DIM], before.u + d[DIM:]
            h, H = numbers(x, u, tau, claims)
            missed = (claims.value - h) / claims.sd
            if following @ following + missed @ missed < sum_:
                break
            share *= 0.5
        v = following
    return Slice(x, u, np.linalg.solve(T.T, root.T).T, tau)


def loosened(before: Slice, claims: Claims, d: Dynamics) -> Slice:
    """The slice given as long to move as makes the `claims` (m >= 1) likeliest; as it was if that is no time."""
    h, H = numbers(before.x, before.u, before.tau, claims)
    G, backbone = H @ before.root, H[:, :DIM]
    moved = dynamics.alone(before.tau, TIMES_Y, d) * MOVED_BY[claims.of].any(axis=0)
    S = G @ G.T + np.diag(claims.sd**2) + (backbone * moved[:, None, :]) @ backbone.T
    L = np.linalg.cholesky(S)
    white = np.linalg.solve(L, np.broadcast_to((claims.value - h)[:, None], (len(L), len(h), 1)))[:, :, 0]
    likelihood = -np.log(np.einsum("tmm->tm", L)).sum(axis=1) - 0.5 * (white * white).sum(axis=1)
    likeliest = int(likelihood.argmax())
    if not likeliest:
        return before
    noise = np.zeros((DIM, len(before.root)))
    np.fill_diagonal(noise, np.sqrt(moved[likeliest]))
    return before._replace(root=np.linalg.qr(np.concatenate((before.root.T, noise))).R.T)
