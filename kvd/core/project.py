"""The nearest arbitrage-free surface in the posterior's own metric (Simon 2010, Kalman filtering with state
constraints).

Slice i is moved by d_i = R_i v_i, R_i R_i' its posterior covariance, and the least sum |v_i|**2 is sought for which,
on the certificate's range of every slice, g >= `G_TARGET`, the calendar gaps are >= `GAP_TARGET`, f >= `F_TARGET` and
omega >= `OMEGA_TARGET`. There are infinitely many such constraints, one at each log-moneyness. Those near or past their
bounds on a coarse grid are linearised, the quadratic program is solved (daqp), and both are repeated about the new
point until `kvd.core.certify` finds bounds above zero that hold between the points, too. Where it does not, the
deepest point it found joins the others, and no constraint is left out again (an exchange method: Hettich & Kortanek
1993, section 7). A few programs more about the first surface that holds bring it closer to the nearest. Slices that
are `fixed` (shown already) take part as neighbours only.
"""

from collections.abc import Callable
from typing import NamedTuple

import daqp
import numpy as np
from numpy.typing import NDArray

from kvd.core import arbitrage, certify, svi
from kvd.core.arbitrage import Surface
from kvd.core.certify import Bound
from kvd.core.svi import DIM
from kvd.core.turns import Turns

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

G_TARGET, GAP_TARGET, F_TARGET, OMEGA_TARGET = 4e-3, 5e-4, 0.05, 0.005
G_NEAR, GAP_NEAR, F_NEAR, OMEGA_NEAR = 0.08, 0.01, 0.1, 0.02  # constraints are linearised where the margin is below
ROUNDS = 20
NEARER_ROUNDS = 3
NEGLIGIBLE = 0.02  # of |v|: a change that is not worth another program
STEP = 1e-3
TRUST = 4.0  # of v, how far one program may go; halved where the one before did not halve what was missing
LONGEST = 6.0  # standard deviations, of a coordinate of v
ITERATIONS = 600  # of one program: what can be had takes fewer, the impossible up to seconds of them
HARD, SOFT = 0, 8  # daqp's constraint types
SOLVED = (1, 2)  # the latter: soft constraints are missed


class Margins(NamedTuple):
    """Bounds on g of the slices `free` (n,) and on the gaps of the `pairs` (m,) that they belong to."""

    free: Index
    g: Bound
    pairs: Index
    gap: Bound

    def of_slices(self, size: int) -> tuple[Floats, Floats]:
        """Bounds on g and on the gaps to both neighbours of each of `size` slices; +inf where nothing was bounded."""
        g, gap = np.full(size, np.inf), np.full(size, np.inf)
        g[self.free] = self.g.bound
        for side in (0, 1):
            gap[self.pairs + side] = np.minimum(gap[self.pairs + side], self.gap.bound)
        return g, gap

    def bad(self, size: int) -> Flags:
        """Which of `size` slices may be arbitraged: those of `free`, by themselves or against a neighbour."""
        bad = np.zeros(size, dtype=np.bool_)
        bad[self.free] = np.minimum(*self.of_slices(size))[self.free] <= 0
        return bad

    def all_sound(self) -> bool:
        """Whether nothing is bad."""
        return not ((self.g.bound <= 0).any() or (self.gap.bound <= 0).any())

    def missing(self) -> float:
        """By how much the bounds are below zero, in sum; beyond one, more does not count."""
        return float(sum(np.clip(-bound, 0.0, 1.0).sum() for bound in (self.g.bound, self.gap.bound)))


class Projected(NamedTuple):
    """The surface after projection; per slice (S,): whether it had to move, and whether no repair was found; bounds on
    its margins and at how many points g was looked at (0 of a fixed one).
    """

    surface: Surface
    repaired: Flags
    failed: Flags
    butterfly: Floats
    calendar: Floats
    points: Index


def margins(surface: Surface, low: Floats, high: Floats, fixed: Flags) -> Margins:
    """Bounds on the margins of the slices not `fixed` (S,) on their ranges `low` to `high` (S,), in k."""
    free, pairs = np.flatnonzero(~fixed), np.flatnonzero(~(fixed[:-1] & fixed[1:]))
    both = certify.margins(surface, low, high, free, pairs)
    n = len(free)
    return Margins(free, both.rows(slice(n)), pairs, both.rows(slice(n, None)))


