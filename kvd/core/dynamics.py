"""How a surface moves when nobody looks: process noise by tenor, coupled across expiries, and where a new slice starts.

Every coordinate of every slice wanders as a Gaussian process with standard deviation ``s_a(tau) sqrt(dt)``, dt in
years:

    s_a(tau) = s_a(30 d) (30 d / tau)**power        tau not below `shortest_tau_d`
    corr(i, j) = exp(-|ln(tau_i / tau_j)| / correlation_length)

Level, skew and curvature are random walks; the wings return to `put_wing_mean` and `call_wing_mean` with a time
constant of `wing_reversion_h`, so that unquoted wings forget what was once seen there.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from kvd.core.svi import CALL_WING, CURVATURE, DIM, LEVEL, PUT_WING, SKEW

Floats = NDArray[np.float64]

YEAR_D = 365.0
MONTH_Y = 30.0 / YEAR_D


class Dynamics(Struct, frozen=True, forbid_unknown_fields=True):
    """[dynamics]: standard deviations per square-root year at a tenor of 30 days, and how they scale and couple."""

    level_sd: float = 0.9
    skew_sd: float = 0.5
    curvature_sd: float = 4.0
    wing_sd: float = 4.0
    tenor_power: float = 0.5
    shortest_tau_d: float = 0.25
    correlation_length: float = 2.0
    put_wing_mean: float = 0.7
    call_wing_mean: float = 0.3
    wing_reversion_h: float = 24.0
    gap_factor: float = 2.0


def transition(tau: Floats, dt_y: float, noise_factor: float, d: Dynamics) -> tuple[Floats, Floats, Floats]:
    """``F`` (5S, 5S), ``u`` (5S,) and ``Q`` (5S, 5S) for the step of `dt_y` years that ends at times to expiry `tau`
    (S,).

    `noise_factor` multiplies Q: above one after a gap. The state is slice-major: slice i holds rows 5i to 5i + 4.
    """
    keep = np.ones(DIM)
    keep[PUT_WING] = keep[CALL_WING] = np.exp(-dt_y * YEAR_D * 24 / d.wing_reversion_h)
    mean = np.zeros(DIM)
    mean[PUT_WING], mean[CALL_WING] = d.put_wing_mean, d.call_wing_mean
    sd = np.array([d.level_sd, d.skew_sd, d.curvature_sd, d.wing_sd, d.wing_sd])
    scale = (MONTH_Y / np.maximum(tau, d.shortest_tau_d / YEAR_D)) ** d.tenor_power
    step = scale * np.sqrt(dt_y * noise_factor)
    across = np.outer(step, step) * correlation(tau, d)
    Q = np.kron(across, np.diag(sd * sd))
    return np.diag(np.tile(keep, len(tau))), np.tile((1 - keep) * mean, len(tau)), np.asarray(Q, dtype=np.float64)


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
