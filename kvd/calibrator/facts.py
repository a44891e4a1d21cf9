"""What a batch did to one underlying, in numbers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.forwards import Heard
from kvd.core import measurement
from kvd.core.estimate import Outcome
from kvd.core.groups import begins
from kvd.core.measurement import Measurement
from kvd.surface import BatchFacts

BANDS = (0.6744897501960817, measurement.BAND_90, 1.959963984540054)  # 50, 90 and 95 % of a normal law


class Measured(NamedTuple):
    """What the filter made of a batch's vols: its outcome, their tenor buckets, (N,), and which innovations lay in
    their 50, 90 and 95 % predictive bands, (N, 3).
    """

    outcome: Outcome
    buckets: NDArray[np.intp]
    inside: NDArray[np.bool_]


class BatchOutcome(NamedTuple):
    """What the filter made of a batch's vols, and of its bounds; None where there were none."""

    of_vols: Measured | None = None
    of_bounds: Outcome | None = None


def facts(outcome: BatchOutcome, refused: dict[str, int], said: Heard, m: Measurement) -> BatchFacts:
    """The facts of a batch; `refused` counts by reason."""
    measured, bounds = outcome
    vols = measured.outcome if measured else None
    inflated: dict[str, int] = {}
    for reason, part in (("outlier", vols), ("one_sided", bounds)):
        count(inflated, reason, 0 if part is None else int(np.count_nonzero(part.weight < m.inflated_below)))
    return BatchFacts(
        quotes=0 if vols is None else len(vols.weight),
        refused=refused,
        inflated=inflated,
        nis=0.0 if vols is None else float(vols.nis.sum()),
        nis_dof=0 if vols is None else int(vols.nis_dof.sum()),
        one_sided=0 if bounds is None else len(bounds.weight),
        forwards_outside_parity=said.outside,
        forwards_gated=said.gated,
        executable=said.executable,
        **({} if measured is None else _predicted(measured, m)),
    )


def count(counts: dict[str, int], reason: str, n: int) -> None:
    """Add `n` to a reason's count; a reason without any is left out."""
    if n:
        counts[reason] = counts.get(reason, 0) + n


def measured(outcome: Outcome, buckets: NDArray[np.intp]) -> Measured:
    """An outcome held against what was predicted."""
    return Measured(outcome, buckets, np.abs(outcome.innovation)[:, None] < np.sqrt(outcome.S)[:, None] * BANDS)


def _predicted(measured: Measured, m: Measurement) -> dict[str, Any]:
    """The score of what was predicted; coverage of its bands and NIS by tenor bucket."""
    outcome, buckets, within = measured
    first = np.cumsum(outcome.nis_dof) - outcome.nis_dof
    coverage, nis = {}, {}
    for bucket in buckets[begins(buckets)].tolist():  # quotes are sorted by expiry
        own, slices = within[buckets == bucket], buckets[first] == bucket
        coverage[bucket] = (len(own), *own.sum(axis=0).tolist())
        nis[bucket] = float(outcome.nis[slices].sum()), int(outcome.nis_dof[slices].sum())
    score = float(measurement.log_density(outcome.innovation, outcome.S, m).sum())
    return {"log_likelihood": score, "coverage": coverage, "nis_by_tenor": nis}