def project(surface: Surface, roots: Callable[[], Floats], low: Floats, high: Floats, fixed: Flags) -> Turns[Projected]:
    """Project the slices that are not `fixed` (S,) on their ranges `low` to `high` (S,) in k; ``roots()`` (S, D, D),
    asked for only if something has to move, map v to (x, u). A turn is a program.
    """
    now = margins(surface, low, high, fixed)
    if now.all_sound():
        return _projected(surface, np.zeros_like(fixed), np.zeros_like(fixed), now)
    root, bad = roots(), now.bad(len(fixed))
    program, v = Program(surface, root), np.zeros(root.shape[:2])
    trust, best = TRUST, np.inf
    for _ in range(ROUNDS):
        program.heed(now, bad)
        following = program.solve(v, trust)
        yield
        if following is None:
            break
        v = following
        now = margins(program.at(v), low, high, fixed)
        bad = now.bad(len(fixed))
        if not bad.any():
            v, now = yield from _nearer(program, v, now, lambda nearer: margins(program.at(nearer), low, high, fixed))
            break
        missing = now.missing()
        trust, best = trust * (0.5 if missing > 0.5 * best else 1.0), min(best, missing)
    return _projected(program.at(v), np.asarray((v != 0).any(axis=1)), bad, now)


def _nearer(
    program: "Program", v: Floats, now: Margins, look: Callable[[Floats], Margins]
) -> Turns[tuple[Floats, Margins]]:
    """The nearest feasible point that a few programs more about the feasible `v` come by, with its margins."""
    at, seen = v, now
    for _ in range(NEARER_ROUNDS):
        program.heed(seen, np.zeros(len(v), dtype=np.bool_))
        following = program.solve(at, TRUST)
        yield
        if following is None or np.linalg.norm(following - at) < NEGLIGIBLE * np.linalg.norm(v):
            break
        at, seen = following, look(following)
        if np.linalg.norm(at) < np.linalg.norm(v) and not seen.bad(len(v)).any():
            v, now = at, seen
    return v, now


def _projected(surface: Surface, repaired: Flags, failed: Flags, now: Margins) -> Projected:
    points = np.zeros(len(failed), dtype=np.intp)
    points[now.free] = now.g.points
    return Projected(surface, repaired, failed, *now.of_slices(len(failed)), points)


class Places:
    """Where one function is constrained: at points of its grid, and where it was found to be least. They only grow,
    but the grid moves with the slice.
    """

    def __init__(self) -> None:
        self._chosen: Flags | None = None
        self._grid = np.zeros(0)
        self._least: list[float] = []

    def heed(self, bound: Bound, row: int, near: float) -> None:
        """Constrain row `row` of `bound` wherever it is below `near`."""
        self._grid, values = bound.k[row], bound.values[row]
        close = values < near
        self._chosen = close if self._chosen is None else self._chosen | close
        if close.any() or bound.bound[row] <= 0:
            self._least.append(float(bound.at[row]))

    def at(self) -> Floats:
        """The points, ascending."""
        return np.union1d(self._grid[self._chosen], self._least)


