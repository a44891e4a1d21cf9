"""Lower bounds on Durrleman's g and on calendar gaps that hold between the points looked at, too.

Between two neighbouring points a function q with |q''| <= C on the cell of width h between them lies above the
parabola through both with that bend: below the lower of its two values by no more than

    hidden = h**2 C / 8   if both are equal,   (4 hidden - |dq|)**2 / (16 hidden)   if they differ by |dq| < 4 hidden,

and by nothing if they differ by more. C is a ceiling on the cell, made of ceilings R_j >= |r^(j)| and F_j >= |f^(j)|
(`kvd.core.smile`: f = r + rho, r = sqrt(omega)) by the triangle inequality. omega' is monotone, |omega''| to
|omega''''| fall with the distance from the hyperbola's vertex, and r r^(j) follows from omega^(j) by differentiating
r**2 = omega:

    R_1 = |omega'| / (2 r),  R_2 = (|omega''|/2 + R_1**2)/r,  R_3 = (|omega'''|/2 + 3 R_1 R_2)/r,
    R_4 = (|omega''''|/2 + 4 R_1 R_3 + 3 R_2**2)/r

with r at its least. rho is a cubic between its knots, which are always among the points. Then, with A = 1 - z f'/f,

    g'' = 2 (A'**2 + A A'') + (f f'')'' - w0/2 (B'**2 + B B''),   B = f f',   w''(k) = 2 (f'**2 + f f'')

A cell whose bound is not good enough is divided and looked at again (branch and bound; Moore, Kearfott & Cloud 2009,
chapter 9 for the idea).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import arbitrage, residual, svi
from kvd.core.arbitrage import Surface

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Look = Callable[[Index, Floats], tuple[Floats, Floats]]

POINTS = 72
ENDS = residual.KNOTS[[0, -1]]  # f'' jumps there: both sides of the jump are looked at
BREAKS = np.concatenate((residual.KNOTS[1:-1], ENDS * (1 - 1e-9), ENDS * (1 + 1e-9)))
ALONE, TOGETHER = (np.linspace(0.0, 1.0, POINTS - slices * len(BREAKS)) for slices in (1, 2))
ENOUGH = 0.5  # a bound of this part of the least value seen is not sharpened any more
LEAST = 1e-6  # a value below counts as arbitrage: there is no margin left to be bounded
FINER = np.linspace(0.0, 1.0, 9)
DEPTH = 8
MOST = 2000  # cells: a surface that leaves more of them open after a division is far from certain


class Bound(NamedTuple):
    """Of each row, (T,): what its function is nowhere below, where the least value was seen, and how many points were
    looked at; the first of them and the function's ``values`` there, (T, G).

    Where a value is not above `LEAST`, or the cells became too small to go on, ``bound`` is not above zero.
    """

    bound: Floats
    at: Floats
    points: Index
    k: Floats
    values: Floats

    def rows(self, chosen: slice) -> "Bound":
        """Some of the rows."""
        return Bound(self.bound[chosen], self.at[chosen], self.points[chosen], self.k[chosen], self.values[chosen])


class Cells(NamedTuple):
    """f and g's other ingredients at points z, (T, G), and ceilings on the cells between them, (T, G - 1)."""

    z: Floats
    f: Floats
    f1: Floats
    f2: Floats
    eighth: Floats  # h**2 / 8, infinite where f may not be positive
    low: Floats  # of f
    F0: Floats
    F1: Floats
    F2: Floats
    F3: Floats
    F4: Floats


def margins(surface: Surface, low: Floats, high: Floats, free: Index, pairs: Index) -> Bound:
    """Bounds on g of the slices `free` (n,) of `surface` from `low` to `high` (S,) in k, then on the gaps
    (w_later - w_earlier)/w0_earlier of slices ``pairs + 1`` and ``pairs`` (m,) on both their ranges.
    """
    sl, w0, n = svi.slices(surface.x), surface.w0, len(free)
    root = np.sqrt(w0)
    every = np.stack((w0, root, sl.y, sl.s, sl.lean, sl.beta))[:, :, None]

    def look(rows: Index, k: Floats) -> tuple[Floats, Floats]:
        split, earlier = int(np.searchsorted(rows, n)), pairs[rows[rows >= n] - n]
        who = np.concatenate((free[rows[:split]], earlier, earlier + 1))
        own, scale, *hyperbola = every.take(who, axis=1)
        c = _cells(hyperbola, surface.u.take(who, axis=0), np.concatenate((k, k[split:])) / scale)
        values, hidden = _butterfly(own[:split], Cells(*(part[:split] for part in c)))
        gap, hidden_gap = _calendar(own[split:], Cells(*(part[split:] for part in c)))
        return np.concatenate((values, gap)), np.concatenate((hidden, hidden_gap))

    return least(look, np.concatenate((_alone(low, high, root, free), _together(low, high, root, pairs))))


