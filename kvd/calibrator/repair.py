"""Which slices may be published: the posterior, moved where need be so that nothing shown can be arbitraged."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core.arbitrage import Surface
from kvd.core.joint import M
from kvd.core.project import Projected, project
from kvd.core.svi import DIM
from kvd.core.turns import Turns

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
Roots = Callable[[Index], Floats]

LEAST_SDS = 5.0  # that a certificate's range reaches either side of the money
FARTHER = 1.1  # than that, if what comes out reaches less far
REACHES = 2


class Slices(NamedTuple):
    """Slices side by side, in ascending expiry, with the range of k, (T,) each, on which they are certified."""

    surface: Surface
    low: Floats
    high: Floats
    expiry_us: NDArray[np.int64]


class Repaired(NamedTuple):
    """The candidates, (T,): as they may be published, which of them are to be published (``free``), which had to be
    moved for that, which of the judged must be held instead, their margins and at how many points g was looked at.
    """

    surface: Surface
    free: Flags
    moved: Flags
    held: Flags
    butterfly: Floats
    calendar: Floats
    points: Index


def repair_as_far(candidates: Slices, judged: Flags, shown: Slices, roots: Roots) -> Turns[tuple[Slices, Repaired]]:
    """`repair`, on ranges that reach far enough for what comes out: a projection may raise the money's own standard
    deviation. Slices of which no end of that comes are held, as those beside them are.
    """
    asked, tries = judged, 0
    while True:
        repaired = yield from repair(candidates, judged, shown, roots)
        short = repaired.free & narrow(repaired, candidates)
        if not short.any():
            return candidates, repaired._replace(held=asked & ~repaired.free)
        reach = np.where(short, FARTHER * LEAST_SDS * np.sqrt(repaired.surface.w0), 0.0)
        candidates = candidates._replace(
            low=np.minimum(candidates.low, -reach), high=np.maximum(candidates.high, reach)
        )
        tries += 1
        if tries > REACHES:
            judged = judged & ~with_neighbours(short)


def narrow(repaired: Repaired, slices: Slices) -> Flags:
    """Which slices (T,) are certified on less than `LEAST_SDS` standard deviations either side of the money."""
    return np.asarray(LEAST_SDS * np.sqrt(repaired.surface.w0) > np.minimum(-slices.low, slices.high))


def repair(candidates: Slices, judged: Flags, shown: Slices, roots: Roots) -> Turns[Repaired]:
    """Project the `judged` (T,) of the `candidates` (T,) against each other and against those `shown`.

    `shown` holds what subscribers have of every expiry, the judged ones included where they were shown before, and
    ``roots(chosen)`` the roots (n, D, D) of the candidates' covariances. What is shown of others is left as it is as
    long as the judged can give way to it. If one cannot, its neighbours among the candidates are judged, too, and
    may meet it half way. A slice that fails then is held, those of a pair one by one and the nearer expiry first:
    its neighbours must live with what was shown of it.
    """
    free, out = judged.copy(), np.zeros_like(judged)
    wider = False
    while True:
        projected, own = yield from _project(candidates, np.flatnonzero(free), shown, roots)
        if not projected.failed[own].any():
            break
        failed = np.zeros_like(free)
        failed[free] = projected.failed[own]
        beside = with_neighbours(failed)
        beside &= np.isin(candidates.expiry_us, shown.expiry_us) & ~free & ~out
        if beside.any() and not wider:
            free, wider = free | beside, True
        else:
            first = int(np.argmax(failed))
            out[first] = True
            free[max(first - 1, 0) : first + 2] &= judged[max(first - 1, 0) : first + 2]  # in vain
            free[first] = False
    return _repaired(candidates, free, judged & out, projected, own)


def with_neighbours(chosen: Flags) -> Flags:
    """The chosen (T,) and those next to them."""
    beside = chosen.copy()
    beside[:-1] |= chosen[1:]
    beside[1:] |= chosen[:-1]
    return beside


def _repaired(candidates: Slices, free: Flags, held: Flags, projected: Projected, own: Index) -> Repaired:
    T = len(free)
    x, u, tau = candidates.surface
    x, u = x.copy(), u.copy()
    moved, g, gap = np.zeros(T, dtype=np.bool_), np.full(T, np.nan), np.full(T, np.nan)
    points = np.zeros(T, dtype=np.intp)
    x[free], u[free] = projected.surface.x[own], projected.surface.u[own]
    moved[free], points[free] = projected.repaired[own], projected.points[own]
    g[free], gap[free] = projected.butterfly[own], projected.calendar[own]
    return Repaired(Surface(x, u, tau), free, moved, held, g, gap, points)


def _project(candidates: Slices, free: Index, shown: Slices, roots: Roots) -> Turns[tuple[Projected, Index]]:
    """Project the `free` candidates beside their neighbours among the others that are shown; returns where each free
    one ended up.
    """
    expiry_us = candidates.expiry_us[free]
    others = np.flatnonzero(~(shown.expiry_us[:, None] == expiry_us).any(axis=1))
    place = np.searchsorted(shown.expiry_us[others], expiry_us)
    near = np.zeros(len(others) + 2, dtype=np.bool_)
    near[place] = near[place + 1] = True
    beside = others[near[1:-1]]
    order = np.argsort(np.concatenate((expiry_us, shown.expiry_us[beside])), kind="stable")
    taken = np.concatenate((free, len(candidates.expiry_us) + beside))[order]
    parts = [
        np.concatenate(both).take(taken, axis=0)
        for both in zip(
            (*candidates.surface, candidates.low, candidates.high), (*shown.surface, shown.low, shown.high), strict=True
        )
    ]
    own = np.argsort(order, kind="stable")[: len(free)]

    def root() -> Floats:
        every = np.zeros((len(order), DIM + M, DIM + M))
        every[own] = roots(free)
        return every

    projected = yield from project(Surface(*parts[:3]), root, parts[3], parts[4], np.asarray(order >= len(free)))
    return projected, own
