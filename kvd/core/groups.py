"""Runs of equal keys in sorted arrays, for a fraction of what np.unique costs on a handful of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def begins(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a run of equal keys begins, (N,), among sorted `keys` (N,)."""
    first = np.empty(len(keys), dtype=np.bool_)
    first[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return first
