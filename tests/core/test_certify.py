"""Bounds that hold between the points looked at, against much finer grids and functions whose minimum is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvd.core import arbitrage, certify, svi
from kvd.core.arbitrage import Surface
from kvd.core.residual import DIM as U
from kvd.core.svi import DIM

CENTRE = np.array([np.log(0.6), -0.1, np.log(0.2), 0.5, 0.4])
VOGT = np.array([[-0.0410, 0.1331, 0.3060, 0.3586, 0.4153]])  # a, b, rho, m, sigma, at a year
BEST_REPAIR = np.array([[-0.03051987, 0.1027168, 0.1007175, 0.272344, 0.4123978]])
ALL, NONE = np.arange(1), np.zeros(0, dtype=np.intp)
seeds = st.integers(0, 2**32 - 1)


def drawn(seed, slices, sharp):
    """Random slices; `sharp` is added to ln curvature: at 4, the hyperbola's vertex is narrower than a grid step."""
    rng = np.random.default_rng(seed)
    tau = np.array([1, 3, 12])[:slices] / 365
    x = CENTRE + np.array([0.1, 0.1, 0.4, 0.3, 0.3]) * rng.normal(size=(slices, DIM)) + [0, 0, sharp, 0, 0]
    surface = Surface(x, rng.uniform(0, 1.5) * rng.normal(size=(slices, U)), tau)
    reach = rng.uniform(3, 12, slices) * np.sqrt(surface.w0)
    return surface, -reach, reach


def lone(raw, reach=3.0):
    surface = Surface(svi.from_raw(raw, np.ones(1)), np.zeros((1, U)), np.ones(1))
    return certify.margins(surface, np.array([-reach]), np.array([reach]), ALL, NONE)


def test_vogts_smile_is_found_out_and_its_published_repair_is_certified():
    vogt, repair = lone(VOGT), lone(BEST_REPAIR)
    assert -0.0328637 < vogt.bound[0] < -0.03 and vogt.at[0] == pytest.approx(0.87926, abs=0.1)
    assert 0.5 * 0.00812 < repair.bound[0] <= 0.0081184 and repair.at[0] == pytest.approx(0.811, abs=0.1)


@given(seeds, st.integers(1, 3), st.sampled_from([0.0, 2.0, 4.0]))
@settings(deadline=None, max_examples=100)
def test_nothing_hides_between_the_points(seed, slices, sharp):
    """No margin on forty times as many points is below its bound, and a bound above zero is no idle one."""
    surface, low, high = drawn(seed, slices, sharp)
    pairs = np.arange(slices - 1)
    got = certify.margins(surface, low, high, np.arange(slices), pairs)
    for i in range(slices):
        k = np.linspace(low[i], high[i], 4001)[None]
        g = arbitrage.butterfly(surface.take(np.array([i])), k)[0].min()
        assert got.bound[i] <= g + 1e-9 or g < 0 >= got.bound[i]
        assert got.bound[i] <= 0 or got.bound[i] >= 0.45 * g
    for pair in pairs:
        k = np.linspace(low[pair : pair + 2].min(), high[pair : pair + 2].max(), 4001)[None]
        w = [arbitrage.total_variance(surface.take(np.array([i])), k) for i in (pair, pair + 1)]
        gap = ((w[1] - w[0]) / surface.w0[pair]).min()
        assert got.bound[slices + pair] <= gap + 1e-9 or gap < 0 >= got.bound[slices + pair]


def test_a_dip_between_two_points_is_found():
    """A parabola that is positive at every point first looked at and -1e-3 between two of them."""
    at = 0.3141

    def look(_, k):
        return (k - at) ** 2 * 40 - 1e-3, 80 * np.diff(k, axis=1) ** 2 / 8

    k = np.linspace(0, 1, 11)[None]
    assert look(ALL, k)[0].min() > 0
    got = certify.least(look, k)
    assert got.bound[0] <= 0 and got.at[0] == pytest.approx(at, abs=0.01) and got.points[0] > 11


def test_where_certainty_cannot_be_had_the_bound_says_so():
    got = certify.least(lambda _, k: (np.ones_like(k), np.full((len(k), k.shape[1] - 1), np.inf)), np.arange(4.0)[None])
    assert got.bound[0] == -np.inf
