"""Sums over quotes, from which shares, errors and their standard errors come."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvd.quality.counted import Counts

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

BUCKETS = ("under 1 day", "1 to 7 days", "7 to 30 days", "30 to 90 days", "over 90 days")
BLOCK_US = 1_800_000_000


class Tally:
    """How many quotes there were, how many enclosed a contender's vol, and its errors to their mids: by tenor bucket
    and by half hour of the tape.
    """

    def __init__(self) -> None:
        self._sums: dict[int, Floats] = {}  # by half hour: (bucket, n | inside | squared error)
        self._errors: list[tuple[Index, Floats]] = []

    def add(self, model: Floats, quotes: Counts, chosen: NDArray[np.bool_], at_us: int) -> None:
        """Count the `chosen` of `quotes` for which `model` has a vol, (N,) each, at an instant of the tape."""
        known = chosen & np.isfinite(model)
        if not known.any():
            return
        vol, bid, ask, bucket = model[known], quotes.bid_vol[known], quotes.ask_vol[known], quotes.bucket[known]
        error = vol - 0.5 * (bid + ask)
        sums = self._sums.setdefault(at_us // BLOCK_US, np.zeros((len(BUCKETS), 3)))
        np.add.at(sums, bucket, np.stack((np.ones(len(vol)), (bid <= vol) & (vol <= ask), error * error), axis=1))
        self._errors.append((bucket, np.abs(error)))

    @property
    def n(self) -> int:
        """Number of quotes."""
        return int(self._total()[0])

    @property
    def inside_ratio(self) -> float | None:
        """Share of quotes with bid <= model <= ask."""
        n, inside, _ = self._total()
        return float(inside / n) if n else None

    @property
    def rmse_vol(self) -> float | None:
        """Root mean square of model minus mid, a decimal vol."""
        n, _, squares = self._total()
        return math.sqrt(squares / n) if n else None

    def measures(self, prefix: str = "", bucket: int | None = None) -> dict[str, Any]:
        """``inside``, its standard error, ``rmse``, ``median`` and ``n``, of one bucket or of all; nothing of nothing.

        Quotes of one instrument err alike for long, so the standard error is that of a ratio of sums over half hours.
        """
        sums = np.array([self._of(block, bucket) for block in self._sums.values()]).reshape(-1, 3)
        n, inside, squares = sums.sum(axis=0).tolist()
        if not n:
            return {}
        share = inside / n
        se = math.sqrt(float(np.sum((sums[:, 1] - share * sums[:, 0]) ** 2))) / n
        errors = np.concatenate([e if bucket is None else e[b == bucket] for b, e in self._errors])
        found = {
            "inside": share,
            "inside_se": se,
            "rmse": math.sqrt(squares / n),
            "median": float(np.median(errors)),
            "n": int(n),
        }
        return {prefix + name: value for name, value in found.items()}

    def _total(self) -> Floats:
        return np.asarray(sum((self._of(block, None) for block in self._sums.values()), start=np.zeros(3)))

    @staticmethod
    def _of(block: Floats, bucket: int | None) -> Floats:
        return np.asarray(block.sum(axis=0) if bucket is None else block[bucket])
