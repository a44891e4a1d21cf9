"""Value and greeks of an option on a smile, by Black-76 in forward space (`kvd.core.black`), undiscounted.

Black's greeks hold the vol of the strike. Smile-adjusted ones are total derivatives of V(F, vol(F, eta)) while the
whole smile moves: it keeps its shape f in normalised moneyness, and its ATM vol a follows the forward with elasticity e
and is lifted by eta,

    vol = a f(z),   z = ln(K/F) / (a sqrt(tau)),   a = (a0 + eta) (F/F0)^e,   e = SSR psi / sqrt(w0)

SSR being the skew stickiness ratio (Bergomi 2009): 0 leaves the smile where it is in moneyness, 1 in strike to first
order. With s, s', s'' for the vol and its derivatives in k = ln(K/F) at the strike, and L = ln F,

    vol_a = (s - k s') / a,   vol_ka = -k s'' / a,   vol_aa = k^2 s'' / a^2
    vol_L = e a vol_a - s',   vol_LL = s'' - 2 e a vol_ka + (e a)^2 vol_aa + e^2 a vol_a
    vol_eta = vol_a,   vol_L,eta = e vol_a + e a vol_aa - vol_ka,   vol_eta,eta = vol_aa
    vol_F = vol_L / F,   vol_FF = (vol_LL - vol_L) / F^2,   vol_F,eta = vol_L,eta / F,   vol_tau = -k s' / (2 tau)

    delta  V_F + V_vol vol_F
    gamma  V_FF + 2 V_F,vol vol_F + V_vol,vol vol_F^2 + V_vol vol_FF
    vega   V_vol vol_eta                     vanna  (V_F,vol + V_vol,vol vol_F) vol_eta + V_vol vol_F,eta
    theta  -(V_tau + V_vol vol_tau)          volga  V_vol,vol vol_eta^2 + V_vol vol_eta,eta

In the quote currency these are the greeks. An inverse contract is worth v = V/F in coin; with D = F v_F its greeks are

    delta  D = V_F - V/F, premium-adjusted     gamma  D_F = V_FF - D/F     vanna  D_eta = V_F,eta - V_eta/F

and vega, theta and volga those of V, divided by F.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import black, residual
from kvd.core.smile import LEAST_F
from kvd.quotes import OptionType
from kvd.surface.curves import Curves, blended

Floats = NDArray[np.float64]

Convention = Literal["quote", "coin"]
"""What a value is counted in: the quote currency (a linear contract), or the coin (an inverse one)."""

SIGN = {"call": 1.0, "put": -1.0}
POINT, DAYS = 0.01, 365.0  # of vol, and in a year


class Greeks(NamedTuple):
    """Value and greeks per unit of underlying, each an array of the strikes' shape, each with its standard deviation.

    ``vega`` and ``vanna`` are per vol point, ``volga`` per vol point squared, ``theta`` per calendar day.
    """

    price: Floats
    price_sd: Floats
    delta: Floats
    delta_sd: Floats
    gamma: Floats
    gamma_sd: Floats
    vega: Floats
    vega_sd: Floats
    theta: Floats
    theta_sd: Floats
    vanna: Floats
    vanna_sd: Floats
    volga: Floats
    volga_sd: Floats


class Stickiness(NamedTuple):
    """The skew stickiness ratio by which a smile moves along, and how far it is known."""

    ssr: float
    sd: float = 0.0


class _Smiles(NamedTuple):
    """A smile in E scenarios: forward, stickiness, ATM vol and its slope in k, (E, 1) each, k, and the vols there with
    their first two derivatives in k, (E, N) each.
    """

    forward: Floats
    ssr: Floats
    atm_vol: Floats
    atm_slope: Floats
    k: Floats
    vol: Floats
    vol_k: Floats
    vol_kk: Floats


class _Total(NamedTuple):
    """V and its total derivatives in F, eta and t, (E, N) each."""

    value: Floats
    f: Floats
    ff: Floats
    eta: Floats
    t: Floats
    f_eta: Floats
    eta_eta: Floats


def greeks(
    curve: Curves, strike: Floats, option_type: OptionType, convention: Convention, along: Stickiness | None
) -> Greeks:
    """On one curve, at strikes of any shape; the smile moves `along`, or the vol of the strike is held (None).

    Standard deviations are those of what each uncertainty does by one standard deviation up and down: each column of
    the vols' root at the knots through the same spline, the forward with the smile held in moneyness, and the
    stickiness.
    """
    tau = float(curve.tau[0])
    smiles = _scenarios(curve, strike.reshape(-1), along or Stickiness(0.0))
    partial = black.partials(smiles.forward, strike.reshape(-1), np.array(tau), smiles.vol, np.array(SIGN[option_type]))
    total = _held(partial) if along is None else _moving(partial, smiles, tau)
    columns = []
    for numbers in _counted(total, smiles.forward, convention):
        up, down = np.split(numbers[1:], 2)
        columns += [numbers[0], np.sqrt(((up - down) ** 2).sum(axis=0)) / 2]
    return Greeks(*(column.reshape(strike.shape) for column in columns))


def _scenarios(curve: Curves, strike: Floats, along: Stickiness) -> _Smiles:
    """As it is; each uncertainty a standard deviation up; each down."""
    shapes, tau, forward, sd = curve.shapes, curve.tau[0], curve.forward[0], curve.forward_sd[0]
    count = curve.factor.shape[0] * curve.factor.shape[2]
    last = np.eye(count + 2)[:, -2:]  # the forward, and the stickiness
    shift = np.concatenate((np.zeros((1, 2)), last, -last))[:, :, None]
    forwards, ssr = forward + sd * shift[:, 0], along.ssr + along.sd * shift[:, 1]
    k = np.log(strike / forwards)
    f = _normalised(curve, k[0]) + _bumps(curve, k[0])
    for row in (count + 1, 2 * count + 3):
        f[row] = _normalised(curve, k[row])
    f[:, :, 0] = np.maximum(f[:, :, 0], LEAST_F)
    w, w1, w2 = blended(curve.weight[0][:, None], shapes.root, *f.transpose(2, 0, 1, 3))
    vol = np.sqrt(w / tau)
    vol_k = w1 / (2 * tau * vol)
    vol_kk = (w2 / (2 * tau) - vol_k * vol_k) / vol
    return _Smiles(forwards, ssr, vol[:, -1:], vol_k[:, -1:], k, vol[:, :-1], vol_k[:, :-1], vol_kk[:, :-1])


def _normalised(curve: Curves, k: Floats) -> Floats:
    """f and its derivatives of the published smiles at `k` (N,) and at the money, (m, 3, N + 1)."""
    return np.stack(curve.shapes.normalised(np.append(k, 0.0) / curve.shapes.root), axis=1)


def _bumps(curve: Curves, k: Floats) -> Floats:
    """What each scenario adds to them, (E, m, 3, N + 1)."""
    m, knots = curve.factor.shape[:2]
    rows = np.stack(residual.influence(np.append(k, 0.0) / curve.shapes.root)) @ curve.factor
    rows = (rows / curve.shapes.atm_vol[:, :, None]).transpose(1, 3, 0, 2)
    bumps = np.zeros((2 * m * knots + 5, m, *rows.shape[2:]))
    for i in range(m):
        up = 1 + i * knots
        down = up + m * knots + 2
        bumps[up : up + knots, i], bumps[down : down + knots, i] = rows[i], -rows[i]
    return bumps


def _held(p: black.Partials) -> _Total:
    return _Total(p.value, p.by_forward, p.by_forward2, p.by_vol, -p.by_tau, p.by_forward_vol, p.by_vol2)


def _moving(p: black.Partials, s: _Smiles, tau: float) -> _Total:
    """By the chain rule, the module's equations in their order."""
    e = s.ssr * s.atm_slope / s.atm_vol
    by_a, by_ka, by_aa = (
        (s.vol - s.k * s.vol_k) / s.atm_vol,
        -s.k * s.vol_kk / s.atm_vol,
        s.k**2 * s.vol_kk / s.atm_vol**2,
    )
    ea = e * s.atm_vol
    by_L, by_LL = ea * by_a - s.vol_k, s.vol_kk - 2 * ea * by_ka + ea**2 * by_aa + e * ea * by_a
    by_F, by_FF = by_L / s.forward, (by_LL - by_L) / s.forward**2
    by_F_eta, by_tau = (e * by_a + ea * by_aa - by_ka) / s.forward, -s.k * s.vol_k / (2 * tau)
    turned = p.by_forward_vol + p.by_vol2 * by_F
    return _Total(
        value=p.value,
        f=p.by_forward + p.by_vol * by_F,
        ff=p.by_forward2 + (p.by_forward_vol + turned) * by_F + p.by_vol * by_FF,
        eta=p.by_vol * by_a,
        t=-(p.by_tau + p.by_vol * by_tau),
        f_eta=turned * by_a + p.by_vol * by_F_eta,
        eta_eta=p.by_vol2 * by_a**2 + p.by_vol * by_aa,
    )


def _counted(total: _Total, forward: Floats, convention: Convention) -> tuple[Floats, ...]:
    """The greeks as `Greeks` names them, (E, N) each."""
    price, delta, gamma, vega, theta, vanna, volga = total
    if convention == "coin":
        price, vega, theta, volga = price / forward, vega / forward, theta / forward, volga / forward
        delta, vanna = delta - price, vanna - vega
        gamma = gamma - delta / forward
    return price, delta, gamma, vega * POINT, theta / DAYS, vanna * POINT, volga * POINT**2
