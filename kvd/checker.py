"""The independent checker: is what was published free of static arbitrage, and are its certificates true?

It shares no code with what makes smiles arbitrage-free. From the published record alone, raw SVI and the values of the
residual curve at its knots, it builds the smile anew,

    v(z) = sqrt(w_svi(k) / w0) + rho(z),   w(k) = w0 v(z)**2,   z = k / sqrt(w0),   w0 = atm_vol**2 tau

rho being scipy's cubic spline, clamped and flat beyond the last knots, with derivatives taken by hand, and looks for

* Durrleman's g(k) = (1 - k w'/(2w))**2 - (w'**2/4)(1/w + 1/4) + w''/2 below `TOLERANCE` (Gatheral & Jacquier 2014,
  equation 2.1), or a vol that is not positive: a *butterfly*;
* (w_later - w_earlier)/w0 of the earlier, at equal k, below `TOLERANCE`: a *calendar*, against the newest published
  smiles of the expiries next to it

on the certificate's range: at `POINTS` evenly spread points, at the knots and about the vertex of the hyperbola, and
by a local minimisation around the lowest of these. Of the certificate itself it is *false*

* if its range leaves out a quoted log-moneyness or part of five standard deviations either side of the money;
* if it states a better minimum than the true one.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from kvd.surface import RESIDUAL_KNOTS, Smile, SurfaceUpdate

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

TOLERANCE = -1e-9
POINTS = 2001
EVEN = np.linspace(0.0, 1.0, POINTS)
VERTEX = np.linspace(-8.0, 8.0, 33)  # in units of raw SVI's sigma, about its m
KNOTS = np.array(RESIDUAL_KNOTS)
CARDINAL = CubicSpline(KNOTS, np.eye(len(KNOTS)), bc_type="clamped").c  # a spline is linear in its values at the knots
# just outside the last knots the curve is flat: its second derivative jumps there
BREAKS = np.concatenate((KNOTS, KNOTS[[0, -1]] * (1 + 1e-9)))

CLEAR = 4.0  # a function above so many of its greatest steps between grid points has no hidden dip below zero
VALLEYS = 4  # how many of the lowest are looked into
FINER = np.linspace(0.0, 1.0, 33)
ROUNDS = 3  # each narrows a valley sixteenfold

LEAST_SDS = 5.0
SLACK = 1e-6  # relative; of a claim: what rounding may add


class Violation(NamedTuple):
    """What is wrong with a published smile: the least value, or what its certificate claims, and the log-moneyness."""

    expiry_us: int
    kind: Literal["butterfly", "calendar", "false_range", "false_butterfly", "false_calendar"]
    value: float
    k: float


class Least(NamedTuple):
    """The least value of a function on a range and where it is."""

    value: float
    at: float


class Curve:
    """The total variance of a published smile and Durrleman's g, as functions of log-moneyness."""

    def __init__(self, smile: Smile) -> None:
        self.smile = smile
        self.w0 = smile.parameters.atm_vol**2 * smile.tau
        self.root = np.sqrt(self.w0)
        self._coefficients = CARDINAL @ np.array(smile.residual)

    def total_variance(self, k: Floats) -> Floats:
        """w at `k`, any shape; -inf where there is no positive vol."""
        a, b, rho, m, sigma = self.smile.raw
        d = k - m
        backbone = (a + b * (rho * d + np.sqrt(d * d + sigma * sigma))) / self.w0
        t, (c3, c2, c1, c0), _ = self._pieces(k)
        v = np.sqrt(np.maximum(backbone, 0.0)) + c0 + t * (c1 + t * (c2 + t * c3))
        return np.where((backbone > 0) & (v > 0), self.w0 * v * v, -np.inf)

    def durrleman(self, k: Floats) -> Floats:
        """g at `k`, any shape; -inf where there is no positive vol."""
        a, b, rho, m, sigma = self.smile.raw
        d = k - m
        r = np.sqrt(d * d + sigma * sigma)
        s, s1, s2 = a + b * (rho * d + r), b * (rho + d / r), b * sigma * sigma / (r * r * r)
        t, (c3, c2, c1, c0), flat = self._pieces(k)
        with np.errstate(invalid="ignore", divide="ignore"):
            y = np.sqrt(s / self.w0)
            y1 = s1 / (2 * self.w0 * y)
            y2 = s2 / (2 * self.w0 * y) - y1 * y1 / y
            v = y + c0 + t * (c1 + t * (c2 + t * c3))
            v1 = y1 + flat * (c1 + t * (2 * c2 + t * 3 * c3)) / self.root
            v2 = y2 + flat * (2 * c2 + 6 * t * c3) / self.w0
            w, w1, w2 = self.w0 * v * v, 2 * self.w0 * v * v1, 2 * self.w0 * (v1 * v1 + v * v2)
            g = (1 - k * w1 / (2 * w)) ** 2 - 0.25 * w1 * w1 * (1 / w + 0.25) + 0.5 * w2
        return np.where((s > 0) & (v > 0), g, -np.inf)

    def grid(self) -> Floats:
        """The log-moneynesses of the certificate's range at which to look, ascending."""
        low, high = self.smile.certificate.k_low, self.smile.certificate.k_high
        vertex = self.smile.raw.m + self.smile.raw.sigma * VERTEX
        extra = np.concatenate((BREAKS * self.root, vertex))
        return np.sort(np.concatenate((low + (high - low) * EVEN, extra[(extra > low) & (extra < high)])))

    def _pieces(self, k: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Place within the spline's interval, that interval's four coefficients, and whether the curve is not flat."""
        z = k / self.root
        within = np.minimum(np.maximum(z, KNOTS[0]), KNOTS[-1])
        interval = np.minimum(np.searchsorted(KNOTS, within, side="right") - 1, len(KNOTS) - 2)
        return within - KNOTS[interval], self._coefficients[:, interval], z == within


class Checker:
    """Checks every published smile of one underlying against its own record and against its neighbours' newest."""

    def __init__(self) -> None:
        self._newest: dict[int, Curve] = {}

    def see(self, update: SurfaceUpdate) -> list[Violation]:
        """Take one update; what is wrong with the smiles that it publishes."""
        for smile in update.smiles:
            self._newest[smile.expiry_us] = Curve(smile)
        for expiry_us in update.withdrawn:
            self._newest.pop(expiry_us, None)
        return [found for smile in update.smiles for found in self._check(self._newest[smile.expiry_us])]

    def _check(self, curve: Curve) -> list[Violation]:
        smile, k = curve.smile, curve.grid()
        expiry_us, stated = smile.expiry_us, smile.certificate
        butterfly, gaps = least(curve.durrleman, k), [least(gap, k) for gap in self._gaps(curve)]
        found = _false_range(smile, curve.root)
        found += [Violation(expiry_us, "butterfly", butterfly.value, butterfly.at)] * (not butterfly.value >= TOLERANCE)
        found += [Violation(expiry_us, "calendar", gap.value, gap.at) for gap in gaps if not gap.value >= TOLERANCE]
        if _is_false(stated.butterfly, butterfly):
            found.append(Violation(expiry_us, "false_butterfly", stated.butterfly, butterfly.at))
        # the gaps that a held smile states are those of the time when it was good: its neighbours have moved on
        if smile.state != "held" and stated.calendar is not None and gaps:
            narrowest = min(gaps, key=lambda gap: gap.value)
            if _is_false(stated.calendar, narrowest):
                found.append(Violation(expiry_us, "false_calendar", stated.calendar, narrowest.at))
        return found

    def _gaps(self, curve: Curve) -> list[Function]:
        expiries = sorted(self._newest)
        place = expiries.index(curve.smile.expiry_us)
        beside = [self._newest[e] for e in expiries[max(place - 1, 0) : place + 2]]
        return [_gap(earlier, later) for earlier, later in pairwise(beside)]


def least(function: Function, k: Floats) -> Least:
    """The least value of `function` between the first and the last of `k` (ascending): the lowest valleys of the grid
    are searched on ever finer ones, unless all of it is clear of zero.
    """
    values = function(k)
    lowest = int(np.argmin(values))
    found, at = float(values[lowest]), float(k[lowest])
    if not np.isfinite(found) or found > CLEAR * np.abs(np.diff(values)).max():
        return Least(found, at)
    around = np.concatenate(([np.inf], values, [np.inf]))
    valleys = np.flatnonzero((values <= around[:-2]) & (values <= around[2:]))
    valleys = valleys[np.argsort(values[valleys])[:VALLEYS]]
    low, high = k[np.maximum(valleys - 1, 0)], k[np.minimum(valleys + 1, len(k) - 1)]
    every = np.arange(len(valleys))
    for _ in range(ROUNDS):
        finer = low[:, None] + (high - low)[:, None] * FINER
        seen = function(finer)
        best = np.argmin(seen, axis=1)
        low, high = finer[every, np.maximum(best - 1, 0)], finer[every, np.minimum(best + 1, len(FINER) - 1)]
    deepest = int(np.argmin(seen[every, best]))
    if seen[deepest, best[deepest]] < found:
        found, at = float(seen[deepest, best[deepest]]), float(finer[deepest, best[deepest]])
    return Least(found, at)


def _gap(earlier: Curve, later: Curve) -> Function:
    def gap(k: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray((later.total_variance(k) - earlier.total_variance(k)) / earlier.w0)

    return gap


def _false_range(smile: Smile, root: float) -> list[Violation]:
    low = min(-LEAST_SDS * root, 0.0 if smile.quoted_low is None else smile.quoted_low)
    high = max(LEAST_SDS * root, 0.0 if smile.quoted_high is None else smile.quoted_high)
    stated, found = smile.certificate, []
    if stated.k_low > low * (1 - SLACK):
        found.append(Violation(smile.expiry_us, "false_range", stated.k_low, low))
    if stated.k_high < high * (1 - SLACK):
        found.append(Violation(smile.expiry_us, "false_range", stated.k_high, high))
    return found


def _is_false(claim: float, true: Least) -> bool:
    return not claim <= true.value + SLACK * max(1.0, abs(true.value))
