"""The forward of one expiry, and what put-call parity says of it.

For a call and a put of one strike K, undiscounted (Stoll 1969):

    linear   C - P = F - K           inverse   C - P = 1 - K/F      (prices in the coin)

so the quotes of a pair bound the forward: bids and asks of the two give the lowest F at which selling the synthetic
forward, and the highest at which buying it, would not pay.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def parity_bounds(strike: Floats, call: Floats, put: Floats, inverse: bool) -> tuple[float, float] | None:
    """The tightest pair's bounds (low, high) on the forward; `call` and `put` hold bids and asks, shape (2, N), NaN
    where absent.

    None where no strike has all four prices. Low may exceed high only if the pair itself is crossed.
    """
    low, high = call[0] - put[1], call[1] - put[0]
    if inverse:
        low, high = strike / (1 - low), strike / (1 - np.minimum(high, 1 - 1e-9))
    else:
        low, high = strike + low, strike + high
    width = np.where(np.isfinite(high - low), high - low, np.inf)
    if not len(width) or not np.isfinite(width).any():
        return None
    tightest = int(np.argmin(width))
    return float(low[tightest]), float(high[tightest])


def deviation(forward: float, bounds: tuple[float, float]) -> float:
    """How far `forward` lies outside the parity bounds, in its own unit; zero inside."""
    low, high = bounds
    return max(low - forward, forward - high, 0.0)