def _alone(low: Floats, high: Floats, root: Floats, free: Index) -> Floats:
    """Points k of each slice of `free`, (n, POINTS), with the breaks that lie in its range."""
    own = root[free]
    return _even(low[free], high[free], own, ALONE, BREAKS * own[:, None])


def _together(low: Floats, high: Floats, root: Floats, pairs: Index) -> Floats:
    """Points k of each pair, (m, POINTS), on both ranges and with the breaks of both slices."""
    later, own = pairs + 1, root[pairs]
    breaks = np.concatenate((BREAKS * own[:, None], BREAKS * root[later, None]), axis=1)
    lowest, highest = np.minimum(low[pairs], low[later]), np.maximum(high[pairs], high[later])
    return _even(lowest, highest, own, TOGETHER, breaks)


def _even(low: Floats, high: Floats, root: Floats, shares: Floats, breaks: Floats) -> Floats:
    """Points at `shares` of the way in arcsinh z, z = k/root, and the `breaks`, ascending; a break outside is put on
    the nearer end.
    """
    a, b = np.arcsinh(low / root)[:, None], np.arcsinh(high / root)[:, None]
    points, n = np.empty((len(root), POINTS)), len(shares)
    np.multiply(np.sinh(a + (b - a) * shares), root[:, None], out=points[:, :n])
    points[:, 0], points[:, n - 1] = low, high
    np.minimum(np.maximum(breaks, low[:, None]), high[:, None], out=points[:, n:])
    points.sort(axis=1)
    return points


def _butterfly(w0: Floats, c: Cells) -> tuple[Floats, Floats]:
    """g and what its cells may hide."""
    g, _ = arbitrage.durrleman(w0, c.z, c.f, c.f1, c.f2)
    return np.where((c.f > 0) & np.isfinite(g), g, -1.0), c.eighth * _bend_of_g(w0, c)


def _calendar(w0: Floats, c: Cells) -> tuple[Floats, Floats]:
    """Gaps of the first half of the rows to the second, later one, and what their cells may hide."""
    m = len(w0) // 2
    w, hidden = w0 * c.f * c.f, w0 * c.eighth * 2 * (c.F1 * c.F1 + c.F0 * c.F2)
    gap = (w[m:] - w[:m]) / w0[:m]
    sound = (c.f[:m] > 0) & (c.f[m:] > 0) & np.isfinite(gap)
    return np.where(sound, gap, -1.0), (hidden[m:] + hidden[:m]) / w0[:m]


def least(look: Look, k: Floats) -> Bound:
    """Bound the functions that `look` evaluates, row by row of `k` (T, G), ascending.

    ``look(rows, k)`` gives the values (n, G) of the functions of those `rows` (n,) at `k`, and what cells of equal
    ends hide, (n, G - 1).
    """
    rows, T = np.arange(len(k)), len(k)
    found, at, bound = np.full(T, np.inf), np.zeros(T), np.full(T, np.inf)
    points = np.full(T, k.shape[1])
    for depth in range(DEPTH):
        values, hidden = look(rows, k)
        if not depth:
            seen = k, values
        lowest = values.argmin(axis=1)
        for i, place in enumerate(lowest.tolist()):
            if values[i, place] < found[rows[i]]:
                found[rows[i]], at[rows[i]] = values[i, place], k[i, place]
        floor = _floor(values, hidden)
        open_ = (floor < ENOUGH * found[rows, None]) & (found[rows] > LEAST)[:, None]
        np.minimum.at(bound, rows, np.where(open_, np.inf, floor).min(axis=1))
        row, cell = np.nonzero(open_)
        if len(row) == 0 or len(row) > MOST:
            bound[rows[row]] = -np.inf
            break
        k = k[row, cell, None] + (k[row, cell + 1] - k[row, cell])[:, None] * FINER
        rows = rows[row]
        points = points + (len(FINER) - 2) * np.bincount(rows, minlength=T)
    else:
        bound[rows] = -np.inf
    return Bound(np.where(found > LEAST, bound, np.minimum(found, 0.0)), at, points, *seen)


