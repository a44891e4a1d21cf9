"""The level against the textbook's Kalman filter, parity against a search over all forwards, carry against a Gaussian's
conditional.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.core import forward
from kvd.core.forward import INDEX, YEAR_S, ForwardFilter, Level

F = 30_000.0
SETTINGS = ForwardFilter()
GAUSSIAN = ForwardFilter(gate_sd=1e9)
NOBODY = np.zeros(2, dtype=np.bool_)


def level(n=2, spot_sd=1e-3, basis_sd=1e-4):
    return Level(np.array([10.0, *(1e-3 * i for i in range(1, n + 1))]), np.diag([spot_sd**2, *[basis_sd**2] * n]))


def textbook(x, P, h, y, R):
    """One scalar measurement y = h'x + noise (Kalman 1960)."""
    S = h @ P @ h + R
    K = P @ h / S
    return x + K * (y - h @ x), P - np.outer(K, h @ P)


# The level

observations = st.lists(
    st.tuples(st.sampled_from([INDEX, 0, 1]), st.floats(-3e-3, 3e-3), st.floats(1e-5, 1e-3)), min_size=1, max_size=6
)


@given(observations)
def test_a_batch_is_as_many_textbook_updates(observed):
    x, P = level()
    place, off, sd = (np.array(column) for column in zip(*observed, strict=True))
    y = 10.0 + off
    found, heard = forward.observe(level(), place, y, sd**2, GAUSSIAN)
    for p, value, R in zip(place, y, sd**2, strict=True):
        h = np.array([1.0, p == 0, p == 1])
        x, P = textbook(x, P, h, value, R)
    np.testing.assert_allclose(found.x, x, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.P, P, rtol=1e-6, atol=1e-15)
    assert not heard.gated.any()
    assert (np.linalg.eigvalsh(found.P) > 0).all()


@given(observations)
def test_the_order_of_observations_does_not_matter(observed):
    place, off, sd = (np.array(column) for column in zip(*observed, strict=True))
    ways = [
        forward.observe(level(), place[way], 10.0 + off[way], sd[way] ** 2, SETTINGS)
        for way in (..., slice(None, None, -1))
    ]
    for one, other in zip(ways[0][0], ways[1][0], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-12)
    assert ways[0][1].gated.tolist() == ways[1][1].gated.tolist()[::-1]


def test_an_expiry_that_follows_the_index_is_the_scalar_filter_of_a_random_walk():
    rng = np.random.default_rng(1)
    one, variance, R, dt_s = forward.extend(forward.begin(10.0), 0.0, 0.0), 1.0, 1e-8, 0.2
    mean = 10.0
    for y in 10.0 + np.cumsum(rng.normal(0, 5e-5, 200)):
        one = forward.predict(one, np.array([0.1]), np.array([True]), dt_s, GAUSSIAN)
        one, _ = forward.observe(one, np.array([0]), np.array([y]), np.array([R]), GAUSSIAN)
        variance += GAUSSIAN.spot_sd**2 * dt_s / YEAR_S
        gain = variance / (variance + R)
        mean, variance = mean + gain * (y - mean), (1 - gain) * variance
    price, price_variance = forward.prices(one)
    assert price[0] == pytest.approx(mean, abs=1e-12)
    assert price_variance[0] == pytest.approx(variance, rel=1e-6)


def test_spot_moves_every_expiry_and_time_loosens_them():
    before = level()
    later = forward.predict(before, np.array([0.1, 1.0]), NOBODY, 60.0, SETTINGS)
    assert (np.diag(later.P) > np.diag(before.P)).all() and later.P[2, 2] > later.P[1, 1]
    moved, _ = forward.observe(later, np.array([0]), np.array([10.002]), np.array([1e-10]), SETTINGS)
    price, _ = forward.prices(moved)
    assert price[0] == pytest.approx(10.002, abs=1e-6)
    assert price[1] - forward.prices(later)[0][1] == pytest.approx(0.001, rel=0.05)
    assert forward.predict(before, np.array([0.1, 1.0]), NOBODY, 0.0, SETTINGS) is before


