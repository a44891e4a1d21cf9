"""The filter engine: filterpy's Kalman filter behind a guard; nothing else in the house touches filterpy.

A step of the surface uses the engine's functions, not its `KalmanFilter` object: making and filling one costs as much
as the step itself.

The guard keeps out what filterpy 2.0 lets in: a NaN in z poisons x silently, a one-dimensional z turns x into a
matrix, and nothing looks whether P stays positive definite. Everything that enters is finite and two-dimensional;
what leaves has been through a Cholesky factorisation.
"""

import math
from typing import NamedTuple

import numpy as np
from filterpy import kalman as engine
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv, dpotrf, dtrtrs

Floats = NDArray[np.float64]
Index = NDArray[np.intp]


LEAST_PROBABILITY = 1e-6  # of a mode: none is ever ruled out
FARTHEST = 600.0  # that a log-likelihood may be from zero: the estimator's own product must neither vanish nor overflow


class NotPositiveDefiniteError(ArithmeticError):
    """A covariance lost positive definiteness, or a state stopped being finite."""


def predict(x: Floats, P: Floats, F: Floats, u: Floats, Q: Floats) -> tuple[Floats, Floats]:
    """Time update ``x' = F x + u``, ``P' = F P F^T + Q``; x, u and F, a diagonal, (n,), P and Q (n, n).

    The engine takes the step in coordinates that F has scaled already: with as many as there are, two products of
    matrices would cost more than all else.
    """
    return _checked(*engine.predict((F * x)[:, None], F[:, None] * P * F, 1.0, Q, u[:, None]))


def update(x: Floats, P: Floats, H: Floats, z: Floats, own: Index) -> tuple[Floats, Floats]:
    """Measurement update with ``z = H x_own + v``, v ~ N(0, I); z (m,), H (m, len(own)). No rows: no change.

    The engine works on the coordinates `own` alone; the others follow by their regression G on those, which is the same
    posterior at a fraction of the cost: ``x' = x + G (x_own' - x_own)``, ``P' = P + G (P_own' - P_own) G'``.
    """
    if not len(z):
        return x, P
    if not math.isfinite(np.vdot(z, z) + np.vdot(H, H)):
        raise NotPositiveDefiniteError("a measurement row is not finite")
    rows = P.take(own, axis=0)
    before = rows.take(own, axis=1)
    mean, after = _checked(*engine.update(x[own, None], before, z[:, None], np.eye(len(z)), H))
    if len(own) == len(x):
        return mean, after
    regression = dposv(before, rows)[1]  # G'
    moved = regression.T @ ((after - before) @ regression)
    moved = moved + moved.T
    moved *= 0.5
    moved += P
    return x + (mean - x[own]) @ regression, moved


class Modes(NamedTuple):
    """One Gaussian for each of R modes, and how probable each mode is: x (R, n), P (R, n, n), mu (R,)."""

    x: Floats
    P: Floats
    mu: Floats


def switch(modes: Modes, turned: Floats, F: Floats, Q: Floats, H: Floats, z: Floats, R: Floats) -> Modes:
    """One step of an interacting-multiple-model estimator (Blom & Bar-Shalom 1988): mix, predict, update.

    `turned` (R, R) holds the probabilities of going from one mode to another, Q (R, n, n) each mode's process noise; F
    (n, n), H (m, n), z (m,) and variances R (m,) are common. Without rows the modes only mix and move.
    """
    filters = [_Mode(x[:, None], P, F, q, H, np.diag(R)) for x, P, q in zip(modes.x, modes.P, Q, strict=True)]
    imm = engine.IMMEstimator(filters, modes.mu, turned)
    imm.predict()
    log_mu = np.log(imm.cbar)
    if len(z):
        imm.update(z[:, None])
        log_mu = log_mu + [mode.log_likelihood for mode in filters]  # its own product loses count in a crash
    mu = np.maximum(np.exp(log_mu - log_mu.max()), LEAST_PROBABILITY)
    checked = [_checked(mode.x, mode.P) for mode in filters]
    return Modes(np.array([x for x, _ in checked]), np.array([P for _, P in checked]), mu / mu.sum())


class _Mode:
    """What filterpy's estimator asks of a filter, no more: making its `KalmanFilter` costs as much as the steps."""

    def __init__(self, x: Floats, P: Floats, F: Floats, Q: Floats, H: Floats, R: Floats) -> None:
        self.x, self.P = x, P
        self.log_likelihood = 0.0  # up to a constant that all modes share
        self._F, self._Q, self._H, self._R = F, Q, H, R

    @property
    def likelihood(self) -> float:
        return math.exp(max(min(self.log_likelihood, FARTHEST), -FARTHEST))

    def predict(self, _control: None = None) -> None:
        self.x, self.P = engine.predict(self.x, self.P, self._F, self._Q)

    def update(self, z: Floats) -> None:
        H, P = self._H, self.P
        root, info = dpotrf(H @ P @ H.T + self._R, lower=1)
        if info:
            raise NotPositiveDefiniteError("the variance of a mode's innovation is not positive definite")
        white, _ = dtrtrs(root, z - H @ self.x, lower=1)
        self.log_likelihood = -float(np.log(root.diagonal()).sum() + 0.5 * (white * white).sum())
        self.x, self.P = engine.update(self.x, P, z, self._R, H)


def _checked(x: Floats, P: Floats) -> tuple[Floats, Floats]:
    x, P = x[:, 0], 0.5 * (P + P.T)
    if not math.isfinite(np.vdot(x, x) + np.vdot(P, P)):  # LAPACK may factorise a NaN without a word
        raise NotPositiveDefiniteError("the state or its covariance is not finite")
    if dpotrf(P)[1]:
        raise NotPositiveDefiniteError("the covariance is not positive definite")
    return x, P