def _floor(values: Floats, hidden: Floats) -> Floats:
    """What a function of these `values` (T, G) is nowhere below, cell by cell, (T, G - 1)."""
    left, right = values[:, :-1], values[:, 1:]
    room = 4 * hidden - np.abs(right - left)
    with np.errstate(invalid="ignore", divide="ignore"):
        dip = np.where(room > 0, room * room / (16 * hidden), 0.0)
    return np.minimum(left, right) - np.where(np.isfinite(hidden), dip, np.inf)


def _ends(values: Floats) -> Floats:
    """The greater magnitude at the two ends of each cell."""
    magnitude = np.abs(values)
    return np.maximum(magnitude[:, :-1], magnitude[:, 1:])


def _cells(hyperbola: Sequence[Floats], u: Floats, z: Floats) -> Cells:
    """Evaluate slices of this y, s, lean and beta (T, 1), with residuals `u` (T, M), at `z` (T, G), and bound them
    between.
    """
    y, s, lean, beta = hyperbola
    h = z[:, 1:] - z[:, :-1]
    eighth = 0.125 * h * h
    scaled = z / s
    d = scaled + y
    root = np.sqrt(d * d + 1)
    omega = 1 + lean * z + beta * s * (scaled * (d + y) / (root + np.sqrt(y * y + 1)))
    omega1, omega2 = lean + beta * d / root, beta / (s * root * root * root)
    # ceilings at the end, or the point between, that is nearest to the vertex
    near = np.where(d[:, :-1] * d[:, 1:] > 0, np.minimum(root[:, :-1], root[:, 1:]), 1.0)
    near2 = near * near
    near3 = near2 * near
    top2 = beta / (s * near3)
    top3 = 3 * top2 / s * np.minimum(0.29 * near3, 1 / near)
    top4 = top2 / (s * s) * np.minimum(3.0 * near3, 12 / near2)
    least_omega = np.minimum(omega[:, :-1], omega[:, 1:]) - eighth * top2

    rho, rho1, rho2 = residual.curve(u, z)
    rho3 = np.abs(rho2[:, 1:] - rho2[:, :-1]) / np.where(h > 0, h, np.inf)
    r = np.sqrt(np.maximum(omega, svi.MIN_OMEGA))
    r1 = 0.5 * omega1 / r
    f, f1, f2 = r + rho, r1 + rho1, (0.5 * omega2 - r1 * r1) / r + rho2
    inverse = 1 / np.sqrt(np.maximum(least_omega, svi.MIN_OMEGA))
    R1 = 0.5 * _ends(omega1) * inverse
    R2 = (0.5 * top2 + R1 * R1) * inverse
    R3 = (0.5 * top3 + 3 * R1 * R2) * inverse
    F4 = (0.5 * top4 + 4 * R1 * R3 + 3 * R2 * R2) * inverse
    F3 = R3 + rho3
    F2 = _ends(f2) + eighth * F4
    F1 = _ends(f1) + eighth * F3
    F0 = _ends(f) + eighth * F2
    low = np.minimum(f[:, :-1], f[:, 1:]) - eighth * F2
    eighth = np.where((least_omega > svi.MIN_OMEGA) & (low > 0), eighth, np.inf)
    return Cells(z, np.where(omega > svi.MIN_OMEGA, f, -1.0), f1, f2, eighth, low, F0, F1, F2, F3, F4)


def _bend_of_g(w0: Floats, c: Cells) -> Floats:
    """A ceiling on |g''(z)| of each cell, (T, G - 1)."""
    inverse = 1 / np.where(c.low > 0, c.low, 1.0)
    L, second = c.F1 * inverse, c.F2 * inverse
    L1, L2 = second + L * L, c.F3 * inverse + L * (3 * second + 2 * L * L)
    z = _ends(c.z)
    A1, A2 = L + z * L1, 2 * L1 + z * L2
    A = _ends(1 - c.z * c.f1 / c.f) + np.sqrt(2 * np.where(np.isfinite(c.eighth), c.eighth, 0.0)) * A1
    B, B1, B2 = c.F0 * c.F1, c.F1 * c.F1 + c.F0 * c.F2, 3 * c.F1 * c.F2 + c.F0 * c.F3
    ceiling = 2 * (A1 * A1 + A * A2) + c.F2 * c.F2 + 2 * c.F1 * c.F3 + c.F0 * c.F4 + 0.5 * w0 * (B1 * B1 + B * B2)
    return np.asarray(ceiling)
