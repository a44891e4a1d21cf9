"""Durrleman's g on Vogt's smile, and the margins against loops that know nothing of arrays."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from kvd.core import arbitrage

VOGT = np.array([-0.0410, 0.1331, 0.3060, 0.3586, 0.4153])  # a, b, rho, m, sigma
SIMPLE_REPAIR = np.array([0.007740912, 0.06924203, -0.3340365, 0.04203375, 0.1186078])
BEST_REPAIR = np.array([-0.03051987, 0.1027168, 0.1007175, 0.272344, 0.4123978])

raws = st.tuples(
    st.floats(0.001, 0.1), st.floats(0.01, 0.3), st.floats(-0.9, 0.9), st.floats(-0.3, 0.3), st.floats(0.05, 0.5)
)
surfaces = st.lists(raws, min_size=1, max_size=5).map(np.array)
grids = st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=9).map(np.array)


def g_of(raw):
    def g(k):
        return float(arbitrage.durrleman(*(np.ravel(y) for y in (k, *total_variance(raw, k))))[0])

    return g


def total_variance(raw, k):
    return arbitrage.total_variance(raw[None], np.atleast_2d(k))


def w_of(raw, k):
    a, b, rho, m, sigma = raw
    return a + b * (rho * (k - m) + math.sqrt((k - m) ** 2 + sigma**2))


def textbook_g(raw, k):
    """Gatheral and Jacquier's equation 2.1 with derivatives taken by mpmath."""
    a, b, rho, m, sigma = map(mpmath.mpf, raw.tolist())
    with mpmath.workdps(30):
        w, w1, w2 = mpmath.taylor(lambda k: a + b * (rho * (k - m) + mpmath.sqrt((k - m) ** 2 + sigma**2)), k, 2)
        w2 *= 2
        return float((1 - k * w1 / (2 * w)) ** 2 - w1**2 / 4 * (1 / w + mpmath.mpf(1) / 4) + w2 / 2)


def test_vogts_smile_has_butterfly_arbitrage_where_it_is_known_to():
    g = g_of(VOGT)
    lowest = minimize_scalar(g, bounds=(0.5, 1.2), method="bounded", options={"xatol": 1e-10})
    assert lowest.fun == pytest.approx(-0.0328636, abs=5e-8)
    assert lowest.x == pytest.approx(0.87926, abs=5e-6)
    assert brentq(g, 0.5, 0.8) == pytest.approx(0.64241, abs=5e-6)
    assert brentq(g, 1.0, 1.5) == pytest.approx(1.25691, abs=5e-6)

    k = np.linspace(-1.5, 1.5, 3001)
    w, butterfly, calendar = arbitrage.margins(VOGT[None], np.zeros(1, dtype=np.intp), k[None])
    assert w[0] == pytest.approx(0.0116249032, abs=1e-8)
    assert butterfly[0] == pytest.approx(-0.0328636, abs=1e-7)
    assert calendar[0] == math.inf


def test_its_two_repairs_have_none():
    k = np.linspace(-3, 3, 6001)
    raw = np.stack((SIMPLE_REPAIR, BEST_REPAIR))
    butterfly = [arbitrage.margins(r[None], np.zeros(1, dtype=np.intp), k[None])[1][0] for r in raw]
    assert butterfly[0] > 0.26
    assert butterfly[1] == pytest.approx(0.00812, abs=2e-5)
    assert g_of(BEST_REPAIR)(0.811) == pytest.approx(0.00812, abs=2e-5)


@given(raws, st.floats(-2.0, 2.0))
def test_g_is_the_textbooks(raw, k):
    raw = np.array(raw)
    assert g_of(raw)(k) == pytest.approx(textbook_g(raw, k), rel=1e-9, abs=1e-9)


@given(surfaces, grids, st.data())
def test_margins_are_the_least_over_grid_and_neighbours(raw, k, data):
    judged = data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, unique=True).map(sorted))
    got = arbitrage.margins(raw, np.array(judged, dtype=np.intp), np.tile(k, (len(judged), 1)))
    for n, i in enumerate(judged):
        w0 = w_of(raw[i], 0.0)
        gaps = [(w_of(raw[i + 1], p) - w_of(raw[i], p)) / w0 for p in k if i + 1 < len(raw)]
        gaps += [(w_of(raw[i], p) - w_of(raw[i - 1], p)) / w0 for p in k if i > 0]
        expected = min(w_of(raw[i], p) for p in k), min(g_of(raw[i])(p) for p in k), min(gaps, default=math.inf)
        assert [column[n] for column in got] == pytest.approx(expected, rel=1e-10, abs=1e-12)