class Program:
    """The quadratic program of one projection: its constraints, z of each slice and k of each pair, only grow."""

    def __init__(self, start: Surface, root: Floats) -> None:
        self._start, self._root = start, root
        self._moving: list[int] = []
        self._alone: dict[int, Places] = {}
        self._pair: dict[int, Places] = {}

    def at(self, v: Floats) -> Surface:
        """The surface at `v` (S, D)."""
        d = np.matmul(self._root, v[:, :, None])[:, :, 0]
        return Surface(self._start.x + d[:, :DIM], self._start.u + d[:, DIM:], self._start.tau)

    def heed(self, now: Margins, bad: Flags) -> None:
        """Let the slices that are `bad` (S,) move, and constrain all that move wherever they are near their bounds."""
        self._moving = sorted({*self._moving, *np.flatnonzero(bad).tolist()})
        for row, i in enumerate(now.free.tolist()):
            if i in self._moving:
                self._alone.setdefault(i, Places()).heed(now.g, row, G_NEAR)
        for row, pair in enumerate(now.pairs.tolist()):
            if pair in self._moving or pair + 1 in self._moving:
                self._pair.setdefault(pair, Places()).heed(now.gap, row, GAP_NEAR)

    def solve(self, v: Floats, trust: float) -> Floats | None:
        """The next v (S, D), linearised about `v` and no further than `trust` from it; None if daqp finds none."""
        size = v.shape[1]
        place = {i: slice(column * size, (column + 1) * size) for column, i in enumerate(self._moving)}
        n = len(place) * size
        rows, bounds = [np.zeros((0, n))], [np.zeros(0)]
        for i, places in self._alone.items():
            slope, bound = self._of_slice(v, i, places.at())
            row = np.zeros((len(slope), n))
            row[:, place[i]] = slope
            rows.append(row)
            bounds.append(bound)
        for pair, places in self._pair.items():
            row, bound = self._of_pair(v, pair, places.at(), place, n)
            rows.append(row)
            bounds.append(bound)
        old = np.concatenate([v[i] for i in place])
        solution = _solve(np.concatenate(rows), np.concatenate(bounds), old, trust)
        if solution is None:
            return None
        following = np.zeros_like(v)
        for i, own in place.items():
            following[i] = solution[own]
        return following

    def _of_slice(self, v: Floats, i: int, k: Floats) -> tuple[Floats, Floats]:
        """Rows and bounds of slice `i` at `k`, or rather at the z that it now has there: g, f and omega."""
        around = self._perturbed(v, i)
        root = np.sqrt(around.w0)[:, None]
        z = k / root[0]
        k = z * root
        g, f = arbitrage.butterfly(around, k)
        every = np.repeat(np.arange(len(k)), len(z))
        omega = svi.omega_at(svi.slices(around.x), every, np.tile(z, len(k)))[0].reshape(k.shape)
        slopes, bounds = [], []
        for values, near, target in ((g, np.inf, G_TARGET), (f, F_NEAR, F_TARGET), (omega, OMEGA_NEAR, OMEGA_TARGET)):
            chosen = values[:, values[0] < near]
            slope = (chosen[1:] - chosen[0]).T / STEP
            slopes.append(slope)
            bounds.append(target - chosen[0] + slope @ v[i])
        return np.concatenate(slopes), np.concatenate(bounds)

    def _of_pair(self, v: Floats, pair: int, k: Floats, place: dict[int, slice], n: int) -> tuple[Floats, Floats]:
        """Rows and bounds of the gap between slices `pair` and ``pair + 1`` at `k`."""
        row, bound = np.zeros((len(k), n)), np.full(len(k), GAP_TARGET)
        w0 = float(self.at(v).w0[pair])
        for i, sign in ((pair, -1.0), (pair + 1, 1.0)):
            around = self._perturbed(v, i)
            w = sign * arbitrage.total_variance(around, np.broadcast_to(k, (len(around.tau), len(k)))) / w0
            bound -= w[0]
            if i in place:
                row[:, place[i]] = (w[1:] - w[0]).T / STEP
                bound += row[:, place[i]] @ v[i]
        return row, bound

    def _perturbed(self, v: Floats, i: int) -> Surface:
        """Slice `i` at v, and with each coordinate of v a little larger, as D + 1 slices."""
        moved = v[i] + np.concatenate((np.zeros((1, v.shape[1])), STEP * np.eye(v.shape[1])))
        d = moved @ self._root[i].T
        start = self._start
        return Surface(start.x[i] + d[:, :DIM], start.u[i] + d[:, DIM:], np.full(len(d), start.tau[i]))


def _solve(A: Floats, b: Floats, v: Floats, trust: float) -> Floats | None:
    """The least v with A v >= b, no coordinate beyond `LONGEST` nor further than `trust` from the old `v` (n,); where
    there is none, the one that misses least.
    """
    n, m = A.shape[1], len(b)
    upper = np.concatenate((np.minimum(v + trust, LONGEST), np.full(m, 1e30)))
    lower = np.concatenate((np.maximum(v - trust, -LONGEST), b))
    for sense in (HARD, SOFT):
        senses = np.concatenate((np.zeros(n, dtype=np.int32), np.full(m, sense, dtype=np.int32)))
        solution, _, flag, _ = daqp.solve(np.eye(n), np.zeros(n), A, upper, lower, senses, iter_limit=ITERATIONS)
        if flag in SOLVED and np.isfinite(solution).all():
            return np.asarray(solution)
    return None
