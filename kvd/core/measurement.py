"""From a bid and an ask to a vol, its noise, and how far to believe it.

A two-sided quote measures the smile at its mid vol with variance

    R = (half_spread_factor * half)**2 + floor**2 + (tick / vega)**2 / 24

half being half the bid-ask spread in vol and tick the price step. A maker who leans stays leaning for a while: of that
variance the part `persistent_share` is an AR(1) error of the instrument with time constant `persistence_s`, so that
a quote which follows the instrument's last one after dt tells less that is new, however often it is repeated:

    R_new = R (1 - a + a / (1 - rho**2)),   a = persistent_share,   rho = exp(-dt / persistence_s)

Robustness is a Student-t likelihood (degrees of
freedom nu) written as an inflation of R (Lange, Little & Taylor 1989): with S the innovation variance, a t-scale of
S (nu - 2)/nu and innovation e,

    weight = min(1, (nu + 1) / (nu + e**2 / (S (nu - 2) / nu)) * nu / (nu - 2))

capped at one, so that a quote that agrees is never believed more than its spread says.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORTEST_S = 1e-3


class Measurement(Struct, frozen=True, forbid_unknown_fields=True):
    """[measurement]: which quotes count, and how noisy they are. Vols are decimals."""

    half_spread_factor: float = 0.28
    floor_vol: float = 0.001
    persistent_share: float = 0.5
    persistence_s: float = 60.0
    widest_half_ratio: float = 0.5
    student_nu: float = 4.0
    inflated_below: float = 0.5
    passes: int = 3
    near_money_sd: float = 0.1


def variance(half: Floats, tick_vol: Floats, m: Measurement) -> Floats:
    """Variance R of mid vols, (N,), from half-spreads and tick sizes expressed in vol, (N,) each."""
    return np.asarray((m.half_spread_factor * half) ** 2 + m.floor_vol**2 + tick_vol**2 / 24)


def repetition(since_s: Floats, m: Measurement) -> Floats:
    """Factors >= 1, (N,), by which R grows for quotes that follow their instrument's last one after `since_s`
    seconds.
    """
    fresh = -np.expm1(-2 * np.maximum(since_s, SHORTEST_S) / m.persistence_s)
    return np.asarray(1 - m.persistent_share + m.persistent_share / fresh)


def student_weight(innovation: Floats, S: Floats, m: Measurement) -> Floats:
    """Weights in (0, 1], (N,): the factor by which each quote's R is divided, given its innovation and variance S."""
    shrink = (m.student_nu - 2) / m.student_nu
    weight = (m.student_nu + 1) / (m.student_nu + innovation**2 / (S * shrink)) / shrink
    return np.asarray(np.minimum(1.0, weight))
