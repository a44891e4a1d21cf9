"""Smiles as arrays: total variance and its derivatives in log-moneyness, many smiles and many strikes in one pass.

A published smile has ``vol = atm_vol f(z)``, ``z = k / sqrt(w0)``, with f its normalised form (`kvd.core.smile`):

    f(z) = max(sqrt(max(omega(z), MIN_OMEGA)) + rho(z), LEAST_F),   omega(z) = w_svi(k) / w0
    w = w0 f^2,   w' = 2 sqrt(w0) f f',   w'' = 2 (f'^2 + f f'')

where a bound is reached, what it holds is constant. A smile between two expiries is ``w = sum weight_i w_i`` at equal
k.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import residual
from kvd.core.smile import LEAST_F
from kvd.core.svi import MIN_OMEGA

Floats = NDArray[np.float64]
KNOTS = len(residual.KNOTS)
BELOW = np.tril_indices(KNOTS, -1)


class Shapes(NamedTuple):
    """S published smiles: ATM vol and sqrt(w0), raw SVI in units of w0 and z, each (S, 1); the residual as cubics."""

    atm_vol: Floats
    root: Floats
    alpha: Floats
    beta: Floats
    rho: Floats
    mu: Floats
    sigma: Floats
    cubics: Floats

    def take(self, chosen: NDArray[np.intp]) -> "Shapes":
        """The smiles at `chosen`."""
        cubics = self.cubics.reshape(4, len(self.root), -1)[:, chosen].reshape(4, -1)
        atm_vol, root, alpha, beta, rho, mu, sigma = (part[chosen] for part in self[:-1])
        return Shapes(atm_vol, root, alpha, beta, rho, mu, sigma, cubics)

    def normalised(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        """f and its first two derivatives at `z` (S, N), (S, N) each."""
        d = z - self.mu
        far = np.sqrt(d * d + self.sigma * self.sigma)
        omega = self.alpha + self.beta * (self.rho * d + far)
        root = np.sqrt(np.maximum(omega, MIN_OMEGA))
        half = (0.5 * self.beta) * (omega > MIN_OMEGA) / root
        first = half * (self.rho + d / far)
        second = half * (self.sigma / far) ** 2 / far - first * first / root
        curve, curve1, curve2 = residual.evaluated(self.cubics, np.arange(len(z))[:, None], z)
        f = root + curve
        free = f > LEAST_F
        return np.maximum(f, LEAST_F), (first + curve1) * free, (second + curve2) * free


def shapes(atm_vol: Floats, tau: Floats, raw: Floats, rho: Floats) -> Shapes:
    """Of ATM vols and times to expiry (S,), raw SVI (S, 5) and the residual at its knots (S, KNOTS)."""
    root = (atm_vol * np.sqrt(tau))[:, None]
    a, b, svi_rho, m, sigma = raw.T[:, :, None]
    of_residual = residual.cubics(rho)
    return Shapes(atm_vol[:, None], root, a / root**2, b / root, svi_rho, m / root, sigma / root, of_residual)


def blended(weight: Floats, root: Floats, f: Floats, f1: Floats, f2: Floats) -> tuple[Floats, Floats, Floats]:
    """Total variance and its first two derivatives in k, (..., P), of m smiles with sqrt(w0) `root` together, whose
    f and derivatives are (..., m, P).
    """
    w, w1, w2 = (root * f) ** 2, (2 * root) * f * f1, 2 * (f1 * f1 + f * f2)
    return (weight * w).sum(axis=-2), (weight * w1).sum(axis=-2), (weight * w2).sum(axis=-2)


def factors(vol_sd: Floats, vol_root: Floats) -> Floats:
    """Roots of the covariances of the vols at the knots, (S, KNOTS, KNOTS), of what is published of them (S, KNOTS) and
    (S, KNOTS (KNOTS - 1)/2).
    """
    root = np.zeros((len(vol_sd), KNOTS, KNOTS))
    root[:, *BELOW] = vol_root
    np.einsum("sii->si", root)[:] = np.sqrt(np.maximum(1.0 - np.einsum("sij,sij->si", root, root), 0.0))
    return np.asarray(root * vol_sd[:, :, None])


class Values(NamedTuple):
    """What curves come to at some k: total variance and its first two derivatives, (C, P) each; and of the published
    smiles that they consist of z and f, (C m, P) each.
    """

    w: Floats
    w1: Floats
    w2: Floats
    z: Floats
    f: Floats


class Curves(NamedTuple):
    """C smiles, each of them m published ones weighted: times to expiry, forwards and their standard deviations (C,),
    weights (C, m), published smiles (C m,) and the roots of their vols' covariances (C m, KNOTS, KNOTS).
    """

    tau: Floats
    forward: Floats
    forward_sd: Floats
    weight: Floats
    shapes: Shapes
    factor: Floats

    @property
    def level(self) -> Floats:
        """sqrt(w) at the money, (C,)."""
        return np.asarray(np.sqrt((self.weight * self.shapes.root.reshape(self.weight.shape) ** 2).sum(axis=1)))

    def at(self, k: Floats) -> Values:
        """The curves at log-moneyness `k` (C, P)."""
        count, m = self.weight.shape
        root = self.shapes.root
        z = np.repeat(k, m, axis=0) / root
        f, f1, f2 = self.shapes.normalised(z)
        parts = (each.reshape(count, m, -1) for each in (root, f, f1, f2))
        return Values(*blended(self.weight[:, :, None], *parts), z, f)

    def influence(self, at: Values) -> Floats:
        """By how much the vols there move with each standard normal that the smiles are uncertain by, (C, P, m KNOTS):
        the lengths of the rows are the standard deviations of the vols.

        A published vol moves by the spline through what moves it at the knots, and
        ``d vol = sum weight_i tau_i vol_i d vol_i / (tau vol)``.
        """
        count, m = self.weight.shape
        of_published = self.shapes.root**2 / self.shapes.atm_vol * at.f  # tau_i vol_i
        of_curve = np.sqrt(at.w * self.tau[:, None])  # tau vol
        share = self.weight[:, :, None] * of_published.reshape(count, m, -1) / of_curve[:, None]
        rows = (residual.influence(at.z)[0] @ self.factor).reshape(count, m, -1, KNOTS)
        return np.asarray((share[..., None] * rows).swapaxes(1, 2).reshape(count, -1, m * KNOTS))
