"""The backbone of a smile: an SVI slice in five nearly unconstrained coordinates.

With total variance ``w(k)``, ``w0 = w(0) = sigma_atm**2 tau``, ``z = k / sqrt(w0)`` and ``omega(z) = w(k) / w0``, a
slice is

    x = (ln sigma_atm, psi, ln kappa, lambda_p, lambda_c)

psi = omega'(0)/2 is the ATM skew (the K value), kappa = omega''(0) the ATM curvature, and lambda_p, lambda_c the excess
of the wing slopes p, c of omega over the SSVI slice of the same psi and kappa (Gatheral & Jacquier 2014, section 4):

    r = sqrt(psi**2 + kappa/2),   p + 2 psi = (r + psi) exp(lambda_p),   c - 2 psi = (r - psi) exp(lambda_c)

The slice itself, with lean B = (c - p)/2, beta = (p + c)/2 and t = (2 psi - B)/beta in (-1, 1):

    omega(z) = 1 + B z + beta s (sqrt((z/s + y)**2 + 1) - sqrt(1 + y**2))
    y = t/sqrt(1 - t**2),   s = beta (1 - t**2)**1.5/kappa

Arrays carry slices on the first axis (S); points carry an index into it (N). A wing slope is never below `MIN_WING`,
and a vol is never taken of an omega below `MIN_OMEGA`: far from the data the coordinates allow a slice to dip below
zero.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

EachRow = tuple[slice, None]

DIM = 5
LEVEL, SKEW, CURVATURE, PUT_WING, CALL_WING = range(DIM)
MIN_WING = 1e-4
MIN_OMEGA = 1e-3
EACH_ROW: EachRow = (slice(None), None)


class Slices(NamedTuple):
    """Slices made ready for evaluation; every field has shape (S,).

    ``r`` is sqrt(psi**2 + kappa/2), ``put_factor`` and ``call_factor`` exp(lambda), ``left`` and ``right`` the
    unbounded p + 2 psi and c - 2 psi, ``q`` = 1 - t**2.
    """

    sigma: Floats
    psi: Floats
    kappa: Floats
    p: Floats
    c: Floats
    lean: Floats
    beta: Floats
    t: Floats
    y: Floats
    s: Floats
    r: Floats
    put_factor: Floats
    call_factor: Floats
    left: Floats
    right: Floats
    q: Floats


def slices(x: Floats) -> Slices:
    """Prepare the slices of states `x`, shape (S, 5)."""
    sigma, _, kappa, put_factor, call_factor = np.exp(x.T)
    psi = x[:, SKEW]
    twice, half = 2 * psi, 0.5 * kappa
    r = np.sqrt(psi * psi + half)
    far = r + np.abs(psi)
    rise = np.where(psi > 0, far, half / far)  # r + psi without cancellation; r - psi is half over that
    left, right = rise * put_factor, half / rise * call_factor
    p, c = np.maximum(left - twice, MIN_WING), np.maximum(right + twice, MIN_WING)
    beta, lean = 0.5 * (p + c), 0.5 * (c - p)
    t = (twice - lean) / beta
    q = (c - twice) * (p + twice) / (beta * beta)  # 1 - t**2 without cancellation
    root = np.sqrt(q)
    y, s = t / root, beta * q * root / kappa
    return Slices(sigma, psi, kappa, p, c, lean, beta, t, y, s, r, put_factor, call_factor, left, right, q)


def wing_gradient(sl: Slices) -> Floats:
    """Derivatives of the wing slopes p and c in (psi, ln kappa, lambda_p, lambda_c), (2, 4, S); none at the bound."""
    d = np.zeros((2, 4, len(sl.psi)))
    dp, dc = d
    bend = 0.25 * sl.kappa / sl.r
    dp[0], dc[0] = sl.left / sl.r - 2, 2 - sl.right / sl.r
    dp[1], dc[1] = bend * sl.put_factor, bend * sl.call_factor
    dp[2], dc[3] = sl.left, sl.right
    if (np.minimum(sl.p, sl.c) <= MIN_WING).any():
        dp *= sl.p > MIN_WING
        dc *= sl.c > MIN_WING
    return d


def _hyperbola(sl: Slices, index: Index | EachRow, z: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """At each z: z/s, d = z/s + y brought to sqrt(d**2 + 1), its slope there, and its rise over that at z = 0."""
    y = sl.y[index]
    scaled = z / sl.s[index]
    d = scaled + y
    root = np.sqrt(d * d + 1)
    # sqrt(d^2+1) - sqrt(y^2+1) as a quotient: no cancellation near the money
    return scaled, root, d / root, scaled * (d + y) / (root + np.sqrt(y * y + 1))


def omega_gradient(sl: Slices, wings: Floats, index: Index | EachRow, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Gradient of omega in (psi, ln kappa, lambda_p, lambda_c), (4, N), omega and omega', (N,), at `z` (N,), given the
    slices' `wing_gradient`; or (4, S, N) and (S, N) at the same z of every slice, with `EACH_ROW` as the index.

    With rho(z) the fraction in omega, its slope rho' and h = 1/(2 beta), the chain rule from (p, c, psi, ln kappa) is

        d omega = z dB + beta s (rho (d ln beta + d ln s) - (z/s) rho' d ln s) + beta s (rho' - t) (1 - t**2)**-1.5 dt
        dB = (dc - dp)/2,   d ln beta = h (dp + dc)
        d ln s = d ln beta - 3 t/(1 - t**2) dt - d ln kappa,   dt = -2 h dB - t d ln beta + 4 h d psi
    """
    scaled, _, slope, rise = _hyperbola(sl, index, z)
    size = sl.beta * sl.s
    t, h, of_y = sl.t[index], (0.5 / sl.beta)[index], (size / (sl.q * np.sqrt(sl.q)))[index]
    size, steep = size[index], (3 * sl.t / sl.q)[index]
    risen = size * rise
    of_s = risen - size * slope * scaled
    of_t = of_y * (slope - t) - steep * of_s
    turned = h * of_t
    apart, together = 0.5 * z - turned, h * (risen + of_s) - t * turned  # what (dc - dp) and (dc + dp) bring
    dp, dc = wings[:, :, :, None] if isinstance(index, tuple) else wings.take(index, axis=2)
    gradient = dp * (together - apart) + dc * (together + apart)
    gradient[0] += 4 * turned
    gradient[1] -= of_s
    lean = sl.lean[index]
    return gradient, 1 + lean * z + risen, lean + sl.beta[index] * slope


