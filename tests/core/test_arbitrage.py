"""Durrleman's g on Vogt's smile, and the margins against differences and loops that know nothing of arrays."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from kvd.core import arbitrage, smile, svi
from kvd.core.arbitrage import Surface
from kvd.core.residual import DIM as U
from kvd.core.residual import KNOTS
from kvd.core.svi import DIM

VOGT = np.array([-0.0410, 0.1331, 0.3060, 0.3586, 0.4153])  # a, b, rho, m, sigma
SIMPLE_REPAIR = np.array([0.007740912, 0.06924203, -0.3340365, 0.04203375, 0.1186078])
BEST_REPAIR = np.array([-0.03051987, 0.1027168, 0.1007175, 0.272344, 0.4123978])
CENTRE = np.array([np.log(0.6), -0.1, np.log(0.2), 0.5, 0.4])
SD = np.array([0.2, 0.1, 0.4, 0.3, 0.3])

raws = st.tuples(
    st.floats(0.001, 0.1), st.floats(0.01, 0.3), st.floats(-0.9, 0.9), st.floats(-0.3, 0.3), st.floats(0.05, 0.5)
)
grids = st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=9).map(np.array)
seeds = st.integers(0, 2**32 - 1)


def backbone(raw, tau=1.0):
    """The slice of one raw SVI, without a residual."""
    return Surface(svi.from_raw(raw[None], np.array([tau])), np.zeros((1, U)), np.array([tau]))


def knotted(low, high, w0, points):
    """Log-moneynesses, (S, points), from `low` to `high` (S,) each, twice as dense within two standard deviations.

    The points nearest to the residual's knots are put there: f'' has its kinks and its two jumps at them, hence g its
    sharpest minima.
    """
    root = np.sqrt(w0)[:, None]
    a, b = np.arcsinh(low[:, None] / root), np.arcsinh(high[:, None] / root)
    z = np.sinh(a + (b - a) * np.linspace(0.0, 1.0, points))
    nearest = np.rint((np.arcsinh(KNOTS) - a) / (b - a) * (points - 1))
    row, knot = np.nonzero((nearest > 0) & (nearest < points - 1))
    z[row, nearest[row, knot].astype(int)] = KNOTS[knot] * (1 - 1e-9)
    return z * root


def random_surface(seed, slices=3):
    rng = np.random.default_rng(seed)
    tau = np.sort(rng.uniform(1, 200, slices)) / 365
    return Surface(CENTRE + SD * rng.normal(size=(slices, DIM)), rng.normal(size=(slices, U)), tau)


def g_of(raw):
    surface = backbone(raw)

    def g(k):
        return float(arbitrage.butterfly(surface, np.array([[k]]))[0][0, 0])

    return g


def textbook_g(raw, k):
    """Gatheral and Jacquier's equation 2.1 with derivatives taken by mpmath."""
    a, b, rho, m, sigma = map(mpmath.mpf, raw.tolist())
    with mpmath.workdps(30):
        w, w1, w2 = mpmath.taylor(lambda k: a + b * (rho * (k - m) + mpmath.sqrt((k - m) ** 2 + sigma**2)), k, 2)
        w2 *= 2
        return float((1 - k * w1 / (2 * w)) ** 2 - w1**2 / 4 * (1 / w + mpmath.mpf(1) / 4) + w2 / 2)


def w_of(surface, i, k):
    """Total variance of slice i at one k."""
    vol = smile.vol(surface.x, surface.u, surface.tau, np.array([i]), np.array([k]))
    return float(vol[0] ** 2 * surface.tau[i])


def test_vogts_smile_has_butterfly_arbitrage_where_it_is_known_to():
    g = g_of(VOGT)
    lowest = minimize_scalar(g, bounds=(0.5, 1.2), method="bounded", options={"xatol": 1e-10})
    assert lowest.fun == pytest.approx(-0.0328636, abs=5e-8)
    assert lowest.x == pytest.approx(0.87926, abs=5e-6)
    assert brentq(g, 0.5, 0.8) == pytest.approx(0.64241, abs=5e-6)
    assert brentq(g, 1.0, 1.5) == pytest.approx(1.25691, abs=5e-6)

    k = np.linspace(-1.5, 1.5, 3001)[None]
    assert arbitrage.total_variance(backbone(VOGT), k).min() == pytest.approx(0.0116249032, abs=1e-8)
    assert arbitrage.butterfly(backbone(VOGT), k)[0].min() == pytest.approx(-0.0328636, abs=1e-7)
    assert arbitrage.margins(backbone(VOGT), k)[2].shape == (0, 2 * 3001)


