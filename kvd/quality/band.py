"""How sure a published smile is of itself."""

import numpy as np
from numpy.typing import NDArray

from kvd.core import svi
from kvd.surface import Smile

Floats = NDArray[np.float64]


def vol_sd(smile: Smile, k: Floats) -> Floats:
    """Standard deviation of the vol at log-moneyness `k` (N,), a decimal, by the covariance of the five coordinates."""
    tau = np.array([smile.tau])
    x = svi.from_raw(np.array([smile.raw]), tau)
    _, jacobian = svi.vol_and_jacobian(x, tau, np.zeros(len(k), dtype=np.intp), k)
    return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", jacobian, smile.covariance, jacobian)))
