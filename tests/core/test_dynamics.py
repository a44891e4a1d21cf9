"""Process noise entry by entry against the formula of the module's docstring, and where a new slice starts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.core import dynamics
from kvd.core.dynamics import Dynamics
from kvd.core.svi import CALL_WING, CURVATURE, DIM, LEVEL, PUT_WING, SKEW

DAY = 1 / 365
D = Dynamics(
    level_sd=0.9, skew_sd=0.5, curvature_sd=4.0, wing_sd=0.3, tenor_power=0.5, shortest_tau_d=0.25,
    correlation_length=2.0, put_wing_mean=0.7, call_wing_mean=0.3, wing_reversion_h=24.0, gap_factor=2.0,
)  # fmt: skip
SD = {LEVEL: 0.9, SKEW: 0.5, CURVATURE: 4.0}

tenors = st.lists(st.floats(0.3, 700.0).map(lambda days: days * DAY), min_size=1, max_size=6, unique=True).map(np.array)
steps = st.floats(1e-10, 0.01)


@given(tenors, steps, st.floats(1.0, 5.0))
def test_noise_is_scaled_by_tenor_and_coupled_by_log_tenor(tau, dt, factor):
    """Wings return: what an Ornstein-Uhlenbeck process of deviation `wing_sd` gathers in dt, whatever the tenor."""
    _, _, Q = dynamics.transition(tau, dt, factor, D)
    wing = 0.3**2 * (1 - math.exp(-2 * dt * factor * 365 * 24 / 24.0))
    for i, tau_i in enumerate(tau):
        for j, tau_j in enumerate(tau):
            scale = math.sqrt(30 * DAY / tau_i) * math.sqrt(30 * DAY / tau_j)
            shared = math.exp(-abs(math.log(tau_i / tau_j)) / 2.0)
            expected = shared * np.diag([*(SD[a] ** 2 * scale * dt * factor for a in range(PUT_WING)), wing, wing])
            block = Q[DIM * i : DIM * (i + 1), DIM * j : DIM * (j + 1)]
            np.testing.assert_allclose(block, expected, rtol=1e-6)


def test_a_year_at_thirty_days_moves_by_the_configured_deviation():
    _, _, Q = dynamics.transition(np.array([30 * DAY]), 1.0, 1.0, D)
    np.testing.assert_allclose(np.sqrt(np.diag(Q)), [0.9, 0.5, 4.0, 0.3, 0.3], rtol=1e-12)


@given(steps, st.floats(1.0, 5.0))
def test_wings_keep_their_long_run_deviation(dt, factor):
    """A wing that is distributed as in the long run is so after any step."""
    F, _, Q = dynamics.transition(np.array([DAY, 90 * DAY]), dt, factor, D)
    shared = np.kron(dynamics.correlation(np.array([DAY, 90 * DAY]), D), np.diag([0, 0, 0, 0.3**2, 0.3**2]))
    wings = np.array([PUT_WING, CALL_WING, DIM + PUT_WING, DIM + CALL_WING])
    after = np.outer(F, F) * shared + Q
    np.testing.assert_allclose(after[np.ix_(wings, wings)], shared[np.ix_(wings, wings)], rtol=1e-9, atol=1e-15)


def test_the_last_hours_are_no_wilder_than_the_shortest_tenor():
    _, _, Q = dynamics.transition(np.array([0.01, 0.25]) * DAY, 1e-6, 1.0, D)
    np.testing.assert_allclose(Q[:DIM, :DIM], Q[DIM:, DIM:], rtol=1e-12)


@given(tenors, steps)
def test_noise_is_symmetric_and_positive_definite(tau, dt):
    _, _, Q = dynamics.transition(tau, dt, 1.0, D)
    np.testing.assert_allclose(Q, Q.T, rtol=1e-15)
    assert np.linalg.eigvalsh(Q).min() > -1e-12 * np.diag(Q).max()
    apart = np.exp(np.arange(len(tau)))  # expiries a factor e apart
    np.linalg.cholesky(dynamics.transition(apart * DAY, dt, 1.0, D)[2])


@given(tenors)
def test_correlation_is_one_with_itself_and_falls_with_distance(tau):
    C = dynamics.correlation(np.sort(tau), D)
    np.testing.assert_array_equal(np.diag(C), 1.0)
    assert (np.diff(C[0]) <= 0).all() and (C > 0).all()
    quarter = dynamics.correlation(np.array([0.1, 0.1 * math.exp(2.0)]), D)[0, 1]
    assert quarter == pytest.approx(math.exp(-1.0))


@given(tenors, steps, st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
def test_level_skew_and_curvature_stay_and_wings_return(tau, dt, put_wing, call_wing):
    F, u, _ = dynamics.transition(tau, dt, 1.0, D)
    x = np.tile([math.log(0.6), -0.1, math.log(0.2), put_wing, call_wing], len(tau))
    decay = math.exp(-dt * 365 * 24 / 24.0)
    expected = [math.log(0.6), -0.1, math.log(0.2), 0.7 + (put_wing - 0.7) * decay, 0.3 + (call_wing - 0.3) * decay]
    np.testing.assert_allclose((F * x + u).reshape(-1, DIM), np.tile(expected, (len(tau), 1)), rtol=1e-9, atol=1e-12)


@given(steps)
def test_two_halves_are_a_whole_for_the_mean(dt):
    tau = np.array([DAY, 30 * DAY])
    x = np.tile([-0.5, 0.1, -1.0, 2.0, -2.0], 2)
    F, u, _ = dynamics.transition(tau, dt, 1.0, D)
    half_F, half_u, _ = dynamics.transition(tau, dt / 2, 1.0, D)
    np.testing.assert_allclose(F * x + u, half_F * (half_F * x + half_u) + half_u, rtol=1e-10)


def test_the_first_slice_of_all_starts_plain_and_very_uncertain():
    x, P = dynamics.start(30 * DAY, np.zeros(0), np.zeros((0, DIM)), D)
    assert math.exp(x[LEVEL]) == pytest.approx(0.6) and x[SKEW] == 0 and math.exp(x[CURVATURE]) == pytest.approx(0.3)
    assert (x[PUT_WING], x[CALL_WING]) == (0.7, 0.3)
    assert (np.sqrt(np.diag(P)) >= 0.3).all() and np.count_nonzero(P - np.diag(np.diag(P))) == 0


@given(st.permutations([0, 1, 2]), st.floats(1.0, 200.0))
def test_a_new_slice_starts_on_the_line_between_its_neighbours_in_log_tenor(order, days):
    tau, x = np.array([7.0, 30.0, 90.0]) * DAY, np.array([[-0.7, -0.2, -2.0, 1.0, 0.5], [-0.6, -0.1, -1.5, 0.8, 0.2],
                                                         [-0.4, 0.1, -1.0, 0.6, 0.1]])  # fmt: skip
    got, P = dynamics.start(days * DAY, tau[order], x[order], D)
    if days <= 7:
        expected = x[0]
    elif days >= 90:
        expected = x[2]
    else:
        i = 0 if days < 30 else 1
        share = math.log(days * DAY / tau[i]) / math.log(tau[i + 1] / tau[i])
        expected = (1 - share) * x[i] + share * x[i + 1]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    lone = dynamics.start(days * DAY, np.zeros(0), np.zeros((0, DIM)), D)[1]
    assert (np.diag(P) > 0.01).all() and (np.diag(P) < np.diag(lone)).all()


def test_levels_go_with_spot_and_an_active_market_moves_more():
    """A level moves by SSR times what it would at one; what is not known of the SSR is noise along that direction."""
    spot = np.array([0.01, -0.02, 0.0])
    tau = np.array([0.1, 0.2, 0.5])
    _, u, Q = dynamics.transition(tau, 1e-3, 1.0, D, dynamics.Moves(1.0, spot, 1.5, 0.04))
    _, still_u, still_Q = dynamics.transition(tau, 1e-3, 1.0, D)
    at = DIM * np.arange(3) + LEVEL
    assert u[at] == pytest.approx(1.5 * spot)
    assert np.delete(u, at) == pytest.approx(np.delete(still_u, at))
    assert (Q - still_Q)[np.ix_(at, at)] == pytest.approx(0.04 * np.outer(spot, spot))
    _, _, lively = dynamics.transition(tau, 1e-3, 1.0, D, dynamics.Moves(4.0, spot, 1.5, 0.0))
    walks = np.concatenate([DIM * np.arange(3) + j for j in (LEVEL, SKEW, CURVATURE)])
    assert lively[walks, walks] == pytest.approx(4 * still_Q[walks, walks])
    wings = np.setdiff1d(np.arange(len(Q)), walks)
    assert lively[wings, wings] == pytest.approx(still_Q[wings, wings])
    assert dynamics.level_noise(tau, 1e-3, D) == pytest.approx(still_Q[np.ix_(at, at)])
