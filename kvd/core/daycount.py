"""Instants to year fractions: ACT/365 in seconds, the convention of every published tau and vol."""

import numpy as np
from numpy.typing import NDArray

YEAR_US = 365 * 86_400 * 1_000_000


def year_fraction(from_us: int, to_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Years from one instant to each of `to_us`; instants in microseconds since the epoch."""
    return (to_us - from_us) / YEAR_US
