import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from kvd.core.measurement import Measurement, student_weight, variance

M = Measurement(half_spread_factor=0.5, floor_vol=0.002, student_nu=4.0)


def noise(half, tick=0.0, since_s=1e9, m=M):
    R, repetition = variance(np.array([half]), np.array([tick]), np.array([since_s]), m)
    return R[0], repetition[0]


def test_noise_is_spread_floor_and_tick_added_in_squares():
    assert noise(0.02) == pytest.approx((0.01**2 + 0.002**2, 1.0), rel=1e-12)
    assert noise(0.0) == pytest.approx((0.002**2, 1.0), rel=1e-12)
    # a bid rounded down and an ask rounded up: half a tick of the half-spread is rounding, and the mid is off by the
    # mean of two uniform errors
    rounding = 0.012**2 / 12 / 2
    assert noise(0.02, 0.012) == pytest.approx((0.007**2 + 0.002**2 + rounding, 1.0), rel=1e-12)
    assert noise(0.005, 0.012) == pytest.approx((0.002**2 + rounding, 1.0), rel=1e-12)


@given(st.floats(0.0, 0.3), st.floats(0.0, 0.05), st.floats(0.1, 1e4), st.floats(0.0, 1.0))
def test_a_repeated_quote_tells_what_a_second_observation_of_an_ar1_error_adds(half, tick, since_s, share):
    """By generalised least squares: 1' C^-1 1 is the information on a constant of observations with covariance C."""
    m = Measurement(half_spread_factor=0.5, floor_vol=0.002, persistent_share=share, persistence_s=60.0)
    leaning = (0.5 * max(half - tick / 2, 0.0)) ** 2
    rest = 0.002**2 + tick**2 / 24
    rho = math.exp(-since_s / 60.0)
    added = np.linalg.inv(np.array([[1.0, rho], [rho, 1.0]])).sum() - 1.0
    own, repetition = noise(half, tick, since_s, m)
    assert own == pytest.approx(leaning + rest, rel=1e-9)
    assert own * repetition == pytest.approx(leaning * (1 - share + share / added) + rest, rel=1e-6)
    assert repetition >= 1


def test_at_the_same_instant_the_factor_is_large_and_finite():
    assert 100 < noise(0.02, since_s=0.0)[1] < 1e6
    assert noise(0.02, since_s=0.0, m=Measurement(persistent_share=0.0))[1] == 1.0


@given(st.floats(-1.0, 1.0), st.floats(1e-8, 1e-1), st.floats(2.1, 50.0))
def test_the_weight_makes_the_gaussian_score_that_of_student(e, S, nu):
    """Beyond the cap, weight e / S is -d/de of the log density of a t variable whose variance is S."""
    m = Measurement(student_nu=nu)
    (weight,) = student_weight(np.array([e]), np.array([S]), m)
    scale, h = np.sqrt(S * (nu - 2) / nu), 1e-5 * np.sqrt(S)
    up, down = student.logpdf([e + h, e - h], nu, scale=scale)
    score = -(up - down) / (2 * h)
    assert 0 < weight <= 1
    if e * e > 3.01 * S:
        assert weight * e / S == pytest.approx(score, rel=1e-4)
    if e * e < 2.99 * S:
        assert weight == 1


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(1e-6, 1e-2))
def test_the_wilder_the_less_believed(e, more, S):
    weight = student_weight(np.array([e, e + more, -e]), np.full(3, S), M)
    assert weight[1] <= weight[0] == weight[2]


def test_many_degrees_of_freedom_are_a_gaussian():
    weight = student_weight(np.array([0.0, 2.0, 30.0]), np.ones(3), Measurement(student_nu=1e12))
    np.testing.assert_allclose(weight, 1.0, atol=1e-8)
