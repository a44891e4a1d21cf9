"""The variance index against numerical replication of the strip."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from drawn_smiles import drawn, perturbed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from smiles import DAY, NOON

from kvd.core import black
from kvd.surface import RESIDUAL_KNOTS, RawSvi, Surface

seeds, days = st.integers(0, 10**6), st.sampled_from([1.0, 7.0, 30.0, 180.0])


def alone(s):
    return Surface("deribit", "BTC", (s,))


def replicated(s):
    """2/tau times the integral of OTM values over strikes, each divided by its square: a variance a year."""
    F, root = s.forward.value, s.parameters.atm_vol * s.tau**0.5

    def integrand(strike):
        value = black.price(F, strike, s.vol(strike) * s.tau**0.5, 1.0 if strike > F else -1.0)
        return float(value) / strike**2

    edges = F * np.exp(root * np.array([-60, -25, -12, *RESIDUAL_KNOTS, 12, 25, 60]))
    parts = [quad(integrand, low, high, epsabs=1e-12 / F, epsrel=1e-10, limit=200)[0] for low, high in pairwise(edges)]
    return 2 / s.tau * sum(parts)


@settings(max_examples=15, deadline=None)
@given(seeds, days)
def test_the_index_of_a_listed_expiry_is_its_strip(seed, days):
    s = drawn(seed, days)
    index = alone(s).variance_index(days)
    assert index.variance == pytest.approx(replicated(s), rel=1e-6)
    assert index.vol == pytest.approx(index.variance**0.5, rel=1e-15)
    assert index.vol_sd == pytest.approx(index.variance_sd / (2 * index.vol), rel=1e-12)


def test_the_strip_in_thirty_digits():
    """Raw SVI alone, with mpmath's own normal distribution and quadrature."""
    s = drawn(7)._replace(residual=(0.0,) * len(RESIDUAL_KNOTS))
    with mpmath.workdps(30):
        a, b, rho, m, sigma = map(mpmath.mpf, s.raw)

        def integrand(k):
            v = mpmath.sqrt(a + b * (rho * (k - m) + mpmath.sqrt((k - m) ** 2 + sigma**2)))
            d1 = -k / v + v / 2
            sign = 1 if k > 0 else -1
            return sign * (mpmath.exp(-k) * mpmath.ncdf(sign * d1) - mpmath.ncdf(sign * (d1 - v)))

        root = s.parameters.atm_vol * s.tau**0.5
        edges = [root * z for z in (-60, -20, -8, -3, -1, 0, 1, 3, 8, 20, 60)]
        expected = float(2 / mpmath.mpf(s.tau) * mpmath.quad(integrand, edges))
    assert alone(s).variance_index(30).variance == pytest.approx(expected, rel=1e-8)


@given(st.floats(0.05, 3.0), days)
def test_the_index_of_a_flat_smile_is_its_vol(vol, days):
    s = drawn(0, days)
    raw = RawSvi(vol**2 * s.tau, 0.0, 0.0, 0.0, 1.0)
    flat = s._replace(parameters=s.parameters._replace(atm_vol=vol), raw=raw, residual=(0.0,) * len(RESIDUAL_KNOTS))
    assert alone(flat).variance_index(days).vol == pytest.approx(vol, rel=1e-9)


@given(st.floats(8.0, 60.0))
def test_between_expiries_the_total_is_linear_in_time(days):
    s = Surface("deribit", "BTC", (drawn(1, 8.0), drawn(2, 60.0)))
    near, far = (s.variance_index(day).variance * day for day in (8.0, 60.0))
    expected = near + (far - near) * (days - 8.0) / 52.0
    assert s.variance_index(days).variance * days == pytest.approx(expected, rel=1e-9)


@settings(max_examples=5, deadline=None)
@given(seeds, st.floats(2.0, 60.0))
def test_the_standard_deviation_is_what_each_uncertainty_does(seed, days):
    pair = [drawn(seed, 8.0), drawn(seed + 1, 60.0)]
    pair = [s._replace(vol_sd=tuple(1e-3 * np.array(s.vol_sd))) for s in pair]
    s = Surface("deribit", "BTC", tuple(pair))
    halves = []
    for up, down in perturbed(pair[0]):
        others = [s._replace(smiles=(one, pair[1])).variance_index(days).variance for one in (up, down)]
        halves.append((others[0] - others[1]) / 2)
    for up, down in perturbed(pair[1]):
        others = [s._replace(smiles=(pair[0], one)).variance_index(days).variance for one in (up, down)]
        halves.append((others[0] - others[1]) / 2)
    assert s.variance_index(days).variance_sd == pytest.approx(np.linalg.norm(halves), rel=1e-5)


def test_it_reaches_to_days_after_the_newest_smiles_instant():
    s = Surface("deribit", "BTC", (drawn(1, 8.0), drawn(2, 60.0)))
    assert s.variance_index().days == 30
    assert s.instant_us + 30 * DAY == NOON + 30 * DAY
