"""What a slice update costs beside a cold refit of the same slice on the same quotes.

The calibrator reads no clock. Its books keep the inputs of their newest update; of every fiftieth batch these are put
aside, and once the tape is over the same predict and update are done again, each followed by the refits, both timed.
Neither has had the machine to itself just before, so their caches are alike.
"""

import time
from collections.abc import Iterable

import numpy as np

from kvd.calibrator.book import Work
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
        """Microseconds of processor time a touched slice: of predict and update, and of refits of the same slices; none
        before fifty batches.
        """
        spent_s = min(_spent_s(self._kept, m) for _ in range(ROUNDS))
        slices = sum(len(set(work.vols.place.tolist())) for work in self._kept)
        names = "update_us_per_slice", "same_refit_us_per_slice"
        return {name: 1e6 * s / slices for name, s in zip(names, spent_s, strict=True)} if slices else {}


def _spent_s(kept: Iterable[Work], m: Measurement) -> tuple[float, float]:
    """Seconds of processor time in updates and in refits."""
    update_s = refit_s = 0.0
    for work in kept:
        began_s = time.process_time()
        prior = joint.predict(work.before, work.from_us, work.to_us, work.noise_factor, work.dynamics, work.moves)
        if np.array_equal(prior.expiry_us, work.prior.expiry_us):
            estimate.update(prior, work.tau, work.vols, m)
        else:  # a new expiry was let in between
            estimate.update(work.prior, work.tau, work.vols, m)
        updated_s = time.process_time()
        for place in sorted(set(work.vols.place.tolist())):
            own = work.vols.place == place
            fit(work.vols.k[own], work.vols.vol[own], np.sqrt(work.vols.R[own]), float(work.tau[place]))
        update_s, refit_s = update_s + updated_s - began_s, refit_s + time.process_time() - updated_s
    return update_s, refit_s
