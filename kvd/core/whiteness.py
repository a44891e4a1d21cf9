"""What a slice's innovations say of the filter itself: NIS, coverage and whiteness, remembered for a while.

If model and noise are right, innovations are white and as large as predicted (Mehra 1970, "On the identification of
variances and adaptive Kalman filtering"; Bar-Shalom, Li & Kirubarajan 2001, section 5.4). Three sums per slice fade
with the number n of its quotes, S <- S exp(-n/memory) + new:

    nis = sum e'S^-1 e / sum n          1 on average; a batch counts as LARGEST**2 per quote at most
    coverage = sum inside / sum n       of the 50, 90 and 95 % predictive bands, quote by quote

and three with the number of its batches, each of which has one level innovation a (`kvd.core.estimate.Outcome`), cut
off at LARGEST, which is N(0, 1) and independent of the one before:

    common = mean a**2                  1 on average: what the innovations of one batch have in common is as predicted
    whiteness = sum a_t a_(t-1) / sum a_t**2

With weights w the lag-one correlation has, if innovations are white, mean 0 and variance sum w**2 / (sum w)**2 =: 1 /
batches (Bartlett 1946), so that whiteness sqrt(batches) is a standard normal number. Above zero the filter is too slow,
below zero it follows noise.
"""

from collections.abc import Sequence
from math import copysign, exp, sqrt
from statistics import NormalDist
from typing import NamedTuple

from msgspec import Struct

from kvd.core.measurement import BAND_90

LARGEST = 3.0  # standard deviations as which one innovation counts at most: outliers are the weights' business
STAY = 0.75  # a doubt ends a quarter of the way back from its bound, or it would flicker
COVERAGE_90 = 0.9
NORMAL = NormalDist()


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """[watch]: when a slice's own record, or the venue's mark, says that something is wrong. Each of the first three
    bounds is where bands are too narrow by a factor of about sqrt(2).
    """

    memory: float = 200.0
    least: float = 100.0
    nis_above: float = 2.0
    coverage_below: float = 0.75
    whiteness_above: float = 0.33
    whiteness_sds: float = 4.0
    mark_alarm_s: float = 30.0


class Sums(NamedTuple):
    """What is remembered of one slice: fading sums by quotes and by batches, and the last level innovation."""

    nis: float = 0.0
    quotes: float = 0.0
    inside_50: float = 0.0
    inside_90: float = 0.0
    inside_95: float = 0.0
    lagged: float = 0.0
    squared: float = 0.0
    batches: float = 0.0
    weights_squared: float = 0.0
    last: float = 0.0


class TrackRecord(NamedTuple):
    """How well a smile has predicted its own quotes lately.

    `quotes` and `batches` say how much there is to go by; `coverage` holds the shares of mids inside the 50, 90 and
    95 % predictive bands. `widened_by` >= 1 is the factor by which the published standard deviations are wider for it.
    """

    quotes: float
    nis: float
    coverage: tuple[float, float, float]
    batches: float
    common: float
    whiteness: float
    widened_by: float


def absorbed(sums: Sums, nis: float, quotes: int, inside: Sequence[int], level: float, memory: float) -> Sums:
    """The sums after a batch of `quotes` innovations of that NIS, `inside` the three bands, and level innovation."""
    keep, fade = exp(-quotes / memory), exp(-1 / memory)
    a = min(max(level, -LARGEST), LARGEST)
    return Sums(
        nis=keep * sums.nis + min(nis, LARGEST**2 * quotes),
        quotes=keep * sums.quotes + quotes,
        inside_50=keep * sums.inside_50 + inside[0],
        inside_90=keep * sums.inside_90 + inside[1],
        inside_95=keep * sums.inside_95 + inside[2],
        lagged=fade * sums.lagged + a * sums.last,
        squared=fade * sums.squared + a * a,
        batches=fade * sums.batches + 1,
        weights_squared=fade * fade * sums.weights_squared + 1,
        last=a,
    )


def judged(sums: Sums, before: str, w: Watch) -> tuple[TrackRecord, str]:
    """The record that the sums of one batch or more come to, and the reason to doubt the slice's band: nis, coverage,
    whiteness, or none; `before` is the reason until now.

    A doubt widens by what would have made its figure right: sqrt(nis); 1.645 over the quantile inside which the covered
    share lies; sqrt((1 + r)/(1 - r)), by which the error of a mean is larger when errors correlate as r from one to the
    next, r being the amount of whiteness: a filter that follows noise is as wrong as one that is too slow.
    """
    n, m, stay = sums.quotes, sums.batches, STAY if before else 1.0
    nis, share = sums.nis / n, sums.inside_90 / n
    whiteness = sums.lagged / max(sums.squared, 1e-9)
    r, batches = abs(whiteness), m * m / sums.weights_squared
    doubts = {}
    if n >= w.least and nis > 1 + stay * (w.nis_above - 1):
        doubts["nis"] = sqrt(nis)
    if n >= w.least and share < COVERAGE_90 - stay * (COVERAGE_90 - w.coverage_below):
        doubts["coverage"] = BAND_90 / NORMAL.inv_cdf(0.5 + 0.5 * max(share, 0.01))
    if m >= w.least and r > stay * w.whiteness_above and r * sqrt(batches) > stay * w.whiteness_sds:
        doubts["whiteness"] = sqrt((1 + r) / max(1 - r, 1e-9))
    record = TrackRecord(
        quotes=n,
        nis=nis,
        coverage=(sums.inside_50 / n, share, sums.inside_95 / n),
        batches=batches,
        common=sums.squared / m,
        whiteness=copysign(r, sums.lagged),
        widened_by=min(max(doubts.values(), default=1.0), LARGEST),
    )
    return record, next(iter(doubts), "")
