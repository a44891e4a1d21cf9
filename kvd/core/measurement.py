"""From a bid and an ask to a vol, its noise, and how far to believe it.

A two-sided quote measures the smile at its mid vol with variance

    R = (half_spread_factor * half)**2 + floor**2 + (tick / vega)**2 / 24

half being half the bid-ask spread in vol and tick the price step. Robustness is a Student-t likelihood (degrees of
freedom nu) written as an inflation of R (Lange, Little & Taylor 1989): with S the innovation variance, a t-scale of
S (nu - 2)/nu and innovation e,

    weight = min(1, (nu + 1) / (nu + e**2 / (S (nu - 2) / nu)) * nu / (nu - 2))

capped at one, so that a quote that agrees is never believed more than its spread says.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Measurement(Struct, frozen=True, forbid_unknown_fields=True):
    """[measurement]: which quotes count, and how noisy they are. Vols are decimals."""

    half_spread_factor: float = 0.28
    floor_vol: float = 0.001
    widest_half_ratio: float = 0.5
    student_nu: float = 4.0
    inflated_below: float = 0.5
    passes: int = 3
    near_money_sd: float = 0.1


def variance(half: Floats, tick_vol: Floats, m: Measurement) -> Floats:
    """Variance R of mid vols, (N,), from half-spreads and tick sizes expressed in vol, (N,) each."""
    return np.asarray((m.half_spread_factor * half) ** 2 + m.floor_vol**2 + tick_vol**2 / 24)


def student_weight(innovation: Floats, S: Floats, m: Measurement) -> Floats:
    """Weights in (0, 1], (N,): the factor by which each quote's R is divided, given its innovation and variance S."""
    shrink = (m.student_nu - 2) / m.student_nu
    weight = (m.student_nu + 1) / (m.student_nu + innovation**2 / (S * shrink)) / shrink
    return np.asarray(np.minimum(1.0, weight))