def vol(x: Floats, tau: Floats, index: Index, k: Floats) -> Floats:
    """Implied vols at log-moneyness `k` (N,) of slice `index` (N,)."""
    sl = slices(x)
    sigma = sl.sigma[index]
    at = omega(sl, index, k / (sigma * np.sqrt(tau)[index]))
    return np.asarray(sigma * np.sqrt(np.maximum(at, MIN_OMEGA)))


def omega(sl: Slices, index: Index, z: Floats) -> Floats:
    """omega alone, as of `omega_at`."""
    return np.asarray(1 + sl.lean[index] * z + (sl.beta * sl.s)[index] * _hyperbola(sl, index, z)[3])


def omega_at(sl: Slices, index: Index | EachRow, z: Floats) -> tuple[Floats, Floats, Floats]:
    """omega(z) and its first two derivatives at normalised moneyness `z` (N,) of slice `index` (N,); or at z (S, N), a
    row for each slice, with `EACH_ROW` as the index.
    """
    _, root, slope, rise = _hyperbola(sl, index, z)
    beta, s, lean = sl.beta[index], sl.s[index], sl.lean[index]
    return 1 + lean * z + beta * s * rise, lean + beta * slope, beta / s / (root * root * root)


def to_raw(x: Floats, tau: Floats) -> Floats:
    """Raw SVI ``(a, b, rho, m, sigma)``, shape (S, 5), of states `x` (S, 5) at times to expiry `tau` (S,)."""
    return raw(slices(x), tau)


def raw(sl: Slices, tau: Floats) -> Floats:
    """Raw SVI, (S, 5), of prepared slices."""
    w0 = sl.sigma**2 * tau
    root = np.sqrt(w0)
    rho, mu = sl.lean / sl.beta, -sl.y * sl.s
    alpha = 1 + sl.lean * mu - sl.beta * sl.s * np.sqrt(1 + sl.y**2)
    return np.array((alpha * w0, sl.beta * root, rho, mu * root, sl.s * root)).T


def from_raw(raw: Floats, tau: Floats) -> Floats:
    """States, shape (S, 5), of raw SVI slices `raw` (S, 5); the inverse of `to_raw` where both wings rise."""
    a, b, rho, m, sigma = raw.T
    h = np.sqrt(m * m + sigma * sigma)
    w0 = a + b * (h - rho * m)
    root = np.sqrt(w0)
    psi, kappa = 0.5 * b * (rho - m / h) / root, b * sigma**2 / h**3
    r = np.sqrt(psi * psi + 0.5 * kappa)
    near, far = 0.5 * kappa / (r + np.abs(psi)), r + np.abs(psi)
    c0, p0 = np.where(psi > 0, far, near), np.where(psi > 0, near, far)
    # p + 2 psi = b (1 - m/h)/sqrt(w0) and c - 2 psi = b (1 + m/h)/sqrt(w0)
    left = b * np.where(m > 0, sigma**2 / (h * (h + m)), 1 - m / h) / root
    right = b * np.where(m < 0, sigma**2 / (h * (h - m)), 1 + m / h) / root
    return np.stack((0.5 * np.log(w0 / tau), psi, np.log(kappa), np.log(left / c0), np.log(right / p0)), axis=-1)


def jump_wings(sl: Slices, raw: Floats, tau: Floats) -> Floats:
    """SVI-JW ``(v, psi, p, c, v_min)``, shape (S, 5), of slices and their `raw` form (Gatheral & Jacquier 2014,
    equation 3.5).
    """
    a, b, rho, _, sigma = raw.T
    return np.array((sl.sigma**2, sl.psi, sl.p, sl.c, (a + b * sigma * np.sqrt(1 - rho * rho)) / tau)).T


def parameters_and_jacobian(sl: Slices, wings: Floats) -> tuple[Floats, Floats]:
    """A trader's five numbers (ATM vol, skew, curvature, both wings), (S, 5), and their gradient in x, (S, 5, 5), given
    the slices' `wing_gradient`.
    """
    values = np.array((sl.sigma, sl.psi, sl.kappa, sl.p, sl.c)).T
    gradient = np.zeros((len(sl.psi), DIM, DIM))
    gradient[:, LEVEL, LEVEL], gradient[:, SKEW, SKEW], gradient[:, CURVATURE, CURVATURE] = sl.sigma, 1.0, sl.kappa
    gradient[:, PUT_WING:, 1:] = wings.transpose(2, 0, 1)
    return values, gradient