def test_its_two_repairs_have_none():
    k = np.linspace(-3, 3, 6001)[None]
    butterfly = [arbitrage.butterfly(backbone(raw), k)[0].min() for raw in (SIMPLE_REPAIR, BEST_REPAIR)]
    assert butterfly[0] > 0.26
    assert butterfly[1] == pytest.approx(0.00812, abs=2e-5)
    assert g_of(BEST_REPAIR)(0.811) == pytest.approx(0.00812, abs=2e-5)


@given(raws, st.floats(-2.0, 2.0))
def test_g_is_the_textbooks(raw, k):
    raw = np.array(raw)
    assert g_of(raw)(k) == pytest.approx(textbook_g(raw, k), rel=1e-8, abs=1e-8)


@given(seeds, st.floats(-6.0, 6.0))
def test_g_of_a_whole_smile_is_the_textbooks_in_k(seed, z):
    """Equation 2.1 on w(k) itself, residual included, by differences; they cross a knot to about a ten-thousandth."""
    surface = random_surface(seed)
    k = z * np.sqrt(surface.w0)
    got, f = arbitrage.butterfly(surface, k[:, None])
    omega = svi.omega_at(svi.slices(surface.x), np.arange(len(k)), np.full(len(k), z))[0]
    for i in np.flatnonzero(omega > 1.1 * svi.MIN_OMEGA):  # on its floor w is flat, whatever g is said to be
        h = 3e-5 * math.sqrt(surface.w0[i])
        down, w, up = (w_of(surface, i, k[i] + step) for step in (-h, 0.0, h))
        w1, w2 = (up - down) / (2 * h), (up - 2 * w + down) / h**2
        g = (1 - k[i] * w1 / (2 * w)) ** 2 - w1**2 / 4 * (1 / w + 0.25) + w2 / 2
        assert got[i, 0] == pytest.approx(g, rel=1e-4, abs=1e-4)
        assert f[i, 0] ** 2 * surface.w0[i] == pytest.approx(w, rel=1e-9)


@given(seeds, grids, st.integers(1, 4))
def test_margins_are_g_and_f_of_each_slice_and_the_gaps_of_each_pair_on_both_its_grids(seed, points, slices):
    surface = random_surface(seed, slices)
    k = points * np.sqrt(surface.w0)[:, None]
    g, f, gap = arbitrage.margins(surface, k)
    for got, expected in zip((g, f), arbitrage.butterfly(surface, k), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert gap.shape == (slices - 1, 2 * len(points))
    for pair in range(slices - 1):
        both = [*k[pair], *k[pair + 1]]
        gaps = [(w_of(surface, pair + 1, at) - w_of(surface, pair, at)) / surface.w0[pair] for at in both]
        np.testing.assert_allclose(gap[pair], gaps, rtol=1e-8, atol=1e-12)


def test_a_grid_spans_its_range_is_finest_at_the_money_and_stands_on_the_knots():
    k = knotted(np.array([-0.5, -3.0]), np.array([0.5, 0.4]), np.array([0.01, 0.04]), 101)
    np.testing.assert_allclose(k[:, [0, -1]], [[-0.5, 0.5], [-3.0, 0.4]], rtol=1e-12)
    assert (np.diff(k) > 0).all()
    steps = np.diff(k[0])
    assert steps[[0, -1]].min() > 2 * np.median(steps[45:55])
    for z, low, high in zip(k / np.array([[0.1], [0.2]]), (-5, -15), (5, 2), strict=True):
        for knot in KNOTS[(low < KNOTS) & (high > KNOTS)]:
            assert np.abs(z - knot).min() < 1e-7


def test_no_minimum_hides_at_a_knot():
    """f'' jumps to zero at the last knots: just inside, g may be below zero where points on either side are not."""
    u = np.zeros((1, U))
    u[0, :4] = 3.0
    surface = Surface(CENTRE[None], u, np.array([0.1]))
    reach = 9 * np.sqrt(surface.w0)
    k = knotted(-reach, reach, surface.w0, 641)
    everywhere = np.linspace(-reach, reach, 20_001).T
    at_knots = (KNOTS * (1 - 1e-9) * np.sqrt(surface.w0))[None]
    dense = min(arbitrage.butterfly(surface, every)[0].min() for every in (everywhere, at_knots))
    assert arbitrage.butterfly(surface, k)[0].min() == pytest.approx(dense, abs=1e-4)
