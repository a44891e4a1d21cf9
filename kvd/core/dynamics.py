"""How a surface moves when nobody looks: process noise by tenor, coupled across expiries, and where a new slice starts.

Level, skew and curvature of every slice are random walks with standard deviation ``s_a(tau) sqrt(dt)``, dt in years:

    s_a(tau) = s_a(30 d) (30 d / tau)**tenor_power        tau not below `shortest_tau_d`

times what the market's regime adds (`kvd.core.regimes`). When the forward moves by d ln F, the level goes with it:

    d ln sigma_atm = SSR psi / sqrt(w0) d ln F

The wings, lambda_p and lambda_c, are Ornstein-Uhlenbeck processes about `put_wing_mean` and `call_wing_mean` with time
constant `wing_reversion_h` and long-run standard deviation `wing_sd` at any tenor: what was once seen of a wing is soon
forgotten where it is not quoted. Moves of two expiries correlate as

    corr(i, j) = exp(-|ln(tau_i / tau_j)| / correlation_length)

The residual curve fades with time constant `residual_h`, its prior restored: that of `kvd.core.residual`, its standard
deviation times `residual_sd` (`kvd.core.joint`).
"""

import math
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from kvd.core.svi import CALL_WING, CURVATURE, DIM, LEVEL, PUT_WING, SKEW

Floats = NDArray[np.float64]

YEAR_D = 365.0
MONTH_Y = 30.0 / YEAR_D


class Dynamics(Struct, frozen=True, forbid_unknown_fields=True):
    """[dynamics]: standard deviations per square-root year at a tenor of 30 days (`wing_sd`: in the long run)."""

    level_sd: float = 0.73
    skew_sd: float = 0.47
    curvature_sd: float = 2.3
    wing_sd: float = 0.1
    tenor_power: float = 0.51
    shortest_tau_d: float = 0.25
    correlation_length: float = 2.0
    put_wing_mean: float = 0.95
    call_wing_mean: float = 0.5
    wing_reversion_h: float = 3.0
    residual_h: float = 6.0
    residual_sd: float = 1.0
    gap_factor: float = 2.0


class Moves(NamedTuple):
    """What is known of a step beyond its length: ``activity`` multiplies the variance of the random walks; ``spot``
    (S,) is how far each level moves for an SSR of one, and ``ssr``, ``ssr_var`` what is known of that.
    """

    activity: float
    spot: Floats
    ssr: float
    ssr_var: float


STILL = Moves(1.0, np.zeros(1), 0.0, 0.0)
"""Spot stood still and the market was as lively as on average."""


def transition(
    tau: Floats, dt_y: float, noise_factor: float, d: Dynamics, moves: Moves = STILL
) -> tuple[Floats, Floats, Floats]:
    """Diagonal of ``F`` (5S,), which has nothing beside it, ``u`` (5S,) and ``Q`` (5S, 5S) for the step of `dt_y` years
    that ends at times to expiry `tau` (S,).

    `noise_factor` makes the step as noisy as one so many times as long: above one after a gap. The state is
    slice-major: slice i holds rows 5i to 5i + 4.
    """
    size, keep = len(tau), math.exp(-dt_y * noise_factor * YEAR_D * 24 / d.wing_reversion_h)
    walks = math.sqrt(dt_y * noise_factor * moves.activity) * _by_tenor(tau, d)
    step = np.empty((DIM, size))
    step[LEVEL], step[SKEW], step[CURVATURE] = d.level_sd * walks, d.skew_sd * walks, d.curvature_sd * walks
    step[PUT_WING:] = d.wing_sd * math.sqrt(1 - keep * keep)
    coupled = step[:, :, None] * step[:, None, :] * correlation(tau, d)
    coupled[LEVEL] += moves.ssr_var * moves.spot[:, None] * moves.spot
    Q = np.zeros((size, DIM, size, DIM))
    np.einsum("iaja->aij", Q)[:] = coupled
    F, u = np.ones((size, DIM)), np.zeros((size, DIM))
    F[:, PUT_WING:] = keep
    u[:, LEVEL] = moves.ssr * moves.spot
    u[:, PUT_WING], u[:, CALL_WING] = (1 - keep) * d.put_wing_mean, (1 - keep) * d.call_wing_mean
    return F.ravel(), u.ravel(), Q.reshape(size * DIM, size * DIM)


def level_noise(tau: Floats, dt_y: float, d: Dynamics) -> Floats:
    """Covariance of the moves of ln sigma_atm in `dt_y` years, (S, S)."""
    step = d.level_sd * _by_tenor(tau, d)
    return np.asarray(dt_y * np.outer(step, step) * correlation(tau, d))


def alone(tau: float, dt_y: Floats, d: Dynamics) -> Floats:
    """Variances of the moves of one slice's state in times `dt_y` (n,), (n, 5): the diagonal of its ``Q``."""
    walks, keep = dt_y * float(_by_tenor(np.array([tau]), d)[0]) ** 2, np.exp(-dt_y * YEAR_D * 24 / d.wing_reversion_h)
    step = np.empty((len(dt_y), DIM))
    step[:, LEVEL], step[:, SKEW], step[:, CURVATURE] = np.outer(
        (d.level_sd**2, d.skew_sd**2, d.curvature_sd**2), walks
    )
    step[:, PUT_WING:] = (d.wing_sd**2 * (1 - keep * keep))[:, None]
    return step


def _by_tenor(tau: Floats, d: Dynamics) -> Floats:
    return np.asarray((MONTH_Y / np.maximum(tau, d.shortest_tau_d / YEAR_D)) ** d.tenor_power)


def correlation(tau: Floats, d: Dynamics) -> Floats:
    """Correlation of the moves of slices with times to expiry `tau` (S,), shape (S, S).

    Positive semi-definite: slices nearer than `shortest_tau_d` move as one.
    """
    log_tau = np.log(np.maximum(tau, d.shortest_tau_d / YEAR_D))
    return np.asarray(np.exp(-np.abs(log_tau[:, None] - log_tau[None, :]) / d.correlation_length))


START_SD = np.array([0.7, 0.3, 1.0, 0.5, 0.5])
NEIGHBOUR_SD = np.array([0.3, 0.15, 0.6, 0.4, 0.4])


def start(tau: float, known_tau: Floats, known_x: Floats, d: Dynamics) -> tuple[Floats, Floats]:
    """State (5,) and covariance (5, 5) of a slice never seen: its neighbours' state at equal tenor, widely uncertain.

    `known_tau` (S,) and `known_x` (S, 5) are the slices there are; with none, a vol of 0.6 with a gentle symmetric
    smile.
    """
    if not len(known_tau):
        x = np.empty(DIM)
        x[LEVEL], x[SKEW], x[CURVATURE] = np.log(0.6), 0.0, np.log(0.3)
        x[PUT_WING], x[CALL_WING] = d.put_wing_mean, d.call_wing_mean
        return x, np.diag(START_SD**2)
    order = np.argsort(known_tau)
    at = np.log(known_tau[order])
    return np.array([np.interp(np.log(tau), at, known_x[order, j]) for j in range(DIM)]), np.diag(NEIGHBOUR_SD**2)
