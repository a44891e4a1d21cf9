"""What the updates themselves say: coverage, NIS, states, and how many smiles were shown."""

from collections import Counter
from typing import Any

import numpy as np

from kvd.quality.tally import BUCKETS
from kvd.surface import SurfaceUpdate

BANDS = ("50", "90", "95")


class Ledger:
    """The account of one underlying's updates."""

    def __init__(self) -> None:
        self._coverage = np.zeros((len(BUCKETS), 1 + len(BANDS)))
        self._nis = np.zeros((len(BUCKETS), 2))
        self._nis_total, self._dof_total = 0.0, 0
        self._log_likelihood, self._quotes = 0.0, 0
        self._states: Counter[str] = Counter()
        self._published = 0
        self.touched = 0

    def see(self, update: SurfaceUpdate) -> None:
        """Take what was published."""
        for bucket, counts in update.facts.coverage.items():
            self._coverage[bucket] += counts
        for bucket, (nis, dof) in update.facts.nis_by_tenor.items():
            self._nis[bucket] += nis, dof
        self._nis_total += update.facts.nis
        self._dof_total += update.facts.nis_dof
        self._log_likelihood += update.facts.log_likelihood
        self._quotes += update.facts.quotes
        self._states.update(smile.state for smile in update.smiles)
        self._published += len(update.smiles)
        self.touched += sum(smile.nis_dof > 0 for smile in update.smiles)

    def measures(self) -> dict[str, Any]:
        """The measures by name; a ratio of nothing is absent. Bands are of the mids of quotes that the filter saw."""
        n, *within = self._coverage.sum(axis=0).tolist()
        measures = {
            "coverage": {band: count / n for band, count in zip(BANDS, within, strict=True)} if n else None,
            "coverage_by_tenor": {
                label: {"n": int(row[0])} | {band: count / row[0] for band, count in zip(BANDS, row[1:], strict=True)}
                for label, row in zip(BUCKETS, self._coverage.tolist(), strict=True)
                if row[0]
            },
            "nis_mean": self._nis_total / self._dof_total if self._dof_total else None,
            "nis_dof": self._dof_total,
            "nis_by_tenor": {
                label: nis / dof for label, (nis, dof) in zip(BUCKETS, self._nis.tolist(), strict=True) if dof
            },
            "log_likelihood": self._log_likelihood / self._quotes if self._quotes else None,
            "smiles_published": self._published,
            "held_ratio": self._states["held"] / self._published if self._published else None,
            "states": dict(self._states),
        }
        return {name: value for name, value in measures.items() if value is not None}
