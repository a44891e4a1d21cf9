"""From a bid and an ask to a vol, its noise, and how far to believe it.

A two-sided quote measures the smile at its mid vol with variance

    R = (half_spread_factor (half - tick/(2 vega))+)**2 + floor_vol**2 + (tick/vega)**2 / 24

half being half the bid-ask spread in vol and tick the price step: rounding bid and ask outward adds half a tick to the
half-spread on average, and 1/24 of a squared tick to the variance of the mid.

A maker who leans stays leaning for a while. Of the first term the part `persistent_share` is an AR(1) error of the
instrument with time constant `persistence_s`; a quote that follows the instrument's last one after dt is less news,
however often it is repeated, and enters the filter with that term times

    1 - a + a (1 + rho)/(1 - rho),   a = persistent_share,   rho = exp(-dt / persistence_s)

which is the information that an AR(1) observation adds about a constant: its increment y_t - rho y_(t-1) has mean
(1 - rho) times the constant and variance (1 - rho**2) times that of y.

Robustness is a Student-t likelihood (degrees of freedom nu) written as an inflation of R (Lange, Little & Taylor 1989):
with S the innovation variance, a t-scale of S (nu - 2)/nu and innovation e,

    weight = min(1, (nu + 1) / (nu + e**2 / (S (nu - 2) / nu)) * nu / (nu - 2))

capped at one, so that a quote that agrees is never believed more than its spread says.

R is right when nine innovations in ten lie within 1.645 sqrt(S). Each tenor bucket has a scale that multiplies R and
learns that from its own innovations, a step of `scale_rate` for each (Robbins & Monro 1951 on the quantile; outliers
count once):

    ln scale += scale_rate (1 + EAGER 50/(50 + n)) (1{|e| > 1.645 sqrt(S)} - outside_share)

with n the innovations heard before: at first it learns faster, for there may be four chains a day. Those of slices that
are hardly known tell nothing of noise and do not count. What a batch says together counts as `MOST_VOICES` innovations
at most: when the market jumps, all of them are off at once, and noise is not the reason.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORTEST_S = 1e-3
ALONE = 0.1


class Measurement(Struct, frozen=True, forbid_unknown_fields=True):
    """[measurement]: which quotes count, and how noisy they are. Vols are decimals."""

    half_spread_factor: float = 0.35
    floor_vol: float = 0.001
    persistent_share: float = 0.5
    persistence_s: float = 60.0
    widest_half_ratio: float = 0.5
    student_nu: Annotated[float, Meta(gt=2)] = 20.0
    inflated_below: float = 0.5
    scale_rate: float = 0.02
    outside_share: float = 0.09
    passes: int = 6
    near_money_sd: float = 0.1


def variance(half: Floats, tick_vol: Floats, since_s: Floats, m: Measurement) -> tuple[Floats, Floats]:
    """Variance R of mid vols, and the factor >= 1 by which it grows for what they merely repeat, (N,) each.

    `half` and `tick_vol` are the half-spread and the price step in vol; `since_s` is the time since the instrument's
    last quote.
    """
    leaning = (m.half_spread_factor * np.maximum(half - 0.5 * tick_vol, 0.0)) ** 2
    R = leaning + m.floor_vol**2 + tick_vol**2 / 24
    # (1 + rho)/(1 - rho) = coth(dt / (2 T))
    echo = 1 / np.tanh(0.5 * np.maximum(since_s, SHORTEST_S) / m.persistence_s)
    repeated = leaning * m.persistent_share * (echo - 1)
    return np.asarray(R), np.asarray(1 + repeated / R)


def variance_alone(vol: Floats, m: Measurement) -> Floats:
    """Variance of a vol that a bid or an ask alone bounds, (N,): as if its half-spread were the part `ALONE` of it.

    How far off the maker may be who asks without bidding nobody knows; a price step only ever loosens a bound.
    """
    return np.asarray((m.half_spread_factor * ALONE * vol) ** 2 + m.floor_vol**2)


def student_weight(innovation: Floats, S: Floats, m: Measurement) -> Floats:
    """Weights in (0, 1], (N,): the factor by which each quote's R is divided, given its innovation and variance S."""
    shrink = (m.student_nu - 2) / m.student_nu
    weight = (m.student_nu + 1) / (m.student_nu + innovation**2 / (S * shrink)) / shrink
    return np.asarray(np.minimum(1.0, weight))


def log_density(innovation: Floats, S: Floats, m: Measurement) -> Floats:
    """ln of the predictive density at each innovation, (N,): Student-t with variance `S`, in units of 1/vol.

        ln t(e) = ln G((nu + 1)/2) - ln G(nu/2) - ln(nu pi s2)/2 - (nu + 1)/2 ln(1 + e**2/(nu s2)),   s2 = S (nu - 2)/nu

    A proper score (Gneiting & Raftery 2007) of the law that `student_weight` assumes; an outlier costs
    the logarithm of its distance, not the square, so that a few of them do not own the sum.
    """
    nu = m.student_nu
    spread = S * (nu - 2)  # nu s2
    height = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
    return np.asarray(height - 0.5 * np.log(np.pi * spread) - 0.5 * (nu + 1) * np.log1p(innovation**2 / spread))


TENOR_EDGES_D = np.array([1.0, 7.0, 30.0, 90.0])
BUCKETS = len(TENOR_EDGES_D) + 1
BAND_90 = 1.6448536269514722
NARROWEST, WIDEST = 0.02, 20.0
MOST_VOICES = 5
EAGER = 10.0
LEAST_NOISE_SHARE = 0.1  # of S: where less of it is noise, an innovation tells nothing of noise


def bucket(tau: Floats) -> NDArray[np.intp]:
    """Tenor buckets, 0 to 4, of times to expiry in years."""
    return np.searchsorted(TENOR_EDGES_D, tau * 365.0)


class Scale(NamedTuple):
    """By tenor bucket, (BUCKETS,): what R is multiplied by, and how many innovations it was learnt from."""

    value: Floats
    heard: Floats


UNSCALED = Scale(np.ones(BUCKETS), np.zeros(BUCKETS))


def adapted(scale: Scale, buckets: NDArray[np.intp], innovation: Floats, S: Floats, R: Floats, m: Measurement) -> Scale:
    """The scale of R after the innovations (N,) of one batch with predicted variances `S` (N,), `R` of it noise."""
    telling = R > LEAST_NOISE_SHARE * S
    outside = np.abs(innovation[telling]) > BAND_90 * np.sqrt(S[telling])
    buckets = buckets[telling]
    heard = np.bincount(buckets, minlength=BUCKETS)
    step = np.bincount(buckets, outside - m.outside_share, minlength=BUCKETS)
    rate = m.scale_rate * (1 + EAGER * 50 / (50 + scale.heard)) * MOST_VOICES / np.maximum(heard, MOST_VOICES)
    value = np.minimum(np.maximum(scale.value * np.exp(rate * step), NARROWEST), WIDEST)
    return Scale(value, scale.heard + np.minimum(heard, MOST_VOICES))