def test_a_price_that_jumps_alone_is_kept_out_and_one_that_all_share_is_followed():
    y = forward.prices(level(3))[0]
    R, place = np.full(3, 1e-10), np.arange(3)
    alone, heard = forward.observe(level(3), place, y + np.array([0.0, 0.02, 0.0]), R, SETTINGS)
    assert heard.gated.tolist() == [False, True, False]
    np.testing.assert_allclose(forward.prices(alone)[0], y, atol=1e-8)
    together, heard = forward.observe(level(3), place, y + 0.02, R, SETTINGS)
    assert not heard.gated.any()
    np.testing.assert_allclose(forward.prices(together)[0], y + 0.02, atol=1e-5)
    lone, heard = forward.observe(level(3), place[:1], y[:1] + 0.02, R[:1], SETTINGS)
    assert heard.gated.all() and lone.x.tolist() == level(3).x.tolist()


def test_places_come_and_go():
    three = forward.extend(level(2), 0.5, 0.01)
    assert three.x.tolist() == [10.0, 1e-3, 2e-3, 0.5] and three.P[3].tolist() == [0, 0, 0, 0.01]
    two = forward.drop(three, 0)
    assert two.x.tolist() == [10.0, 2e-3, 0.5] and two.P[2, 2] == 0.01
    again = forward.rebase(two, 0, -0.1, 0.04)
    assert again.x.tolist() == [10.0, -0.1, 0.5] and again.P[1].tolist() == [0, 0.04, 0]


def test_an_index_that_is_rebased_moves_only_what_follows_it():
    before = forward.prices(level())[0]
    after = forward.prices(forward.rebase_index(level(), np.array([True, False]), 0.01))[0]
    np.testing.assert_allclose(after - before, [0.01, 0.0], atol=1e-15)
    loose = forward.loosen(level())
    assert loose.x.tolist() == level().x.tolist() and forward.prices(loose)[1].min() > 0.9


# Carry

tenors = st.lists(st.floats(1 / 365, 1.0), min_size=2, max_size=5, unique=True)


