"""The vols at which desks quote a smile: at a given delta, and what the two sides differ by.

With total standard deviation ``v = vol sqrt(tau)`` and ``d1, d2 = -k/v +- v/2``, a strike's delta in the forward is

    forward            call N(d1),           put -N(-d1)
    premium-adjusted   call exp(k) N(d2),    put -exp(k) N(-d2)

the second net of the premium, which an inverse contract is paid in coin (Reiswich & Wystup 2010). The strike of a delta
of size D solves, with s = +1 for a call and -1 for a put, and c = 0 for forward, 1 for premium-adjusted,

    G(k) = k + s Q v + (2 c - 1) v^2/2 = 0,   Q = N^-1(D exp(-c k))

which is nearly linear: Newton's method. Where it does not settle, G is bracketed on a grid. The premium-adjusted delta
of a call rises and falls with the strike: the larger strike is taken.

A change dv of the curve moves the strike by ``dk = -(s Q + (2 c - 1) v) dv/G'``, its vol by ``(dv + v' dk)/sqrt(tau)``.
"""

from math import isfinite
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import black
from kvd.surface.curves import Curves, Values

Floats = NDArray[np.float64]

DeltaConvention = Literal["forward", "premium_adjusted"]
PointName = Literal["10p", "25p", "atm", "25c", "10c"]

NAMES: tuple[PointName, ...] = ("10p", "25p", "atm", "25c", "10c")
SIZE, SIGN = np.array([0.10, 0.25, 0.5, 0.25, 0.10]), np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
HALF = np.array([0.5, 0.5, 0.0, 0.5, 0.5])  # without a sign and a half G(k) = k: at the money
QUANTILE = black.quantile(SIZE)
STEPS = 6  # Newton's, from a flat smile
CLOSE, CLOSER = 1e-5, 1e-7  # how near to zero G/v must come, as the last step squares it; near a greatest delta, nearer
GRID = np.sinh(np.linspace(-5.0, 5.0, 401))  # of k, in v at the money, out to 74 of them
REFINEMENTS = 100


class DeltaPoint(NamedTuple):
    """The strike whose put (``p``) or call (``c``) has that delta, in hundredths, or the forward (``atm``), and the vol
    there.
    """

    delta: PointName
    strike: float
    strike_sd: float
    vol: float
    vol_sd: float


class DeltaPoints(NamedTuple):
    """The points in ascending strike, risk reversals and butterflies, in vol.

    ``rr25 = vol(25c) - vol(25p)``, ``bf25 = (vol(25c) + vol(25p))/2 - vol(atm)``, and so for 10. A delta that no strike
    has (a premium-adjusted call far out in time) is missing from ``points``; what would need it is None.
    """

    points: tuple[DeltaPoint, ...]
    rr25: float | None
    rr25_sd: float | None
    bf25: float | None
    bf25_sd: float | None
    rr10: float | None
    rr10_sd: float | None
    bf10: float | None
    bf10_sd: float | None


class _Equation(NamedTuple):
    """G and its slope in k, its derivative in v, v and its slope in k, (C, 5) each; how near to zero G/v must come."""

    G: Floats
    slope: Floats
    by_v: Floats
    v: Floats
    v1: Floats
    close: float

    @property
    def step(self) -> Floats:
        """Newton's step in k."""
        return -self.G / self.slope

    @property
    def solved(self) -> NDArray[np.bool_]:
        """Where a step leads to a root, on the branch of the larger strike."""
        return np.asarray((np.abs(self.G) <= self.close * self.v) & (self.slope > 0))


def delta_points(curves: Curves, convention: DeltaConvention) -> list[DeltaPoints]:
    """The points of each of the curves."""
    with np.errstate(all="ignore"):  # what no strike has becomes no number on its way to being missing
        return _records(curves, *_solution(curves, convention == "premium_adjusted"))


def _solution(curves: Curves, adjusted: bool) -> tuple[Floats, Values, _Equation]:
    """Roots of G but for a last step, (C, 5), and what there is at them."""
    v = curves.level[:, None]
    k = -v * SIGN * QUANTILE + (-HALF if adjusted else HALF) * v * v
    at, equation = _look(curves, k, adjusted)
    for _ in range(STEPS):
        if equation.solved.all():
            return k, at, equation
        k = k + equation.step
        at, equation = _look(curves, k, adjusted)
    k = np.where(equation.solved, k, _bracketed(curves, adjusted))
    return k, *_look(curves, k, adjusted)


