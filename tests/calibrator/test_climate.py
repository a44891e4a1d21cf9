"""What the calibrator tells the regimes, and when."""

import numpy as np
import pytest

from kvd.calibrator.climate import LONGEST_MOVE, Climate
from kvd.core import dynamics, joint, regimes
from kvd.core.daycount import EVEN, YEAR_US, Calendar, VarianceTime
from kvd.core.dynamics import Dynamics
from kvd.core.regimes import RegimeSettings
from kvd.core.svi import DIM, LEVEL, SKEW
from kvd.surface import Forward

S, D = RegimeSettings(), Dynamics()
SECOND = 1_000_000
START = 1_000 * SECOND
EXPIRIES = np.array([30, 90]) * 86_400 * SECOND
EVERY = np.arange(2)


def market():
    """Two slices with a skew of -0.1."""
    state = joint.EMPTY
    for expiry_us in EXPIRIES.tolist():
        state = joint.admit(state, expiry_us, START, D)
    x = state.x.copy()
    x[:, SKEW] = -0.1
    return state._replace(x=x)


def forwards(value):
    return {int(e): Forward(value, 1.0, "future") for e in EXPIRIES}


def learned(state, level, sd):
    """The joint after its levels were learned."""
    x, P, at = state.x.copy(), state.P.copy(), DIM * EVERY + LEVEL
    x[:, LEVEL], P[at, at] = level, sd**2
    return state._replace(x=x, P=P)


def test_levels_go_with_spot_by_the_skew():
    climate, state = Climate(S, D, EVEN), market()
    climate.moves(state, forwards(50_000.0), START - SECOND, START)
    moves = climate.moves(state, forwards(50_500.0), START, START + SECOND)
    root = np.sqrt(EXPIRIES / YEAR_US - START / YEAR_US) * np.exp(state.x[:, LEVEL])
    assert moves.spot == pytest.approx(-0.1 / root * np.log(1.01), rel=1e-6)
    assert (moves.ssr, moves.ssr_var) == pytest.approx((S.ssr_mean, S.ssr_sd**2))


def test_a_forward_found_anew_is_no_move_of_spot():
    climate, state = Climate(S, D, EVEN), market()
    climate.moves(state, forwards(50_000.0), START - SECOND, START)
    moves = climate.moves(state, forwards(50_000.0 * np.exp(1.1 * LONGEST_MOVE)), START, START + SECOND)
    assert (moves.spot == 0).all()
    assert (climate.moves(state, {}, START, START + 2 * SECOND).spot == 0).all()


def test_a_market_that_jumps_becomes_a_shock_and_the_shock_passes():
    climate, state, now_us = Climate(S, D, EVEN), market(), START
    rng, activity = np.random.default_rng(0), []
    for second in range(4000):
        state = state._replace(expiry_us=EXPIRIES)
        before = state
        q = S.shock if 1500 <= second < 2000 else S.calm
        step = np.sqrt(dynamics.level_noise((EXPIRIES - now_us) / YEAR_US, 1 / (365 * 86_400), D).diagonal())
        state = learned(state, before.x[:, LEVEL] + q * step * rng.normal(), 2e-4)
        before = learned(before, before.x[:, LEVEL], 1e-3)
        climate.told(before, state, EVERY)
        activity.append(climate.moves(state, forwards(50_000.0), now_us, now_us + SECOND).activity)
        now_us += SECOND
    assert np.mean(activity[1000:1500]) < 1.5
    assert np.mean(activity[1700:2000]) > 4.0
    assert np.mean(activity[3000:]) < 1.5
    assert climate.regimes.mu.sum() == pytest.approx(1.0)


def test_after_a_long_silence_nothing_is_known_of_the_regime():
    climate, state = Climate(S, D, EVEN), market()
    climate.moves(state, forwards(50_000.0), START - SECOND, START)
    climate.told(state, learned(state, -0.5, 1e-3), EVERY)
    moves = climate.moves(state, forwards(50_000.0), START, START + 86_400 * SECOND)
    assert moves.activity == pytest.approx(regimes.stationary(S) @ S.scales**2, rel=0.02)


def test_a_weekend_counts_as_configured():
    """The instant is a Sunday's midnight."""
    sunday_us = 1_795_305_600 * SECOND
    for weight in (1.0, 0.25):
        climate = Climate(S, D, VarianceTime(Calendar(weekend_weight=weight)))
        activity = climate.moves(joint.EMPTY, {}, sunday_us, sunday_us + SECOND).activity
        assert activity == pytest.approx(weight * regimes.begin(S).activity(S))
