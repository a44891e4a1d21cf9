"""What a slice update costs beside a cold refit of the same slice on the same quotes.

The calibrator reads no clock. Its books keep the inputs of their newest update; of every fiftieth batch these are put
aside, and once the tape is over the same predictions, updates and refits are done again and timed, each in a row of
its own as the refits of every minute are.
"""

import time
from collections.abc import Sequence

import numpy as np

from kvd.calibrator.records import Work
from kvd.core import estimate, joint
from kvd.core.measurement import Measurement
from kvd.quality import fit

EVERY = 50
ROUNDS = 2


class Cost:
    """The updates put aside; `of` times them."""

    def __init__(self) -> None:
        self._batches = 0
        self._kept: list[Work] = []

    def see(self, work: Work) -> None:
        """Put aside every fiftieth."""
        self._batches += 1
        if self._batches % EVERY == 0 and not (self._kept and self._kept[-1] is work):
            self._kept.append(work)

    def of(self, m: Measurement) -> dict[str, float]:
        """Microseconds of processor time a touched slice: of predictions, of updates, and of refits of the same slices;
        none before fifty batches.
        """
        slices = sum(len(set(work.vols.place.tolist())) for work in self._kept)
        if not slices:
            return {}
        spent_s = np.min([_spent_s(self._kept, m) for _ in range(ROUNDS)], axis=0)
        names = "predict_us_per_slice", "update_us_per_slice", "same_refit_us_per_slice"
        return {name: 1e6 * s / slices for name, s in zip(names, spent_s.tolist(), strict=True)}


def _spent_s(kept: Sequence[Work], m: Measurement) -> tuple[float, float, float]:
    """Seconds of processor time in predictions, in updates and in refits."""
    at_s = [time.process_time()]
    for work in kept:
        joint.predict(*work.aged)
    at_s.append(time.process_time())
    for work in kept:
        estimate.update(work.prior, work.tau, work.vols, m)
    at_s.append(time.process_time())
    for work in kept:
        for place in sorted(set(work.vols.place.tolist())):
            own = work.vols.place == place
            fit(work.vols.k[own], work.vols.vol[own], np.sqrt(work.vols.R[own]), float(work.tau[place]))
    at_s.append(time.process_time())
    predict_s, update_s, refit_s = np.diff(at_s).tolist()
    return predict_s, update_s, refit_s
