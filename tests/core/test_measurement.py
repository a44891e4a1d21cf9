import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from kvd.core.measurement import Measurement, student_weight, variance

M = Measurement(half_spread_factor=0.5, floor_vol=0.002, student_nu=4.0)


def test_noise_is_spread_floor_and_tick_added_in_squares():
    half, tick = np.array([0.02, 0.0, 0.0]), np.array([0.0, 0.0, 0.012])
    # the mid of a bid and an ask, each off by a uniform half tick either way: tick^2 / 12, halved
    expected = [0.01**2 + 0.002**2, 0.002**2, 0.002**2 + 0.012**2 / 12 / 2]
    np.testing.assert_allclose(variance(half, tick, M), expected, rtol=1e-14)


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
