"""Which slices may be published: the posterior, moved where need be so that nothing shown can be arbitraged."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core.arbitrage import Surface
from kvd.core.project import FINE_POINTS, Projected, project

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Slices(NamedTuple):
    """Slices side by side with the range of k, (T,) each, on which they are certified."""

    surface: Surface
    low: Floats
    high: Floats
    expiry_us: NDArray[np.int64]


class Repaired(NamedTuple):
    """The judged slices, (T,): as they may be published, whether they had to move, whether they must be held
    instead, and their margins.
    """

    surface: Surface
    moved: Flags
    held: Flags
    butterfly: Floats
    calendar: Floats
    points: int


def repair(judged: Slices, root: Floats, shown: Slices) -> Repaired:
    """Project the `judged` slices (T,) of covariance roots `root` (T, D, D) against each other and against those
    `shown`.

    `shown` holds what subscribers have of every expiry, the judged ones included where they were shown before. A
    slice that cannot be repaired is held: its neighbours must then live with what was shown of it, so they are
    projected again.
    """
    T = len(judged.low)
    before = np.searchsorted(shown.expiry_us, judged.expiry_us)
    was_shown = np.isin(judged.expiry_us, shown.expiry_us)
    held = np.zeros(T, dtype=np.bool_)
    while True:
        free = np.flatnonzero(~held)
        beside = np.ones(len(shown.expiry_us), dtype=np.bool_)
        beside[before[was_shown & ~held]] = False
        projected, own = _project(judged, root, free, shown, np.flatnonzero(beside))
        failed = projected.failed[own]
        if not failed.any():
            break
        held[free[failed]] = True
    x, u = judged.surface.x.copy(), judged.surface.u.copy()
    x[free], u[free] = projected.surface.x[own], projected.surface.u[own]
    moved, g, gap = np.zeros(T, dtype=np.bool_), np.full(T, np.nan), np.full(T, np.nan)
    moved[free], g[free], gap[free] = projected.repaired[own], projected.butterfly[own], projected.calendar[own]
    return Repaired(Surface(x, u, judged.surface.tau), moved, held, g, gap, FINE_POINTS)


def _project(
    judged: Slices, root: Floats, free: NDArray[np.intp], shown: Slices, beside: NDArray[np.intp]
) -> tuple[Projected, NDArray[np.intp]]:
    """Project the `free` among the judged beside some of the shown; returns where each free one ended up."""
    expiry_us = np.concatenate((judged.expiry_us[free], shown.expiry_us[beside]))
    order = np.argsort(expiry_us, kind="stable")
    parts = [
        np.concatenate((mine[free], theirs[beside]))[order]
        for mine, theirs in zip(
            (*judged.surface, judged.low, judged.high), (*shown.surface, shown.low, shown.high), strict=True
        )
    ]
    fixed = (order >= len(free)).astype(np.bool_)
    roots = np.zeros((len(order), *root.shape[1:]))
    own = np.argsort(order, kind="stable")[: len(free)]
    roots[own] = root[free]
    return project(Surface(*parts[:3]), roots, parts[3], parts[4], fixed), own
