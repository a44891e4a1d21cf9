"""Black-76 in forward space, undiscounted, vectorised: price, implied vol, vega.

With total standard deviation ``s = vol sqrt(tau)``, ``d1 = ln(F/K)/s + s/2`` and ``d2 = d1 - s`` (Black 1976):

    price = sign (F N(sign d1) - K N(sign d2)),   sign = +1 for a call, -1 for a put

Prices and vegas are per unit of underlying in the quote currency; divide by the forward for an inverse (coin) price.
"""

import numpy as np
from lbriv import implied_vol as _lets_be_rational
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]


def price(forward: Floats, strike: Floats, total_sd: Floats, sign: Floats) -> Floats:
    """Undiscounted option value; the arguments broadcast. A total_sd of zero gives the intrinsic value."""
    forward, strike, total_sd, sign = np.broadcast_arrays(forward, strike, total_sd, sign)
    with np.errstate(divide="ignore", invalid="ignore"):
        d1 = np.log(forward / strike) / total_sd + 0.5 * total_sd
        value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - total_sd)))
    return np.where(total_sd > 0, value, np.maximum(sign * (forward - strike), 0.0))


def vega(forward: Floats, strike: Floats, tau: Floats, vol: Floats) -> Floats:
    """Derivative of the undiscounted price with respect to vol (per 1.0 of vol), any broadcastable shapes."""
    root = np.sqrt(tau)
    d1 = np.log(forward / strike) / (vol * root) + 0.5 * vol * root
    return np.asarray(forward * root * np.exp(-0.5 * d1 * d1) / np.sqrt(2 * np.pi))


_invert = np.frompyfunc(_lets_be_rational, 4, 1)


def implied_vol(value: Floats, forward: Floats, strike: Floats, tau: Floats, sign: Floats) -> Floats:
    """Vol at which Black-76 gives `value`, elementwise; NaN where no vol does (at or below intrinsic, above the bound).

    Jaeckel (2015), Let's be rational, as implemented by lbriv.
    """
    with np.errstate(invalid="ignore"):
        total_sd = _invert(value, forward, strike, sign).astype(np.float64)
        return np.where((total_sd > 0) & np.isfinite(total_sd), total_sd / np.sqrt(tau), np.nan)
