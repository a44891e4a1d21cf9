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
    return vol_of(svi.slices(x), u, tau, place, k)


def vol_of(sl: svi.Slices, u: Floats, tau: Floats, place: Index, k: Floats) -> Floats:
    """`vol` of prepared slices."""
    z = k / (sl.sigma * np.sqrt(tau))[place]
    root = np.sqrt(np.maximum(svi.omega(sl, place, z), svi.MIN_OMEGA))
    return np.asarray(sl.sigma[place] * np.maximum(root + residual.value_at(u, place, z), LEAST_F))


def vol_and_jacobian(x: Floats, u: Floats, tau: Floats, place: Index, k: Floats) -> tuple[Floats, Floats, Floats]:
    """Vols (N,), their gradient in the state of the slice (N, 5) and in its residual coefficients (N, M)."""
    sl = svi.slices(x)
    z = k / (sl.sigma * np.sqrt(tau))[place]
    phi, phi_z = residual.basis(z)
    own = u.take(place, axis=0)
    f, J = _gradient(
        sl, svi.wing_gradient(sl), place, z, np.einsum("nm,nm->n", phi, own), np.einsum("nm,nm->n", phi_z, own)
    )
    sigma = sl.sigma[place]
    return sigma * f, J.T, sigma[:, None] * phi


def jacobian_at_knots(sl: svi.Slices, wings: Floats, u: Floats) -> Floats:
    """Gradient of the vol at the residual's knots in state and residual coefficients, (S, KNOTS, 5 + M), given the
    slices' `svi.wing_gradient`.
    """
    _, J = _gradient(sl, wings, svi.EACH_ROW, residual.KNOTS, u @ residual.ROOT.T, u @ residual.SLOPE.T)
    gradient = np.empty((len(u), len(residual.KNOTS), svi.DIM + residual.DIM))
    gradient[:, :, : svi.DIM] = J.transpose(1, 2, 0)
    gradient[:, :, svi.DIM :] = sl.sigma[:, None, None] * residual.ROOT
    return gradient


def _gradient(
    sl: svi.Slices, wings: Floats, place: Index | svi.EachRow, z: Floats, rho: Floats, rho_z: Floats
) -> tuple[Floats, Floats]:
    """f, (N,), and the gradient of the vol in the state, (5, N), at `z` (N,) with the residual curve there; or (S, N)
    and (5, S, N), with `svi.EACH_ROW` as the place.
    """
    sigma = sl.sigma[place]
    gradient, omega, omega_z = svi.omega_gradient(sl, wings, place, z)
    root = np.sqrt(np.maximum(omega, svi.MIN_OMEGA))
    f, half = np.maximum(root + rho, LEAST_F), 0.5 / root
    J = np.empty((svi.DIM, *f.shape))
    np.multiply(sigma * half, gradient, out=J[SKEW:])
    J[LEVEL] = sigma * (f - z * (half * omega_z + rho_z))
    return f, J


def normalised(x: Floats, u: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """f and its first two derivatives at normalised moneyness `z` (T, G) of slices `x` (T, 5), `u` (T, M)."""
    sl = svi.slices(x)
    omega, omega1, omega2 = svi.omega_at(sl, svi.EACH_ROW, z)
    root = np.sqrt(np.maximum(omega, svi.MIN_OMEGA))
    first = 0.5 * omega1 / root
    second = (0.5 * omega2 - first * first) / root
    rho, rho1, rho2 = residual.curve(u, z)
    return root + rho, first + rho1, second + rho2
