"""The backbone alone, written down apart from the residual curve: what a smile without one must be."""

import numpy as np

from kvd.core.svi import DIM, LEVEL, MIN_OMEGA, omega_gradient, slices, wing_gradient


def vol_and_jacobian(x, tau, index, k):
    """Implied vols at log-moneyness `k` (N,) of slice `index` (N,), and their gradient in the slice's state, (N, 5)."""
    sl = slices(x)
    sigma = sl.sigma[index]
    z = k / (sl.sigma * np.sqrt(tau))[index]
    gradient, omega, omega_z = omega_gradient(sl, wing_gradient(sl), index, z)
    vol = sigma * np.sqrt(np.maximum(omega, MIN_OMEGA))
    half = 0.5 * sigma * sigma / vol
    jacobian = np.empty((DIM, len(k)))
    jacobian[LEVEL] = vol - half * z * omega_z
    jacobian[1:] = half * gradient
    return vol, jacobian.T
