"""Static-arbitrage margins of SVI slices.

* Butterfly: Durrleman's condition (Gatheral & Jacquier 2014, equation 2.1), with w the total variance at
log-moneyness k

      g(k) = (1 - k w'/(2 w))**2 - (w'**2 / 4) (1/w + 1/4) + w''/2 >= 0

* Calendar: w(k, T2) >= w(k, T1) at equal k for T2 > T1, stated relative to the ATM variance of the slice that is
judged.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def total_variance(raw: Floats, k: Floats) -> tuple[Floats, Floats, Floats]:
    """w and its first two derivatives in k: raw SVI parameters (S, 5) at log-moneynesses (S, G)."""
    a, b, rho, m, sigma = (column[:, None] for column in raw.T)
    d = k - m
    root = np.sqrt(d * d + sigma * sigma)
    return a + b * (rho * d + root), b * (rho + d / root), b * sigma * sigma / root**3


def durrleman(k: Floats, w: Floats, w1: Floats, w2: Floats) -> Floats:
    """Durrleman's g from total variance and its derivatives, elementwise."""
    return np.asarray((1 - 0.5 * k * w1 / w) ** 2 - 0.25 * w1 * w1 * (1 / w + 0.25) + 0.5 * w2)


def margins(raw: Floats, judged: NDArray[np.intp], k: Floats) -> tuple[Floats, Floats, Floats]:
    """Least w, g and calendar gap, (T,) each, of slices `judged` (T,) over grids `k` (T, G).

    `raw` holds all slices, (S, 5), in ascending expiry. The calendar gap is the least of ``(w_later - w)/w0`` and
    ``(w - w_earlier)/w0`` against the nearest expiries; +inf for a lone slice.
    """
    w, w1, w2 = total_variance(raw[judged], k)
    with np.errstate(divide="ignore", invalid="ignore"):
        g = durrleman(k, w, w1, w2)
    w0 = total_variance(raw[judged], np.zeros((len(judged), 1)))[0]
    last = len(raw) - 1
    later, _, _ = total_variance(raw[np.minimum(judged + 1, last)], k)
    earlier, _, _ = total_variance(raw[np.maximum(judged - 1, 0)], k)
    above = np.where((judged < last)[:, None], later - w, np.inf)
    below = np.where((judged > 0)[:, None], w - earlier, np.inf)
    return w.min(axis=1), g.min(axis=1), (np.minimum(above, below) / w0).min(axis=1)
