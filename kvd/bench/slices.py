"""Slice updates of the filter against least-squares refits of the same slices on the same quotes.

The daemon updates all slices that a batch touches in one pass; `refit_ratio` compares that pass with refitting each
of them. `single_refit_ratio` is the same for a batch that touches one slice only, where nothing is shared.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from kvd.core import dynamics, estimate, joint, svi
from kvd.core.daycount import YEAR_US
from kvd.core.dynamics import Dynamics
from kvd.core.estimate import Vols
from kvd.core.measurement import Measurement

EXPIRIES, QUOTES = 12, 20
BLOCKS, WARM_UP, CALLS = 10, 5, 20


def refit_ratio() -> dict[str, Any]:
    """How many times faster an update is, when all slices are quoted and when one is; and the times behind it."""
    rng = np.random.default_rng(0)
    d, m = Dynamics(), Measurement()
    days = np.geomspace(1, 360, EXPIRIES)
    expiry_us = (days * 86_400e6).astype(np.int64)
    state = joint.EMPTY
    for e in expiry_us.tolist():
        state = joint.admit(state, e, 0, d)
    tau = expiry_us / YEAR_US
    truth = state.x + 0.5 * dynamics.START_SD * rng.normal(size=state.x.shape)

    def quotes(slices: list[int]) -> Vols:
        place = np.repeat(slices, QUOTES)
        z = np.tile(np.linspace(-2.5, 2.0, QUOTES), len(slices))
        k = z * np.exp(truth[place, svi.LEVEL]) * np.sqrt(tau[place])
        R = np.full(len(k), 0.002**2)
        return Vols(place, k, svi.vol(truth, tau, place, k) + rng.normal(0, 0.002, len(k)), R)

    one, every = quotes([5]), quotes(list(range(EXPIRIES)))
    settled, _ = estimate.update(state, tau, every, m)
    settled = joint.predict(settled, 0, 1_000_000, 1.0, d)
    each = [quotes([i]) for i in range(EXPIRIES)]
    update_us, refit_us, batch_us, refits_us = _medians_us(
        lambda: estimate.update(settled, tau, one, m),
        lambda: _refit(one, tau, 5, d),
        lambda: estimate.update(settled, tau, every, m),
        lambda: [_refit(vols, tau, i, d) for i, vols in enumerate(each)],
    )
    return {
        "refit_ratio": refits_us / batch_us,
        "slice_update_us": batch_us / EXPIRIES,
        "slice_refit_us": refits_us / EXPIRIES,
        "single_refit_ratio": refit_us / update_us,
        "single_slice_update_us": update_us,
    }


def _refit(vols: Vols, tau: np.ndarray[Any, np.dtype[np.float64]], place: int, d: Dynamics) -> Any:
    """Cold least squares in the same coordinates from the state of a slice never seen, with the same prior."""
    start, P = dynamics.start(tau[place], np.zeros(0), np.zeros((0, svi.DIM)), d)
    own, at, sd, prior_sd = tau[place : place + 1], np.zeros_like(vols.place), np.sqrt(vols.R), np.sqrt(np.diag(P))

    def residuals(x: Any) -> Any:
        return np.concatenate(((svi.vol(x[None], own, at, vols.k) - vols.vol) / sd, (x - start) / prior_sd))

    return least_squares(residuals, start)


def _medians_us(*acts: Callable[[], object]) -> list[float]:
    """Median wall time of one call of each, in microseconds.

    In blocks, each in turn: a machine that drifts drifts for all of them, and none is timed with another's caches.
    """
    times: list[list[float]] = [[] for _ in acts]
    for _ in range(BLOCKS):
        for act, spent in zip(acts, times, strict=True):
            for call in range(WARM_UP + CALLS):
                began = time.perf_counter()
                act()
                if call >= WARM_UP:
                    spent.append(time.perf_counter() - began)
    return [1e6 * median(spent) for spent in times]