def _look(curves: Curves, k: Floats, adjusted: bool) -> tuple[Values, _Equation]:
    at = curves.at(k)
    return at, _equation(k, at.w, at.w1, adjusted)


def _equation(k: Floats, w: Floats, w1: Floats, adjusted: bool) -> _Equation:
    """At `k` (..., 5) or (..., 1), where total variance and its slope are `w` and `w1`."""
    v = np.sqrt(w)
    v1 = 0.5 * w1 / v
    if not adjusted:
        by_v = SIGN * QUANTILE - (2 * HALF) * v
        return _Equation(k + v * (SIGN * QUANTILE - HALF * v), 1 + by_v * v1, by_v, v, v1, CLOSE)
    p = np.minimum(SIZE * np.exp(-k), 1.0)
    Q = black.quantile(p)
    by_v = SIGN * Q + (2 * HALF) * v
    slope = 1 + by_v * v1 - SIGN * v * p / black.density(Q)
    return _Equation(k + v * (SIGN * Q + HALF * v), slope, by_v, v, v1, CLOSER)


def _bracketed(curves: Curves, adjusted: bool) -> Floats:
    """The greatest roots of G at which it rises but for a last step, (C, 5), by Newton's method within a bracket that
    ever shrinks; no number where there is none.
    """
    grid = curves.level[:, None] * GRID
    at = curves.at(grid)
    G = _equation(grid[:, :, None], at.w[:, :, None], at.w1[:, :, None], adjusted).G
    rises = (G[:, :-1] < 0) & (G[:, 1:] >= 0)
    last = rises.shape[1] - 1 - rises[:, ::-1].argmax(axis=1)
    low, high = np.take_along_axis(grid, last, axis=1), np.take_along_axis(grid, last + 1, axis=1)
    k = np.where(rises.any(axis=1), 0.5 * (low + high), np.nan)
    for _ in range(REFINEMENTS):
        _, equation = _look(curves, k, adjusted)
        if (equation.solved | np.isnan(k)).all():
            break
        low, high = np.where(equation.G < 0, k, low), np.where(equation.G < 0, high, k)
        further = k + equation.step
        k = np.where((low < further) & (further < high), further, 0.5 * (low + high) + 0 * k)
    return k


def _records(curves: Curves, k: Floats, at: Values, equation: _Equation) -> list[DeltaPoints]:
    """What there is one step from `k`."""
    root = np.sqrt(curves.tau)[:, None]
    step = np.where(equation.solved, equation.step, np.nan)
    moved = curves.influence(at)
    turned = equation.by_v / equation.slope
    gradient = moved * (1 - equation.v1 * turned)[:, :, None]
    vol = (equation.v + equation.v1 * step) / root
    strike = curves.forward[:, None] * np.exp(k + step)
    strike_sd = strike * np.hypot((curves.forward_sd / curves.forward)[:, None], turned * root * _length(moved))
    spread, spread_sd = _spreads(vol[:, :, None])[..., 0], _length(_spreads(gradient))
    # the digits that do not depend on the machine
    strike, sd = _digits(strike, 12), _digits(np.concatenate((strike_sd, _length(gradient), spread_sd), axis=1), 5)
    vol, spread = np.round(vol, 12), np.round(spread, 12)
    columns = np.stack((strike, sd[:, :5], vol, sd[:, 5:10]), axis=-1)
    spreads = np.stack((spread, sd[:, 10:]), axis=-1).reshape(len(k), -1)
    return [
        DeltaPoints(_points(rows), *(number if isfinite(number) else None for number in numbers))
        for rows, numbers in zip(columns.tolist(), spreads.tolist(), strict=True)
    ]


def _points(rows: list[list[float]]) -> tuple[DeltaPoint, ...]:
    return tuple(DeltaPoint(name, *row) for name, row in zip(NAMES, rows, strict=True) if isfinite(sum(row)))


def _spreads(vol: Floats) -> Floats:
    """RR25, BF25, RR10, BF10, (C, 4, n), of what is at the points, (C, 5, n)."""
    put10, put25, atm, call25, call10 = vol.swapaxes(0, 1)
    spreads = (call25 - put25, 0.5 * (call25 + put25) - atm, call10 - put10, 0.5 * (call10 + put10) - atm)
    return np.stack(spreads, axis=1)


def _digits(x: Floats, digits: int) -> Floats:
    """Rounded to so many significant digits."""
    unit = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(x))))
    return np.where(x == 0, x, np.rint(x * unit) / unit)


def _length(rows: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("...n,...n->...", rows, rows)))
