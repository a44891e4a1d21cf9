"""The residual curve against scipy's spline through its knots, and against the prior of the module's docstring."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from kvd.core import residual
from kvd.core.residual import DIM, KNOTS, ROOT

seeds = st.integers(0, 2**32 - 1)
points = st.lists(st.floats(-12.0, 12.0), min_size=1, max_size=9).map(np.array)


def coefficients(seed, slices=3):
    return np.random.default_rng(seed).normal(size=(slices, DIM))


def matern(r):
    r *= math.sqrt(5)
    return (1 + r + r * r / 3) * math.exp(-r)


def unpinned(z, other):
    """The prior covariance of two knot values before the curve is pinned at the money."""
    near, far = (residual.ROUGH * math.exp(-((at / residual.REACH) ** 2) / 2) for at in (z, other))
    wings = residual.SCALE**2 * matern(abs(math.asinh(z) - math.asinh(other)) / residual.LENGTH)
    return wings + near * far * matern(abs(z - other) / residual.ROUGH_LENGTH)


@given(seeds, points)
def test_curve_is_scipys_spline_through_the_knots_clamped_at_both_ends(seed, z):
    u = coefficients(seed)
    got = residual.curve(u, np.tile(z, (3, 1)))
    for i, rho in enumerate(residual.at_knots(u)):
        spline, inside = CubicSpline(KNOTS, rho, bc_type="clamped"), np.clip(z, KNOTS[0], KNOTS[-1])
        np.testing.assert_allclose(got[0][i], spline(inside), atol=1e-12)
        np.testing.assert_allclose(residual.from_knots(rho, z), spline(inside), atol=1e-12)
        within = z == inside
        for order in (1, 2):
            np.testing.assert_allclose(got[order][i], np.where(within, spline(inside, order), 0), atol=1e-11)


@given(seeds, points)
def test_basis_and_curve_say_the_same(seed, z):
    (u,) = coefficients(seed, 1)
    phi, slope = residual.basis(z)
    assert phi.shape == slope.shape == (len(z), DIM)
    rho, first, _ = residual.curve(u[None], z[None])
    np.testing.assert_allclose(phi @ u, rho[0], atol=1e-12)
    np.testing.assert_allclose(slope @ u, first[0], atol=1e-11)


@given(seeds, points)
def test_the_value_alone_is_that_of_the_curve(seed, z):
    u, place = coefficients(seed), np.arange(len(z)) % 3
    np.testing.assert_array_equal(residual.value_at(u, place, z), residual.curve_at(u, place, z)[0])


@given(seeds, points)
def test_curves_through_values_at_the_knots_are_scipys_splines(seed, z):
    rho = np.random.default_rng(seed).normal(size=(3, len(KNOTS)))
    got = residual.evaluated(residual.cubics(rho), np.arange(3)[:, None], np.tile(z, (3, 1)))
    inside = np.clip(z, KNOTS[0], KNOTS[-1])
    for i, values in enumerate(rho):
        spline = CubicSpline(KNOTS, values, bc_type="clamped")
        np.testing.assert_allclose(got[0][i], spline(inside), atol=1e-11)
        for order in (1, 2):
            np.testing.assert_allclose(got[order][i], np.where(z == inside, spline(inside, order), 0), atol=1e-10)
    for order, rows in enumerate(residual.influence(z)):
        np.testing.assert_allclose(rows @ rho.T, got[order].T, atol=1e-10)


def test_every_curve_is_zero_and_flat_at_the_money():
    phi, slope = residual.basis(np.zeros(1))
    np.testing.assert_allclose(phi, 0, atol=1e-12)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_beyond_the_last_knots_every_curve_is_constant_and_arrives_without_a_kink():
    ends = np.array([KNOTS[0], KNOTS[-1]])
    phi, slope = residual.basis(np.array([*ends, *(2 * ends), *(100 * ends)]))
    np.testing.assert_array_equal(phi[:2], phi[2:4])
    np.testing.assert_array_equal(phi[:2], phi[4:])
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    np.testing.assert_allclose(residual.basis(ends * (1 - 1e-9))[1], 0, atol=1e-9)


def test_curves_are_twice_differentiable():
    either_side = np.concatenate((KNOTS[1:-1] - 1e-9, KNOTS[1:-1] + 1e-9))
    for part in residual.curve(np.eye(DIM), np.tile(either_side, (DIM, 1))):
        np.testing.assert_allclose(part[:, : len(KNOTS) - 2], part[:, len(KNOTS) - 2 :], atol=1e-7)


def test_independent_unit_coefficients_are_the_prior_given_its_two_zeros():
    """Bayes in information form: observe value and slope at the money with next to no noise."""
    cov = np.array([[unpinned(z, other) for other in KNOTS] for z in KNOTS])
    spline = CubicSpline(KNOTS, np.eye(len(KNOTS)), bc_type="clamped")
    pins = np.stack((spline(0.0), spline(0.0, 1)))
    gain = cov @ pins.T @ np.linalg.inv(pins @ cov @ pins.T + 1e-14 * np.eye(2))
    rest = np.eye(len(KNOTS)) - gain @ pins
    expected = rest @ cov @ rest.T + 1e-14 * gain @ gain.T  # Joseph's form
    np.testing.assert_allclose(ROOT @ ROOT.T, expected, atol=1e-8)
    assert len(KNOTS) - 2 >= DIM


def test_the_prior_is_loose_in_the_wings_and_fine_near_the_money():
    """Standard deviations relative to the ATM vol: what the fits to a real chain left over is of this size."""
    sd = np.sqrt((residual.basis(np.array([-4.0, -1.5, -0.4, 0.4, 1.5, 4.0]))[0] ** 2).sum(axis=1))
    assert (np.abs(sd - sd[::-1]) < 1e-6).all()
    assert 0.001 < sd[3] < 0.006 < sd[4:].min() and sd[4:].max() < 0.03