@given(tenors, st.data())
def test_carry_is_the_conditional_of_a_gaussian(tau, data):
    tau = np.array(tau)
    n = len(tau)
    follows = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    basis = np.array(data.draw(st.lists(st.floats(-0.1, 0.1), min_size=n, max_size=n)))
    P = np.diag(np.full(n + 1, 1e-8))
    mean, variance = forward.carry(Level(np.array([10.0, *basis]), P), tau, follows, SETTINGS)
    f = SETTINGS
    prior = np.array([[f.carry_sd**2 * min(a / b, b / a) ** (1 / f.carry_length) * a * b for a in tau] for b in tau])
    seen = np.flatnonzero(~follows)
    noisy = prior[np.ix_(seen, seen)] + (1e-8 + f.future_sd**2) * np.eye(len(seen))
    gain = prior[:, seen] @ np.linalg.inv(noisy) if len(seen) else np.zeros((n, 0))
    np.testing.assert_allclose(mean, gain @ basis[seen], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(variance, np.diag(prior - gain @ prior[seen]), rtol=1e-4, atol=1e-10)


def test_a_daily_without_a_future_takes_the_carry_of_the_next_expiry():
    tau = np.array([1, 8, 30]) / 365
    sure = Level(np.array([10.0, 0.0, *(0.1 * tau[1:])]), np.diag([1e-10] * 4))
    mean, variance = forward.carry(sure, tau, np.array([True, False, False]), SETTINGS)
    assert 0 < mean[0] < 0.1 * tau[0]
    assert abs(mean[0] - 0.1 * tau[0]) < math.sqrt(variance[0]) < SETTINGS.carry_sd * tau[0]


# Parity


def gains(strike, call, put, inverse, price):
    """Whether a trader gains for certain by trading call less put against `price` and `strike`."""
    fair = 1 - strike / price if inverse else price - strike
    return fair > call[1] - put[0] or fair < call[0] - put[1]


def allowed(strike, call, put, inverse):
    """The forwards at which nobody gains, found by bisection from one of them outwards."""
    middle = 0.5 * (sum(call) - sum(put))
    inside = strike / (1 - middle) if inverse else strike + middle

    def edge(outside):
        within = inside
        for _ in range(80):
            price = 0.5 * (within + outside)
            within, outside = (within, price) if gains(strike, call, put, inverse, price) else (price, outside)
        return within

    return edge(1.0), edge(10 * F)


@st.composite
def pairs(draw):
    """Strikes around F with calls and puts whose synthetic forwards are near F, some sides missing."""
    strikes, calls, puts, inverses = [], [], [], []
    for _ in range(draw(st.integers(0, 6))):
        inverse = draw(st.booleans())
        strike = draw(st.floats(0.5 * F, 1.5 * F))
        near = F * (1 + draw(st.floats(-0.01, 0.01)))
        parity = (1 - strike / near) if inverse else near - strike
        unit = 1.0 if inverse else F
        put_bid = 0.05 * unit + max(0.0, -parity)
        spread = draw(st.floats(1e-4, 0.05)) * unit
        sides = [put_bid + parity, put_bid + parity + spread, put_bid, put_bid + spread]
        sides = [math.nan if draw(st.integers(0, 9)) == 0 else side for side in sides]
        strikes, calls, puts = [*strikes, strike], [*calls, sides[:2]], [*puts, sides[2:]]
        inverses.append(inverse)
    legs = (np.array(side, dtype=np.float64).reshape(-1, 2).T for side in (calls, puts))
    return np.array(strikes), *legs, np.array(inverses, dtype=np.bool_)


@given(pairs())
def test_the_bounds_are_where_arbitrage_of_a_pair_begins(drawn):
    strike, call, put, inverse = drawn
    low, high = forward.parity_bounds(strike, call, put, inverse)
    for n in range(len(strike)):
        if np.isfinite([*call[:, n], *put[:, n]]).all():
            expected = allowed(strike[n], call[:, n], put[:, n], inverse[n])
            assert (math.exp(low[n]), math.exp(high[n])) == pytest.approx(expected, rel=1e-9)
        else:
            assert np.isnan([low[n], high[n]]).any()


def test_one_pair_by_hand():
    """Deribit's way: at strike 30,000 a call at 0.030 to 0.031 and a put at 0.020 to 0.022 coins."""
    call, put, strike = np.array([[0.030] * 2, [0.031] * 2]), np.array([[0.020] * 2, [0.022] * 2]), np.full(2, 30_000.0)
    low, high = np.exp(forward.parity_bounds(strike, call, put, np.array([True, False])))
    assert low == pytest.approx([30_000 / 0.992, 30_000.008])
    assert high == pytest.approx([30_000 / 0.989, 30_000.011])


def test_prices_that_bound_nothing_bound_nothing():
    call, put = np.array([[0.1, 0.0], [1.0, 1.0]]), np.array([[0.0, 40_000.0], [0.05, 50_000.0]])
    low, high = forward.parity_bounds(np.full(2, 30_000.0), call, put, np.array([True, False]))
    assert high[0] == np.inf and low[1] == -np.inf


readings = st.lists(
    st.tuples(st.integers(0, 2), st.floats(-1e-2, 1e-2), st.floats(1e-5, 1e-2)), min_size=1, max_size=12
)


@given(readings, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter_and_their_mean_lies_among_them(drawn, random):
    ways = [drawn, random.sample(drawn, len(drawn))]
    place, y, sd = (np.array(column) for column in zip(*drawn, strict=True))
    (mean, variance), other = (forward.parity(*columns(way), SETTINGS) for way in ways)
    assert mean.tolist() == other[0].tolist() and variance.tolist() == other[1].tolist()
    for i in range(4):
        mine = place == i
        assert np.isfinite(variance[i]) == mine.any()
        if mine.any():
            assert y[mine].min() - 1e-12 <= mean[i] <= y[mine].max() + 1e-12
            assert variance[i] >= 1 / np.sum(sd[mine] ** -2.0) * (1 - 1e-9) + SETTINGS.parity_sd**2


def columns(way):
    place, y, sd = zip(*way, strict=True)
    return np.array(place), 4, np.array(y), np.array(sd) ** 2


def test_pairs_that_agree_are_a_weighted_mean():
    y, sd = np.array([1e-4, 2e-4, 1.5e-4]), np.array([1e-3, 5e-4, 2e-3])
    mean, variance = forward.parity(np.zeros(3, dtype=np.intp), 1, y, sd**2, SETTINGS)
    assert mean[0] == pytest.approx(np.average(y, weights=sd**-2), rel=1e-12)
    assert variance[0] == pytest.approx(1 / np.sum(sd**-2) + SETTINGS.parity_sd**2)


def test_one_wild_pair_of_many_hardly_moves_them():
    y, sd = np.array([0.0, 1e-5, -1e-5, 2e-5, 0.05]), np.full(5, 1e-4)
    mean, _ = forward.parity(np.zeros(5, dtype=np.intp), 1, y, sd**2, SETTINGS)
    assert abs(mean[0]) < 0.5 * 1e-4


# The venue's word and parity's


@given(st.floats(-1e-3, 1e-3), st.floats(1e-5, 1e-3), st.floats(-0.03, 0.03), st.floats(1e-5, 1e-3))
def test_the_bias_is_the_posterior_of_a_venue_that_is_wrong_now_and_then(mean, sd, said, said_sd):
    """Against the integral of prior times likelihood, on a grid fine enough for the narrower of the two."""
    d = forward.bias(*(np.array([v]) for v in (mean, sd**2, said, said_sd**2)), SETTINGS)
    reach = 12 * said_sd
    grid = np.unique(np.concatenate([np.linspace(c - reach, c + reach, 40_001) for c in (mean, said)]))
    grid = grid[np.abs(grid - said) < 30 * said_sd]
    wide = np.hypot(sd, SETTINGS.wrong_sd)
    share = SETTINGS.wrong_share
    prior = (1 - share) * normal(grid, mean, sd) + share * normal(grid, mean, wide)
    density = prior * normal(grid, said, said_sd)
    total = np.trapezoid(density, grid)
    expected = np.trapezoid(grid * density, grid) / total
    variance = np.trapezoid((grid - expected) ** 2 * density, grid) / total
    assert d.mean[0] == pytest.approx(expected, abs=2e-3 * said_sd)
    assert d.variance[0] == pytest.approx(variance, rel=1e-2)
    assert 0 <= d.parity_share[0] <= 1


def normal(x, mean, sd):
    return np.exp(-0.5 * ((x - mean) / sd) ** 2) / sd


def test_a_venue_that_is_far_off_is_not_trusted_and_silence_changes_nothing():
    venue = np.zeros(2), np.full(2, 5e-5**2)
    d = forward.bias(*venue, np.array([0.01, 0.0]), np.array([2e-4**2, np.inf]), SETTINGS)
    assert d.mean[0] == pytest.approx(0.01, abs=1e-5) and d.parity_share[0] > 0.99
    assert d.variance[0] == pytest.approx(2e-4**2, rel=0.01)
    assert (d.mean[1], d.variance[1], d.parity_share[1]) == (0.0, 5e-5**2, 0.0)


def test_parity_within_its_own_error_leaves_a_good_price_alone():
    one = [np.array([v]) for v in (0.0, 5e-5**2, 8e-4, 5e-4**2)]
    assert forward.bias(*one, SETTINGS).mean[0] < 3e-5
