"""What is published of slices against the textbook formulas, one slice at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, chain
from smiles import smile as published

from kvd.calibrator import doors, smiles
from kvd.calibrator.board import Board
from kvd.core import residual, smile, svi
from kvd.core.arbitrage import Surface
from kvd.core.joint import Joint, covariances
from kvd.core.measurement import Measurement
from kvd.core.residual import DIM as U
from kvd.core.svi import DIM

DAYS = np.array([2, 20, 60])
EXPIRY_US = NOW + DAYS * DAY
TAU = DAYS / 365
X = np.array([[-0.5, -0.12, -1.3, 0.3, 0.2], [-0.55, -0.1, -1.2, 0.2, 0.1], [-0.6, -0.08, -1.1, 0.1, 0.1]])
EVERY = np.arange(3)


def five_numbers(x):
    sl = svi.slices(x)
    return svi.parameters_and_jacobian(sl, svi.wing_gradient(sl))


def joint(seed=0, curved=1.0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3 * DIM, 3 * DIM)) * 0.01
    u, A = curved * rng.normal(size=(3, U)), curved * rng.normal(size=(3, U, DIM))
    return Joint(X, root @ root.T + 1e-6 * np.eye(3 * DIM), u, A, curved**2 * np.tile(np.eye(U), (3, 1, 1)), EXPIRY_US)


def shapes(j, judged=EVERY):
    surface = Surface(j.x[judged], j.u[judged], TAU[judged])
    return smiles.shapes(surface, svi.slices(surface.x), covariances(j, np.asarray(judged)))


def w(raw, k):
    return raw.a + raw.b * (raw.rho * (k - raw.m) + math.sqrt((k - raw.m) ** 2 + raw.sigma**2))


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, unique=True).map(sorted))
def test_a_shape_is_its_slice_in_every_form(judged):
    j = joint()
    for i, shape in zip(judged, shapes(j, judged), strict=True):
        assert shape.tau == pytest.approx(TAU[i], rel=1e-12)
        assert shape.parameters[:2] == pytest.approx((math.exp(X[i, 0]), X[i, 1]), rel=1e-12)
        assert shape.parameters.curvature == pytest.approx(math.exp(X[i, 2]), rel=1e-12)
        w0 = w(shape.raw, 0.0)
        assert w0 == pytest.approx(math.exp(2 * X[i, 0]) * TAU[i], rel=1e-12)
        b, rho = shape.raw.b, shape.raw.rho
        wings = b * (1 - rho) / math.sqrt(w0), b * (1 + rho) / math.sqrt(w0)
        assert shape.parameters[3:] == pytest.approx(wings, rel=1e-10)
        v_min = (shape.raw.a + b * shape.raw.sigma * math.sqrt(1 - rho * rho)) / TAU[i]
        assert shape.jump_wings == pytest.approx((w0 / TAU[i], X[i, 1], *wings, v_min), rel=1e-9)
        np.testing.assert_array_equal(shape.covariance, j.P[5 * i : 5 * i + 5, 5 * i : 5 * i + 5])
        knots = residual.curve(j.u[i : i + 1], residual.KNOTS[None])[0][0]
        np.testing.assert_allclose(shape.residual, knots, atol=1e-12)


def test_the_deviations_of_the_five_numbers_are_those_of_draws_from_the_posterior():
    j = joint()
    (shape,) = shapes(j, [1])
    block = j.P[5:10, 5:10] * 1e-4  # so small that the five numbers are linear in the state
    draws = np.random.default_rng(0).multivariate_normal(X[1], block, size=20_000)
    values = five_numbers(draws)[0]
    np.testing.assert_allclose(np.array(shape.sd) * 1e-2, values.std(axis=0), rtol=0.03)


def test_the_deviation_of_the_vol_at_the_knots_is_that_of_draws_of_backbone_and_residual():
    j = joint()
    (shape,) = shapes(j, [1])
    block = covariances(j, np.array([1]))[0] * 1e-4
    mean = np.concatenate((j.x[1], j.u[1]))
    draws = np.random.default_rng(0).multivariate_normal(mean, block, size=20_000)
    k = residual.KNOTS * np.exp(X[1, 0]) * np.sqrt(TAU[1])
    place = np.repeat(np.arange(len(draws)), len(k))
    tau = np.full(len(draws), TAU[1])
    vols = smile.vol(draws[:, :DIM], draws[:, DIM:], tau, place, np.tile(k, len(draws))).reshape(len(draws), -1)
    np.testing.assert_allclose(np.array(shape.vol_sd) * 1e-2, vols.std(axis=0), rtol=0.03)


@pytest.mark.parametrize("curved", [0.0, 1.0])
def test_the_vols_at_the_knots_go_together_as_the_posterior_says(curved):
    """Also where the residual is known to be zero, and 23 vols have five dimensions only."""
    j = joint(curved=curved)
    (shape,) = shapes(j, [1])
    k = residual.KNOTS * np.exp(X[1, 0]) * np.sqrt(TAU[1])
    place = np.zeros(len(k), dtype=np.intp)
    _, J, B = smile.vol_and_jacobian(j.x[1:2], j.u[1:2], TAU[1:2], place, k)
    gradient = np.concatenate((J, B), axis=1)
    expected = gradient @ covariances(j, np.array([1]))[0] @ gradient.T
    sd = np.sqrt(expected.diagonal())
    made = published(vol_sd=shape.vol_sd, vol_root=shape.vol_root).vol_factor()
    np.testing.assert_allclose(np.sqrt((made @ made.T).diagonal()), sd, rtol=1e-6)
    np.testing.assert_allclose(made @ made.T / np.outer(sd, sd), expected / np.outer(sd, sd), atol=5e-4)


def test_the_reach_is_a_little_more_than_five_deviations():
    surface = Surface(X, np.zeros((3, U)), TAU)
    sds = smiles.reach(surface) / (np.exp(X[:, 0]) * np.sqrt(TAU))
    assert (sds > 5.1).all() and (sds < 5.5).all()


@pytest.mark.parametrize("curved", [0.0, 1.0])
def test_quotes_of_the_last_three_minutes_are_held_against_the_smile(curved):
    """Two expiries quoted, one lately and one long ago; half of the recent quotes lie above the smile."""
    j, board = joint(curved=curved), Board()
    surface = Surface(j.x[1:], j.u[1:], TAU[1:])
    old = chain(int(EXPIRY_US[2]), NOW - 181 * SECOND)
    lately = chain(int(EXPIRY_US[1]), NOW - 180 * SECOND, strikes=6)
    k = np.log([q.instrument.strike / q.forward for q in lately])
    model = smile.vol(j.x, j.u, TAU, np.full(6, 1), k)
    doors.admit([*old, *lately], board, NOW, np.zeros(15, dtype=np.bool_), Measurement())
    rows = board.rows(lately)
    board.bid_vol[rows], board.ask_vol[rows] = model - 0.01, model + [0.01, -0.001] * 3
    recent = smiles.recent(board, j, NOW, np.array([1, 2]))
    low, high, quotes = recent.bounds(2)
    assert (low[0], high[0]) == pytest.approx((min(k), max(k)))
    assert (low[1], high[1], quotes.tolist()) == (math.inf, -math.inf, [6, 0])
    both = recent.judged(surface, svi.slices(surface.x))
    assert both == [(pytest.approx(min(k)), pytest.approx(max(k)), 0.5, 6), (None, None, None, 0)]
    one = surface.take(np.array([0]))
    assert recent.of(np.array([0]), 2).judged(one, svi.slices(one.x)) == both[:1]
    assert not len(recent.of(np.array([1]), 2).k)
    board.counted[rows[:2]] = False
    assert smiles.recent(board, j, NOW, np.array([1])).bounds(1)[2].tolist() == [4]
