"""Whole smiles against the formula of the module's docstring, and derivatives against differences.

Derivatives are judged where the smile is not on its floor: there they say where up is, not how steep the floor is.
"""

import math

import backbone
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvd.core import residual, smile, svi
from kvd.core.residual import DIM as U
from kvd.core.smile import LEAST_F
from kvd.core.svi import DIM

TAU = np.array([2, 30]) / 365
CENTRE = np.array([[np.log(0.65), -0.12, np.log(0.12), 0.6, 0.3], [np.log(0.55), 0.08, np.log(0.3), 0.4, 0.5]])
SD = np.array([0.2, 0.1, 0.4, 0.3, 0.3])

seeds = st.integers(0, 2**32 - 1)


def drawn(seed, points=9):
    """Two slices with residuals, and points of z in any order."""
    rng = np.random.default_rng(seed)
    return CENTRE + SD * rng.normal(size=(2, DIM)), rng.normal(size=(2, U)), rng.uniform(-9, 9, (2, points))


def above_floor(x, u, z):
    """Where neither omega nor f is at its least, (2, points)."""
    place, k = at(x, z)
    i = np.repeat([0, 1], z.shape[1])
    omega = svi.omega_at(svi.slices(x), i, z.ravel())[0]
    free = (omega > 1.1 * svi.MIN_OMEGA) & (smile.vol(x, u, TAU, place, k) > 1.1 * LEAST_F * np.exp(x[i, 0]))
    return free.reshape(z.shape)


def at(x, z):
    place = np.repeat([0, 1], z.shape[1])
    return place, (z * (np.exp(x[:, :1]) * np.sqrt(TAU)[:, None])).ravel()


@given(seeds)
def test_vol_is_backbone_and_curve_added_relative_to_the_atm_vol(seed):
    x, u, z = drawn(seed)
    place, k = at(x, z)
    got = smile.vol(x, u, TAU, place, k)
    backbone = svi.vol(x, TAU, place, k)
    for n, i in enumerate(place):
        sigma = math.exp(x[i, 0])
        rho = residual.basis(z.ravel()[n : n + 1])[0][0] @ u[i]
        assert math.isclose(got[n], max(backbone[n] + sigma * rho, LEAST_F * sigma), rel_tol=1e-9)


def test_without_a_curve_a_smile_is_its_backbone():
    x, u, z = drawn(0)
    place, k = at(x, z)
    np.testing.assert_allclose(smile.vol(x, 0 * u, TAU, place, k), svi.vol(x, TAU, place, k), rtol=1e-14)
    for mine, theirs in zip(
        smile.vol_and_jacobian(x, 0 * u, TAU, place, k), backbone.vol_and_jacobian(x, TAU, place, k), strict=False
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-15)


@given(seeds)
def test_gradients_are_central_differences(seed):
    x, u, z = drawn(seed)
    place, k = at(x, z)
    vol, J, B = smile.vol_and_jacobian(x, u, TAU, place, k)
    np.testing.assert_allclose(vol, smile.vol(x, u, TAU, place, k), rtol=1e-14)
    free, h = above_floor(x, u, z).ravel(), 1e-6
    for column in range(DIM):
        step = h * np.eye(DIM)[column]
        differences = (smile.vol(x + step, u, TAU, place, k) - smile.vol(x - step, u, TAU, place, k)) / (2 * h)
        np.testing.assert_allclose(J[free, column], differences[free], rtol=1e-6, atol=1e-8)
    for column in range(U):
        step = 1e-3 * np.eye(U)[column]
        differences = (smile.vol(x, u + step, TAU, place, k) - smile.vol(x, u - step, TAU, place, k)) / 2e-3
        np.testing.assert_allclose(B[free, column], differences[free], rtol=1e-8, atol=1e-12)


@given(seeds)
def test_gradients_at_the_knots_are_those_of_quotes_there(seed):
    x, u, _ = drawn(seed)
    sl = svi.slices(x)
    got = smile.jacobian_at_knots(sl, svi.wing_gradient(sl), u)
    place, k = at(x, np.tile(residual.KNOTS, (2, 1)))
    _, J, B = smile.vol_and_jacobian(x, u, TAU, place, k)
    np.testing.assert_allclose(got.reshape(-1, DIM + U), np.concatenate((J, B), axis=1), rtol=1e-9, atol=1e-12)


@given(seeds)
def test_normalised_is_the_smile_over_its_atm_vol_and_its_derivatives_are_differences(seed):
    x, u, z = drawn(seed)
    place, k = at(x, z)
    f, first, second = smile.normalised(x, u, z)
    vol = smile.vol(x, u, TAU, place, k).reshape(z.shape)
    h, free = 1e-5, above_floor(x, u, z)
    np.testing.assert_allclose((np.exp(x[:, :1]) * f)[free], vol[free], rtol=1e-12)
    up, down = smile.normalised(x, u, z + h), smile.normalised(x, u, z - h)
    np.testing.assert_allclose(first[free], ((up[0] - down[0]) / (2 * h))[free], rtol=1e-6, atol=1e-8)
    # the third derivative jumps at a knot: a difference across it is right to h times the jump
    np.testing.assert_allclose(second[free], ((up[1] - down[1]) / (2 * h))[free], rtol=1e-5, atol=1e-5)
