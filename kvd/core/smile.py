"""The whole smile of a slice: backbone and residual curve together, in vol, in total variance and in their derivatives.

vol(k) = sigma_atm f(z),   f(z) = sqrt(omega(z)) + sum_j u_j phi_j(z),   w(k) = w0 f(z)**2,   z = k / sqrt(w0)
"""

import numpy as np
from numpy.typing import NDArray

from kvd.core import residual, svi
from kvd.core.svi import LEVEL, SKEW

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LEAST_F = 0.03  # of f: no vol is taken below this part of the ATM vol


def vol(x: Floats, u: Floats, tau: Floats, place: Index, k: Floats) -> Floats:
    """Implied vols at log-moneyness `k` (N,) of slice `place` (N,); states `x` (S, 5), residual coefficients `u` (S,
    M).
    """
    sl = svi.slices(x)
    z = k / (sl.sigma * np.sqrt(tau))[place]
    omega, _, _ = svi.omega_at(sl, place, z)
    rho = np.einsum("nm,nm->n", residual.basis(z)[0], u[place])
    return np.asarray(sl.sigma[place] * np.maximum(np.sqrt(np.maximum(omega, svi.MIN_OMEGA)) + rho, LEAST_F))


def vol_and_jacobian(x: Floats, u: Floats, tau: Floats, place: Index, k: Floats) -> tuple[Floats, Floats, Floats]:
    """Vols (N,), their gradient in the state of the slice (N, 5) and in its residual coefficients (N, M)."""
    sl = svi.slices(x)
    sigma = sl.sigma[place]
    z = k / (sl.sigma * np.sqrt(tau))[place]
    gradient, omega, omega_z = svi.omega_gradient(sl, place, z)
    phi, phi_z = residual.basis(z)
    rho, rho_z = np.einsum("nm,nm->n", phi, u[place]), np.einsum("nm,nm->n", phi_z, u[place])
    root = np.sqrt(np.maximum(omega, svi.MIN_OMEGA))
    f = np.maximum(root + rho, LEAST_F)
    J = np.empty((len(k), svi.DIM))
    J[:, SKEW:] = (0.5 * sigma / root)[:, None] * gradient.T
    J[:, LEVEL] = sigma * (f - z * (0.5 * omega_z / root + rho_z))
    return sigma * f, J, sigma[:, None] * phi


def normalised(x: Floats, u: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """f and its first two derivatives at normalised moneyness `z` (T, G) of slices `x` (T, 5), `u` (T, M)."""
    sl = svi.slices(x)
    place = np.repeat(np.arange(len(x)), z.shape[1])
    omega, omega1, omega2 = (part.reshape(z.shape) for part in svi.omega_at(sl, place, z.ravel()))
    root = np.sqrt(np.maximum(omega, svi.MIN_OMEGA))
    first = 0.5 * omega1 / root
    second = (0.5 * omega2 - first * first) / root
    rho, rho1, rho2 = residual.curve(u, z)
    return root + rho, first + rho1, second + rho2
