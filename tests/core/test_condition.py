"""Conditioning against the textbook where that is exact, against scipy's optimum where it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from kvd.core import dynamics
from kvd.core.condition import VOL, Claims, Slice, condition, loosened, numbers
from kvd.core.dynamics import Dynamics
from kvd.core.residual import DIM as U
from kvd.core.svi import CALL_WING, CURVATURE, DIM, LEVEL, PUT_WING, SKEW

TAU = 20 / 365
X = np.array([np.log(0.6), -0.1, np.log(0.25), 0.6, 0.4])
K = 0.6 * np.sqrt(TAU)  # one standard deviation
SD = np.concatenate((np.array([0.01, 0.01, 0.1, 0.1, 0.1]), np.full(U, 0.4)))
seeds = st.integers(0, 2**32 - 1)


def known(seed=5, width=1.0):
    """A slice whose coordinates are correlated."""
    rng = np.random.default_rng(seed)
    mixed = np.eye(DIM + U) + 0.3 * rng.normal(size=(DIM + U, DIM + U)) / np.sqrt(DIM + U)
    return Slice(X, 0.3 * rng.normal(size=U), width * SD[:, None] * mixed, TAU)


def claims(*rows):
    """Of rows (which number, k, value, sd)."""
    of, k, value, sd = zip(*rows, strict=True)
    return Claims(np.array(of), np.array(k, dtype=float), np.array(value, dtype=float), np.array(sd, dtype=float))


def covariance(slice_):
    return slice_.root @ slice_.root.T


def said(slice_, c):
    return numbers(slice_.x, slice_.u, slice_.tau, c)[0]


EACH = [(of, 0.0) for of in (LEVEL, SKEW, CURVATURE, PUT_WING, CALL_WING)] + [(VOL, z * K) for z in (-2.5, -0.4, 1.7)]


@given(seeds, st.lists(st.tuples(st.floats(-0.5, 0.3), st.floats(1e-4, 0.1)), min_size=1, max_size=3))
@settings(max_examples=40)
def test_of_a_number_that_is_linear_it_is_the_textbooks_kalman_update(seed, told):
    """The skew is a coordinate of the state. Several claims of it contradict each other."""
    before = known(seed)
    after = condition(before, claims(*[(SKEW, 0.0, value, sd) for value, sd in told]))
    H = np.zeros((len(told), DIM + U))
    H[:, SKEW] = 1.0
    value, R = np.array([v for v, _ in told]), np.diag([sd**2 for _, sd in told])
    P = covariance(before)
    gain = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
    mean = np.concatenate((before.x, before.u)) + gain @ (value - X[SKEW])
    np.testing.assert_allclose(np.concatenate((after.x, after.u)), mean, atol=1e-2 * SD.min())
    expected = P - gain @ H @ P
    np.testing.assert_allclose(covariance(after), expected, atol=1e-9 * np.outer(SD, SD).max())


@pytest.mark.parametrize(("of", "k"), EACH)
def test_the_gradient_is_that_of_the_numbers(of, k):
    slice_, c, step = known(), claims((of, k, 0.0, 1.0)), 1e-6
    _, gradient = numbers(slice_.x, slice_.u, TAU, c)
    flat = np.concatenate((slice_.x, slice_.u))
    for j in range(DIM + U):
        moved = [flat + sign * step * np.eye(DIM + U)[j] for sign in (1, -1)]
        up, down = (numbers(at[:DIM], at[DIM:], TAU, c)[0] for at in moved)
        assert gradient[0, j] == pytest.approx((up - down)[0] / (2 * step), abs=1e-7)


@pytest.mark.parametrize(("of", "k"), EACH)
def test_a_certain_claim_pins_its_number(of, k):
    before, c = known(), claims((of, k, 0.0, 1e-5))
    wanted = said(before, c) * 1.2 + 0.01
    after = condition(before, c._replace(value=wanted))
    np.testing.assert_allclose(said(after, c), wanted, atol=1e-5)
    _, gradient = numbers(after.x, after.u, TAU, c)
    assert np.linalg.norm(gradient @ after.root) == pytest.approx(1e-5, rel=1e-3)


@given(seeds, st.tuples(*[st.floats(-4.0, 4.0)] * 3), st.floats(1e-3, 0.05))
@settings(max_examples=15, deadline=None)
def test_it_comes_to_rest_where_scipy_finds_the_least(seed, off, sd):
    """Of claims as far off as a slice that was `loosened` leaves them, contradictory ones included."""
    before, c = known(seed), claims((VOL, 0.7 * K, 0.0, sd), (SKEW, 0.0, 0.0, sd), (LEVEL, 0.0, 0.0, 2 * sd))
    h, H = numbers(before.x, before.u, TAU, c)
    c = c._replace(value=h + off * np.sqrt(np.diag(H @ covariance(before) @ H.T) + c.sd**2))

    def left(v):
        d = before.root @ v
        at = numbers(before.x + d[:DIM], before.u + d[DIM:], TAU, c)[0]
        return np.concatenate((v, (at - c.value) / c.sd))

    best = least_squares(left, np.zeros(DIM + U), xtol=1e-12, ftol=1e-12)
    after = condition(before, c)
    v = np.linalg.solve(before.root, np.concatenate((after.x - before.x, after.u - before.u)))
    assert left(v) @ left(v) <= 2 * best.cost * (1 + 1e-3) + 1e-3
    _, H = numbers(after.x, after.u, TAU, c)
    information = np.linalg.inv(covariance(before)) + H.T @ (H / c.sd[:, None] ** 2)
    np.testing.assert_allclose(covariance(after), np.linalg.inv(information), rtol=0.05, atol=0.02 * SD.min() ** 2)


def test_contradictory_claims_meet_where_their_certainties_put_them():
    before = known(width=30.0)  # next to nothing is known
    after = condition(before, claims((LEVEL, 0.0, 0.5, 0.01), (LEVEL, 0.0, 0.6, 0.02)))
    assert np.exp(after.x[LEVEL]) == pytest.approx((0.5 / 1 + 0.6 / 4) / (1 + 1 / 4), abs=1e-3)


@pytest.mark.parametrize(("of", "k"), EACH)
def test_a_slice_is_left_as_it_is_by_claims_that_are_no_surprise(of, k):
    before, c = known(), claims((of, k, 0.0, 1e-3))
    _, gradient = numbers(before.x, before.u, TAU, c)
    sd = np.linalg.norm(gradient @ before.root)
    for off in (-0.9, 0.0, 0.9):
        assert loosened(before, c._replace(value=said(before, c) + off * sd), Dynamics()) is before
    apart = claims((of, k, said(before, c)[0] - 30 * sd, 1e-3), (of, k, said(before, c)[0] + 30 * sd, 1e-3))
    assert loosened(before, apart, Dynamics()) is before


@pytest.mark.parametrize(("of", "k", "value"), [(LEVEL, 0.0, 0.9), (SKEW, 0.0, 0.1), (VOL, -K, 0.4), (VOL, 2 * K, 1.0)])
def test_a_surprising_claim_is_given_the_time_that_makes_it_likeliest(of, k, value):
    """Of one claim that is where its predicted variance is the squared surprise."""
    before, c = known(), claims((of, k, value, 1e-3))
    loose = loosened(before, c, Dynamics())
    h, gradient = numbers(before.x, before.u, TAU, c)
    assert gradient @ covariance(loose) @ gradient.T + 1e-6 == pytest.approx((value - h[0]) ** 2, rel=0.15)
    np.testing.assert_array_equal(loose.x, before.x)
    grown = covariance(loose) - covariance(before)
    np.testing.assert_allclose(grown, np.diag(grown.diagonal()), atol=1e-12)
    np.testing.assert_allclose(grown.diagonal()[DIM:], 0.0, atol=1e-12)


def test_what_is_not_claimed_does_not_get_uncertain_with_what_is():
    before = known()
    loose = loosened(before, claims((PUT_WING, 0.0, 3.0, 0.01)), Dynamics())
    grown = (covariance(loose) - covariance(before)).diagonal()
    assert grown[PUT_WING] > 1e-4 and np.delete(grown, PUT_WING).max() < 1e-12


def test_a_far_level_moves_the_smile_and_not_the_money_alone():
    """Vols a standard deviation away follow more than half; conditioned as it is known they hardly do."""
    before, c = known(width=0.1), claims((LEVEL, 0.0, 0.65, 5e-4))
    beside = claims((VOL, -K, 0.0, 1.0), (VOL, K, 0.0, 1.0))
    after = condition(loosened(before, c, Dynamics()), c)
    assert np.exp(after.x[LEVEL]) == pytest.approx(0.65, abs=1e-4)
    assert (said(after, beside) - said(before, beside) > 0.025).all()


def test_one_slice_alone_moves_as_among_others():
    dt = np.array([0.0, 1e-6, 1e-3, 0.5])
    for tau in (0.1 / 365, 20 / 365, 1.5):
        got = dynamics.alone(tau, dt, Dynamics())
        for row, dt_y in zip(got, dt.tolist(), strict=True):
            Q = dynamics.transition(np.array([tau]), dt_y, 1.0, Dynamics())[2]
            np.testing.assert_allclose(row, Q.diagonal(), rtol=1e-12)
