"""Bounds against numerical posteriors: Gauss's law cut off by hand, on a grid and by weighted draws."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import ndtr

from kvd.core import censored, estimate, joint, smile
from kvd.core.censored import Bounds, propagated, stand_in
from kvd.core.dynamics import Dynamics
from kvd.core.estimate import Vols
from kvd.core.measurement import Measurement

NOW, DAY = 1_700_000_000_000_000, 86_400_000_000
TAU = np.array([10.0, 40.0]) / 365
M = Measurement(student_nu=1e9)
GRID = np.linspace(-12, 12, 200_001)


def moments(likelihood):
    """Mean and variance of a standard normal variable given a likelihood on `GRID`."""
    p = np.exp(-0.5 * GRID**2) * likelihood
    mean = np.sum(p * GRID) / p.sum()
    return mean, np.sum(p * (GRID - mean) ** 2) / p.sum()


def told(C, e, R):
    """Mean and covariance of N(0, C) after measurements `e` with variances `R`."""
    K = C @ np.linalg.inv(C + np.diag(R))
    return K @ e, C - K @ C


@given(st.floats(-6, 6), st.floats(0.003, 3.0))
def test_one_bound_leaves_the_moments_of_the_normal_law_that_it_cuts_off(q, noise):
    room = q * np.sqrt(1 + noise)
    mean, variance = moments(ndtr((room - GRID) / np.sqrt(noise)))
    assume(variance > 1e-4)
    e, R = stand_in(room, 1.0, noise)
    assert noise * (1 - 1e-9) <= R
    assert e / (1 + R) == pytest.approx(mean, abs=1e-6)
    _, after = told(np.eye(1), np.array([e]), np.array([R]))
    assert after[0, 0] == pytest.approx(variance, abs=1e-6)


@pytest.mark.parametrize("room", [-3.0, -0.5, 1.0])
def test_a_bound_said_ten_times_at_once_is_not_ten_bounds(room):
    """All ten are of one vol: the likelihood is Phi(.)^10. Taken each against the prior they go further too far."""
    noise, C, ten = 0.01, np.ones((10, 10)), np.ones(10)
    mean, _ = told(C, *propagated(C, room * ten, noise * ten))
    exact, _ = moments(ndtr((room - GRID) / np.sqrt(noise)) ** 10)
    e, R = stand_in(room, 1.0, noise)
    alone, _ = told(C, e * ten, R * ten)
    assert abs(mean[0] - exact) < 0.12 and abs(mean[0] - exact) < 0.5 * abs(alone[0] - exact)


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.8, 0.99])
def test_bounds_on_two_vols_leave_their_joint_moments(rho):
    C, room, noise = np.array([[1.0, rho], [rho, 1.0]]), np.array([-0.5, 0.3]), np.array([0.01, 0.04])
    axis = np.linspace(-6, 6, 801)
    v = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    p = np.exp(-0.5 * np.einsum("abi,ij,abj->ab", v, np.linalg.inv(C), v))
    p *= np.prod(ndtr((room - v) / np.sqrt(noise)), axis=-1)
    p /= p.sum()
    exact = np.einsum("ab,abi->i", p, v)
    variance = np.einsum("ab,abi->i", p, (v - exact) ** 2)
    mean, covariance = told(C, *propagated(C, room, noise))
    np.testing.assert_allclose(mean, exact, atol=0.03)
    np.testing.assert_allclose(np.diag(covariance), variance, rtol=0.08)


def market():
    """Two slices quoted within one and a half standard deviations of the forward, their wings free."""
    j, d = joint.EMPTY, Dynamics()
    for days in (10, 40):
        j = joint.admit(j, NOW + days * DAY, NOW, d)
    place = np.repeat([0, 1], 9)
    k = np.tile(np.linspace(-1.5, 1.5, 9), 2) * 0.6 * np.sqrt(TAU)[place]
    vol = 0.6 + 0.03 * np.tile(np.linspace(-1.5, 1.5, 9), 2) ** 2
    return estimate.update(j, TAU, Vols(place, k, vol, np.full(18, 0.004**2)), M)[0]


def far(sds=3.0, place=0):
    return np.array([sds * 0.6 * np.sqrt(TAU[place])])


def vol(j, k, place=0):
    return smile.vol(j.x, j.u, TAU, np.full(len(k), place), k)


def bound(at, k, side=1.0, place=0):
    return Bounds(np.full(len(k), place), k, at, np.full(len(k), side), np.full(len(k), 0.001**2))


def gradient(j, k):
    _, J, B = smile.vol_and_jacobian(j.x, j.u, TAU, np.zeros(len(k), dtype=np.intp), k)
    return np.concatenate((J, B), axis=1)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_bound_that_the_smile_breaks_moves_its_wing_and_leaves_the_money(side):
    before, k = market(), far()
    at = vol(before, k) - side * 0.02
    after, outcome = censored.update(before, TAU, bound(at, k, side), M)
    assert (side * (at - vol(after, k)) > 0).all() and len(outcome.weight) == 1 and outcome.touched.tolist() == [0]
    assert abs(vol(after, np.zeros(1)) - vol(before, np.zeros(1))) < 0.002
    assert np.linalg.eigvalsh(after.P).min() > 0


def test_the_posterior_of_the_smile_is_that_of_weighted_draws():
    before, k = market(), far()
    at = vol(before, k) - 0.01
    after, _ = censored.update(before, TAU, bound(at, k), M)
    C, H = joint.covariances(before, np.array([0]))[0], gradient(before, k)[0]
    state = np.random.default_rng(1).multivariate_normal(np.zeros(len(C)), C, 200_000, method="cholesky")
    drawn = vol(before, k) + state @ H
    weight = ndtr((at - drawn) / 0.001)
    sd = np.sqrt(np.diag(C))
    expected = (weight @ state / weight.sum())[: len(before.x[0])]
    assert (np.abs(after.x[0] - before.x[0] - expected) < 0.3 * sd[: len(expected)]).all()
    (variance,) = np.einsum(
        "ni,ij,nj->n", gradient(after, k), joint.covariances(after, np.array([0]))[0], gradient(after, k)
    )
    assert vol(after, k) == pytest.approx(np.average(drawn, weights=weight), abs=0.1 * np.sqrt(H @ C @ H))
    spread = np.sqrt(np.cov(drawn, aweights=weight))
    assert np.sqrt(variance) == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("room", [0.001, 0.5])
def test_a_bound_that_the_smile_keeps_does_nothing(side, room):
    before, k = market(), far()
    after, outcome = censored.update(before, TAU, bound(vol(before, k) + side * room, k, side), M)
    assert after is before and outcome is None


def test_a_bound_that_stands_is_news_once():
    """Said a hundred times more it moves nothing."""
    before, k = market(), far()
    standing = bound(vol(before, k) - 0.02, k)
    once, _ = censored.update(before, TAU, standing, M)
    j = once
    for _ in range(100):
        j, outcome = censored.update(j, TAU, standing, M)
        assert outcome is None
    np.testing.assert_array_equal(j.x, once.x)


@given(st.permutations(range(8)))
def test_the_order_of_bounds_does_not_matter(order):
    before, k = market(), np.linspace(-4, 4, 8) * 0.6 * np.sqrt(TAU[0])
    asks = bound(vol(before, k) - 0.02 * np.linspace(0.5, 1.5, 8), k)
    shuffled = Bounds(*(column[list(order)] for column in asks))
    one, other = (censored.update(before, TAU, b, M)[0] for b in (asks, shuffled))
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.P, other.P)


def test_bounds_speak_of_their_own_slice():
    before, k = market(), far(place=1)
    after, outcome = censored.update(before, TAU, bound(vol(before, k, 1) - 0.05, k, place=1), M)
    assert outcome.touched.tolist() == [1]
    assert vol(after, k, 1) < vol(before, k, 1) - 0.04


def test_an_absurd_bound_is_discounted():
    """An ask at a tenth of the vol beside the money, where the smile is known to half a vol point."""
    before, k = market(), np.zeros(1)
    after, outcome = censored.update(before, TAU, bound(np.array([0.06]), k), Measurement())
    assert outcome.weight[0] < 0.01
    assert vol(after, k) > 0.55
