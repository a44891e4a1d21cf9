import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from kvd.core import measurement
from kvd.core.measurement import BUCKETS, UNSCALED, Measurement, Scale, adapted, bucket, student_weight, variance

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


def test_tenor_buckets_are_a_day_a_week_a_month_and_three_months():
    days = np.array([0.1, 1.0, 1.01, 7.0, 8.0, 30.0, 31.0, 90.0, 91.0, 400.0])
    assert bucket(days / 365).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert BUCKETS == 5


def test_each_innovation_moves_the_scale_of_its_own_bucket_a_step():
    m = Measurement(scale_rate=0.05, outside_share=0.1)
    buckets, S = np.array([0, 0, 0, 3]), np.full(4, 0.04)
    innovation = 0.2 * np.array([1.64, -1.65, 0.0, 9.0])
    before = Scale(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([0.0, 0.0, 0.0, 450.0, 0.0]))
    got = adapted(before, buckets, innovation, S, S, m)
    young, old = 0.05 * 11, 0.05 * 2  # at first, and after 450 innovations, the step is so much greater
    expected = [math.exp(young * (1 - 3 * 0.1)), 2.0, 3.0, 4.0 * math.exp(old * 0.9), 5.0]
    np.testing.assert_allclose(got.value, expected, rtol=1e-12)
    assert got.heard.tolist() == [3.0, 0.0, 0.0, 451.0, 0.0]


def test_a_slice_that_is_hardly_known_tells_nothing_of_noise():
    far, S = np.array([9.0, 9.0]), np.array([1.0, 1.0])
    got = adapted(UNSCALED, np.array([0, 1]), far, S, np.array([0.09, 0.11]), M)
    assert got.value[0] == 1.0 < got.value[1]


@pytest.mark.parametrize("truth", [0.25, 1.0, 6.0])
@pytest.mark.parametrize("heavy", [False, True])
def test_the_scale_settles_where_the_configured_share_lies_outside_the_90_percent_band(truth, heavy):
    """Innovations of variance P + truth R, Gaussian or Student-t of four degrees; S = P + scale R as in the filter."""
    m = Measurement(scale_rate=0.01, outside_share=0.1)
    rng, scale, late = np.random.default_rng(2), UNSCALED, []
    for n in range(6000):
        e = math.sqrt(0.2 + truth) * (rng.standard_t(4, 5) if heavy else rng.normal(size=5))
        R = scale.value[1] * np.ones(5)
        S = 0.2 + R
        scale = adapted(scale, np.full(5, 1), e, S, R, m)
        late += (np.abs(e) > measurement.BAND_90 * np.sqrt(S)).tolist() * (n > 1000)
    assert np.mean(late) == pytest.approx(0.1, abs=0.01)
    if not heavy:
        assert scale.value[1] == pytest.approx(truth, rel=0.3)
    assert (np.delete(scale.value, 1) == 1).all()


def test_the_scale_is_bounded_whatever_comes():
    got = UNSCALED
    for _ in range(1000):
        got = adapted(got, np.tile([0, 1], 10), np.array([0.0, 1e3] * 10), np.ones(20), np.ones(20), M)
    assert got.value[0] == measurement.NARROWEST and got.value[1] == measurement.WIDEST


def test_a_jump_of_the_whole_market_is_not_taken_for_noise():
    """Two hundred quotes off at once weigh as much as five that are off one after the other."""
    far, S, near = np.full(200, 10.0), np.ones(200), np.zeros(200, dtype=np.intp)
    learned = Scale(np.ones(BUCKETS), np.full(BUCKETS, 1e9))
    together = alone = learned
    together = adapted(together, near, far, S, S, M)
    for _ in range(5):
        alone = adapted(alone, near[:1], far[:1], S[:1], S[:1], M)
    assert together.value == pytest.approx(alone.value)
    assert together.value[0] < 1.1 and together.value[1:] == pytest.approx(1.0)
