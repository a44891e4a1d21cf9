"""The nearest arbitrage-free surface in the posterior's own metric (Simon 2010, Kalman filtering with state
constraints).

Slice i is moved by d_i = R_i v_i, R_i R_i' its posterior covariance, and the least sum |v_i|**2 is sought for which,
on the certificate's range of every slice, g >= `G_TARGET`, the calendar gaps are >= `GAP_TARGET` and f >=
`F_TARGET`. The constraints are linearised where they are near or past their bounds, the quadratic program is solved
(daqp), and both are repeated about the new point until the true margins hold, at last on a grid much finer than the
features of a smile. Slices that are `fixed` (shown already) take part as neighbours only.
"""

from typing import NamedTuple

import daqp
import numpy as np
from numpy.typing import NDArray

from kvd.core import arbitrage
from kvd.core.arbitrage import Surface, butterfly, grids, total_variance
from kvd.core.svi import DIM

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

POINTS, FINE_POINTS = 121, 641
G_TARGET, GAP_TARGET, F_TARGET = 4e-3, 5e-4, 0.05
G_LEAST, GAP_LEAST = 1e-5, 1e-6
G_NEAR, GAP_NEAR = 0.08, 0.01  # constraints are linearised where the margin is below
G_SAFE, GAP_SAFE = 0.02, 2e-3  # a slice below on the coarse grid is looked at on the fine one
ROUNDS = 10
STEP = 1e-3
LONGEST = 6.0  # standard deviations
SOLVED = 1


class Margins(NamedTuple):
    """Durrleman's g and f (S, G) of each slice on its grid `k` (S, G), and the gaps (S - 1, 2G) of each pair on
    both.
    """

    k: Floats
    g: Floats
    f: Floats
    gap: Floats

    def least(self) -> tuple[Floats, Floats, Floats]:
        """Least g, f and gap of each slice, (S,); the gap is that of its pairs, +inf for a lone slice."""
        pairs = self.gap.min(axis=1) if len(self.gap) else np.zeros(0)
        around = np.concatenate(([np.inf], pairs, [np.inf]))
        return self.g.min(axis=1), self.f.min(axis=1), np.minimum(around[:-1], around[1:])

    def below(self, g: float, f: float, gap: float) -> Flags:
        """Which slices are below any of these, (S,)."""
        least_g, least_f, least_gap = self.least()
        return np.asarray(~((least_g >= g) & (least_f >= f) & (least_gap >= gap)))


class Projected(NamedTuple):
    """The surface after projection; per slice (S,): whether it had to move, and whether no repair was found; its
    margins.
    """

    surface: Surface
    repaired: Flags
    failed: Flags
    butterfly: Floats
    calendar: Floats


def margins(surface: Surface, low: Floats, high: Floats, points: int) -> Margins:
    """The margins on grids of `points` log-moneynesses from `low` to `high` (S,)."""
    k = grids(low, high, surface.w0, points)
    g, f, gap = arbitrage.margins(surface, k)
    return Margins(k, np.where(f > 0, g, -1.0), f, gap)


def project(surface: Surface, root: Floats, low: Floats, high: Floats, fixed: Flags) -> Projected:
    """Project the slices that are not `fixed` (S,); `root` (S, D, D) maps v to (x, u); ranges `low`, `high` (S,) in
    k.
    """
    start, v = surface, np.zeros(root.shape[:2])
    now = margins(surface, low, high, POINTS)
    if (now.below(G_SAFE, F_TARGET, GAP_SAFE) & ~fixed).any():
        now = margins(surface, low, high, FINE_POINTS)
    bad = now.below(G_LEAST, F_TARGET, GAP_LEAST) & ~fixed
    for _ in range(ROUNDS):
        if not bad.any():
            break
        moving = np.flatnonzero(bad | (np.abs(v).max(axis=1) > 0))
        step = _solve(start, v, root, moving, now)
        if step is None:
            break
        v = v.copy()
        v[moving] = step
        d = np.matmul(root, v[:, :, None])[:, :, 0]
        surface = Surface(start.x + d[:, :DIM], start.u + d[:, DIM:], start.tau)
        now = margins(surface, low, high, FINE_POINTS)
        bad = now.below(G_LEAST, F_TARGET, GAP_LEAST) & ~fixed
    g, _, gap = now.least()
    return Projected(surface, np.asarray((np.abs(v) > 0).any(axis=1)), np.asarray(bad), g, gap)


def _solve(start: Surface, v: Floats, root: Floats, moving: Index, now: Margins) -> Floats | None:
    """The new v of the `moving` slices, (m, D), or None if the linearised constraints contradict each other."""
    size = v.shape[1]
    place = {int(i): slice(column * size, (column + 1) * size) for column, i in enumerate(moving)}
    rows: list[Floats] = []
    bounds: list[Floats] = []
    for i, own in place.items():
        near = _sparse(now.g[i], G_NEAR) | (now.f[i] < 2 * F_TARGET)
        g, f = butterfly(_perturbed(start, v, root, i), np.broadcast_to(now.k[i, near], (size + 1, near.sum())))
        for values, target in ((g, G_TARGET), (f, F_TARGET)):
            slope = (values[1:] - values[0]).T / STEP
            row = np.zeros((len(slope), len(moving) * size))
            row[:, own] = slope
            rows.append(row)
            bounds.append(target - values[0] + slope @ v[i])
    for pair in range(len(now.gap)):
        sides = [(i, sign) for i, sign in ((pair, -1.0), (pair + 1, 1.0)) if i in place]
        near = _sparse(now.gap[pair], GAP_NEAR)
        if not sides or not near.any():
            continue
        k = np.concatenate((now.k[pair], now.k[pair + 1]))[near]
        row, bound = np.zeros((len(k), len(moving) * size)), GAP_TARGET - now.gap[pair, near]
        for i, sign in sides:
            w = total_variance(_perturbed(start, v, root, i), np.broadcast_to(k, (size + 1, len(k))))
            slope = sign * (w[1:] - w[0]).T / STEP / start.w0[pair]
            row[:, place[i]] = slope
            bound = bound + slope @ v[i]
        rows.append(row)
        bounds.append(bound)
    A, b = np.concatenate(rows), np.concatenate(bounds)
    n = A.shape[1]
    solution, _, flag, _ = daqp.solve(np.eye(n), np.zeros(n), A, np.full(len(b), 1e30), b)
    if flag != SOLVED or not np.isfinite(solution).all() or np.abs(solution).max() > LONGEST:
        return None
    return np.asarray(solution).reshape(len(moving), size)


def _sparse(margin: Floats, near: float) -> Flags:
    """Where a margin is near its bound, thinned to every fourth point; its least point is always among them."""
    chosen = margin < near
    chosen[np.arange(len(margin)) % 4 > 0] = False
    if margin.min() < near:
        chosen[np.argmin(margin)] = True
    return chosen


def _perturbed(start: Surface, v: Floats, root: Floats, i: int) -> Surface:
    """Slice `i` at v, and with each coordinate of v a little larger, as D + 1 slices."""
    moved = v[i] + np.concatenate((np.zeros((1, v.shape[1])), STEP * np.eye(v.shape[1])))
    d = moved @ root[i].T
    return Surface(start.x[i] + d[:, :DIM], start.u[i] + d[:, DIM:], np.full(len(d), start.tau[i]))
