"""Black-76 in forward space, undiscounted, vectorised: price, implied vol, vega and the other derivatives.

With total standard deviation ``s = vol sqrt(tau)``, ``d1 = ln(F/K)/s + s/2`` and ``d2 = d1 - s`` (Black 1976):

    price = sign (F N(sign d1) - K N(sign d2)),   sign = +1 for a call, -1 for a put

and with n the normal density, F n(d1) = K n(d2), its derivatives (Haug 2007, chapter 2, without discounting):

    by F     sign N(sign d1)        by vol     F n(d1) sqrt(tau)          by tau   F n(d1) vol/(2 sqrt(tau))
    by F^2   n(d1)/(F s)            by vol^2   F n(d1) sqrt(tau) d1 d2/vol
    by F vol -n(d1) d2/vol

Prices and vegas are per unit of underlying in the quote currency; divide by the forward for an inverse (coin) price.
"""

from typing import NamedTuple

import numpy as np
from lbriv import implied_vol as _lets_be_rational
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

ROOT_2PI = np.sqrt(2 * np.pi)


class Partials(NamedTuple):
    """The undiscounted value of an option and its partial derivatives, per 1.0 of vol and per year."""

    value: Floats
    by_forward: Floats
    by_forward2: Floats
    by_vol: Floats
    by_forward_vol: Floats
    by_vol2: Floats
    by_tau: Floats


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
    return np.asarray(forward * root * density(d1))


def partials(forward: Floats, strike: Floats, tau: Floats, vol: Floats, sign: Floats) -> Partials:
    """Value and derivatives at vols above zero; any broadcastable shapes."""
    root = np.sqrt(tau)
    s = vol * root
    d1 = np.log(forward / strike) / s + 0.5 * s
    d2 = d1 - s
    n = density(d1)
    by_vol = forward * n * root
    return Partials(
        value=price(forward, strike, s, sign),
        by_forward=sign * ndtr(sign * d1),
        by_forward2=n / (forward * s),
        by_vol=by_vol,
        by_forward_vol=-n * d2 / vol,
        by_vol2=by_vol * d1 * d2 / vol,
        by_tau=by_vol * vol / (2 * tau),
    )


def density(d: Floats) -> Floats:
    """The standard normal density."""
    return np.asarray(np.exp(-0.5 * d * d) / ROOT_2PI)


def quantile(p: Floats) -> Floats:
    """Where the standard normal distribution function is `p`; NaN where it is nowhere."""
    return np.asarray(ndtri(p))


_invert = np.frompyfunc(_lets_be_rational, 4, 1)


def implied_vol(value: Floats, forward: Floats, strike: Floats, tau: Floats, sign: Floats) -> Floats:
    """Vol at which Black-76 gives `value`, elementwise; NaN where no vol does (at or below intrinsic, above the bound).

    Jaeckel (2015), Let's be rational, as implemented by lbriv.
    """
    with np.errstate(invalid="ignore"):
        total_sd = _invert(value, forward, strike, sign).astype(np.float64)
        return np.where((total_sd > 0) & np.isfinite(total_sd), total_sd / np.sqrt(tau), np.nan)
