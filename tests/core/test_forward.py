"""Put-call parity bounds against a search, pair by pair, over all forwards."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.core.forward import deviation, parity_bounds

F = 30_000.0


def gains(strike, call, put, inverse, forward):
    """Whether a trader gains for certain by trading call less put against `forward` and `strike`."""
    fair = 1 - strike / forward if inverse else forward - strike
    return fair > call[1] - put[0] or fair < call[0] - put[1]


def allowed(strike, call, put, inverse):
    """The forwards at which nobody gains, found by bisection from one of them outwards."""
    middle = 0.5 * (sum(call) - sum(put))
    inside = strike / (1 - middle) if inverse else strike + middle

    def edge(outside):
        within = inside
        for _ in range(80):
            forward = 0.5 * (within + outside)
            within, outside = (within, forward) if gains(strike, call, put, inverse, forward) else (forward, outside)
        return within

    return edge(1.0), edge(10 * F)


@st.composite
def pairs(draw, inverse):
    """Strikes around F with calls and puts whose synthetic forwards are near F, some sides missing."""
    strikes, calls, puts = [], [], []
    for _ in range(draw(st.integers(0, 6))):
        strike = draw(st.floats(0.5 * F, 1.5 * F))
        near = F * (1 + draw(st.floats(-0.01, 0.01)))
        parity = (1 - strike / near) if inverse else near - strike
        unit = 1.0 if inverse else F
        put_bid = 0.05 * unit + max(0.0, -parity)
        spread = draw(st.floats(1e-4, 0.05)) * unit
        sides = [put_bid + parity, put_bid + parity + spread, put_bid, put_bid + spread]
        sides = [math.nan if draw(st.integers(0, 9)) == 0 else side for side in sides]
        strikes, calls, puts = [*strikes, strike], [*calls, sides[:2]], [*puts, sides[2:]]
    return np.array(strikes), np.array(calls).reshape(-1, 2).T, np.array(puts).reshape(-1, 2).T


@pytest.mark.parametrize("inverse", [False, True])
@given(st.data())
def test_the_bounds_are_where_arbitrage_of_the_tightest_pair_begins(inverse, data):
    strike, call, put = data.draw(pairs(inverse))
    complete = np.flatnonzero(np.isfinite(call).all(axis=0) & np.isfinite(put).all(axis=0))
    ranges = [allowed(strike[n], call[:, n], put[:, n], inverse) for n in complete]
    bounds = parity_bounds(strike, call, put, inverse)
    if bounds is None:
        assert not ranges
    else:
        tightest = min(high - low for low, high in ranges)
        assert any(bounds == pytest.approx(found, rel=1e-9) for found in ranges)
        assert bounds[1] - bounds[0] == pytest.approx(tightest, abs=1e-9 * F)


def test_one_pair_by_hand():
    """Deribit's way: at strike 30,000 a call at 0.030 to 0.031 and a put at 0.020 to 0.022 coins."""
    call, put = np.array([[0.030], [0.031]]), np.array([[0.020], [0.022]])
    low, high = parity_bounds(np.array([30_000.0]), call, put, inverse=True)
    assert (low, high) == pytest.approx((30_000 / 0.992, 30_000 / 0.989))
    assert parity_bounds(np.array([30_000.0]), call, put, inverse=False) == pytest.approx((30_000.008, 30_000.011))


def test_an_ask_of_the_whole_coin_bounds_nothing_from_above():
    call, put = np.array([[0.1], [1.0]]), np.array([[0.0], [0.05]])
    _, high = parity_bounds(np.array([30_000.0]), call, put, inverse=True)
    assert high > 1e12


@given(st.floats(1.0, 100.0), st.floats(1.0, 100.0), st.floats(0.0, 50.0))
def test_deviation_is_the_distance_to_the_interval(forward, low, width):
    nearest = min(max(forward, low), low + width)
    assert deviation(forward, (low, low + width)) == abs(forward - nearest)
