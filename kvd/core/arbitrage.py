"""Static-arbitrage margins of whole smiles, backbone and residual, in normalised coordinates.

With w(k) = w0 f(z)**2, z = k/sqrt(w0) (`kvd.core.smile`):

* Butterfly: Durrleman's condition (Gatheral & Jacquier 2014, equation 2.1)
  ``(1 - k w'/(2 w))**2 - (w'**2/4) (1/w + 1/4) + w''/2 >= 0`` reads

      g = (1 - z f'/f)**2 + f f'' - w0 (f f')**2 / 4 >= 0

* Calendar: w(k, T2) >= w(k, T1) at equal k for T2 > T1, stated relative to the ATM variance of the earlier slice.
* Wings: the slopes of w are at most 2 (Lee 2004): sqrt(w0) p, sqrt(w0) c <= 2.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import smile
from kvd.core.svi import LEVEL

Floats = NDArray[np.float64]


class Surface(NamedTuple):
    """Slices in ascending expiry: states `x` (S, 5), residual coefficients `u` (S, M), times to expiry `tau` (S,)."""

    x: Floats
    u: Floats
    tau: Floats

    @property
    def w0(self) -> Floats:
        """ATM total variances, (S,)."""
        return np.asarray(np.exp(2 * self.x[:, LEVEL]) * self.tau)

    def take(self, chosen: NDArray[np.intp]) -> "Surface":
        """The slices at `chosen`."""
        return Surface(self.x[chosen], self.u[chosen], self.tau[chosen])


def butterfly(surface: Surface, k: Floats) -> tuple[Floats, Floats]:
    """Durrleman's g and f at log-moneynesses `k` (S, G) of each slice, (S, G) each."""
    w0 = surface.w0[:, None]
    return durrleman(w0, k / np.sqrt(w0), *smile.normalised(surface.x, surface.u, k / np.sqrt(w0)))


def total_variance(surface: Surface, k: Floats) -> Floats:
    """w at log-moneynesses `k` (S, G) of each slice."""
    w0 = surface.w0[:, None]
    f, _, _ = smile.normalised(surface.x, surface.u, k / np.sqrt(w0))
    return np.asarray(w0 * f * f)


def margins(surface: Surface, k: Floats) -> tuple[Floats, Floats, Floats]:
    """g and f of each slice on its grid `k` (S, G), and the calendar gaps of each pair of neighbours, (S - 1, 2G).

    A gap is (w_later - w_earlier)/w0_earlier, on the earlier slice's grid and then on the later's.
    """
    G = k.shape[1]
    beside = np.concatenate((k, np.roll(k, 1, axis=0), np.roll(k, -1, axis=0)), axis=1)  # own, earlier's, later's grid
    w0 = surface.w0[:, None]
    z = beside / np.sqrt(w0)
    f, f1, f2 = smile.normalised(surface.x, surface.u, z)
    g, _ = durrleman(w0, z[:, :G], f[:, :G], f1[:, :G], f2[:, :G])
    w = w0 * f * f
    on_earlier = w[1:, G : 2 * G] - w[:-1, :G]
    on_later = w[1:, :G] - w[:-1, 2 * G :]
    return g, f[:, :G], np.concatenate((on_earlier, on_later), axis=1) / w0[:-1]


def durrleman(w0: Floats, z: Floats, f: Floats, f1: Floats, f2: Floats) -> tuple[Floats, Floats]:
    """g at z of slices with ATM total variances `w0`, from f and its two derivatives there; and f."""
    return (1 - z * f1 / f) ** 2 + f * f2 - 0.25 * w0 * (f * f1) ** 2, f
