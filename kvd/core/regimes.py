"""How lively the market is: an IMM over calm, active and shock process noise, and the skew stickiness ratio with it.

What tells the regimes apart is how the levels l_i = ln sigma_atm move. So the estimator (Blom & Bar-Shalom 1988;
filterpy's IMMEstimator) runs on a filter of its own, small and seldom, over x = (l_1 .. l_n, SSR):

    l_i' = l_i + SSR psi_i/sqrt(w0_i) d ln F_i + q_r s_i sqrt(dt) N(0, C),    r in (calm, active, shock)
    SSR' = SSR + ssr_move_sd sqrt(dt) N(0, 1)

(Bergomi 2009 for the skew stickiness ratio: 0 moneyness sticks, 1 the strike; C is the correlation across expiries). It
is measured by what each batch told the joint filter of a level: with prior N(m, p) and posterior N(m', p'),

    z = (m'/p' - m/p) R,   1/R = 1/p' - 1/p

The regime is a Markov chain in continuous time with the generator `generator`. What the joint filter takes from here is
the mean of q_r**2, by which the process noise of all slices is multiplied, and the SSR with its variance.
"""

from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.linalg import expm

from kvd.core import kalman
from kvd.core.daycount import HOUR_US, YEAR_US

Floats = NDArray[np.float64]

HOUR_Y = HOUR_US / YEAR_US

LEAST_PRECISION = 1e-2  # of a level, per unit variance: a measurement that says less is none
NEW_SD = 0.5  # of a level not seen before


class RegimeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[regimes]: process noise of each regime relative to [dynamics], how long each lasts on average, and the SSR."""

    calm: float = 0.62
    active: float = 1.73
    shock: float = 3.5
    calm_h: float = 3.5
    active_h: float = 0.93
    shock_h: float = 0.15
    step_s: float = 10.0
    ssr_mean: float = 1.0
    ssr_sd: float = 0.7
    ssr_move_sd: float = 5.0

    @property
    def scales(self) -> Floats:
        """q_r, (3,)."""
        return np.array([self.calm, self.active, self.shock])


class Regimes(NamedTuple):
    """The estimator's state: by regime, mean `x` (3, n + 1) and covariance `P` (3, n + 1, n + 1) of n levels and the
    SSR; the regimes' probabilities `mu` (3,); expiries `expiry_us` (n,).
    """

    x: Floats
    P: Floats
    mu: Floats
    expiry_us: NDArray[np.int64]

    def activity(self, s: RegimeSettings) -> float:
        """The mean factor on the variance of process noise."""
        return float(self.mu @ s.scales**2)

    @property
    def ssr(self) -> tuple[float, float]:
        """Mean and variance of the skew stickiness ratio."""
        mean = float(self.mu @ self.x[:, -1])
        return mean, float(self.mu @ (self.P[:, -1, -1] + (self.x[:, -1] - mean) ** 2))


def generator(s: RegimeSettings) -> Floats:
    """Rates per hour at which one regime turns into another, (3, 3), rows of sum zero.

    A calm market turns active nine times in ten and is shocked once; an active one calms down four times in five.
    """
    turns = np.array([[-1.0, 0.9, 0.1], [0.8, -1.0, 0.2], [0.0, 1.0, -1.0]])
    return np.asarray(turns / np.array([[s.calm_h], [s.active_h], [s.shock_h]]))


def stationary(s: RegimeSettings) -> Floats:
    """The probabilities of the regimes when nothing is known, (3,)."""
    conditions = np.vstack((generator(s).T, np.ones(3)))
    return np.asarray(np.linalg.lstsq(conditions, np.array([0.0, 0.0, 0.0, 1.0]), rcond=None)[0])


def begin(s: RegimeSettings) -> Regimes:
    """Before the first level."""
    x, P = np.full((3, 1), s.ssr_mean), np.full((3, 1, 1), s.ssr_sd**2)
    return Regimes(x, P, stationary(s), np.zeros(0, dtype=np.int64))


def follow(regimes: Regimes, expiry_us: NDArray[np.int64], level: Floats) -> Regimes:
    """The same with exactly the expiries `expiry_us` (m,), ascending; new ones start at `level` (m,), hardly known."""
    if np.array_equal(regimes.expiry_us, expiry_us):
        return regimes
    m = len(expiry_us)
    known = np.isin(expiry_us, regimes.expiry_us)
    old = np.append(np.searchsorted(regimes.expiry_us, expiry_us[known]), len(regimes.expiry_us))
    new = np.append(np.flatnonzero(known), m)
    x, P = np.tile(np.append(level, 0.0), (3, 1)), np.tile(np.eye(m + 1) * NEW_SD**2, (3, 1, 1))
    x[:, new] = regimes.x[:, old]
    P[:, new[:, None], new] = regimes.P[:, old[:, None], old]
    return Regimes(x, P, regimes.mu, expiry_us)


class Step(NamedTuple):
    """What happened since the last step: years `dt_y`, process noise `Q` (n, n) of the levels in them at q = 1, and how
    far each would have moved at an SSR of one, `spot` (n,).
    """

    dt_y: float
    Q: Floats
    spot: Floats


def step(regimes: Regimes, since: Step, z: Floats, precision: Floats, s: RegimeSettings) -> Regimes:
    """Predict over `since` and update with the levels `z` (n,) as measured with precisions 1/R (n,), 0 where not."""
    n = len(z)
    F, Q = np.eye(n + 1), np.zeros((3, n + 1, n + 1))
    F[:n, n] = since.spot
    Q[:, :n, :n] = s.scales[:, None, None] ** 2 * since.Q
    Q[:, n, n] = s.ssr_move_sd**2 * since.dt_y
    seen = np.flatnonzero(precision > LEAST_PRECISION)
    turned = expm(generator(s) * since.dt_y / HOUR_Y)
    x, P, mu = kalman.switch(
        kalman.Modes(regimes.x, regimes.P, regimes.mu), turned, F, Q, np.eye(n + 1)[seen], z[seen], 1 / precision[seen]
    )
    return Regimes(x, P, mu, regimes.expiry_us)


def measured(m: Floats, p: Floats, m_after: Floats, p_after: Floats) -> tuple[Floats, Floats]:
    """What turned N(m, p) into N(m_after, p_after), (T,) each: z / R and 1 / R, which add up over batches."""
    precision = np.maximum(1 / p_after - 1 / p, 0.0)
    return np.where(precision > 0, m_after / p_after - m / p, 0.0), precision
