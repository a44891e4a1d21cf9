"""Arbitrage on bids and asks against a search over every pair and every triple of neighbours."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvd.core.executable import SAME_MOMENT, boxes, butterflies, calendars
from kvd.core.forward import ForwardFilter

bounds = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-20, 20), st.integers(0, 20), st.booleans()), min_size=1, max_size=8
)


@given(bounds)
def test_a_box_is_two_pairs_that_exclude_each_other(drawn):
    expiry, low, width, new = (np.array(column) for column in zip(*drawn, strict=True))
    low, high = low / 10.0, (low + width) / 10.0
    expected = {
        i
        for i, j in itertools.permutations(range(len(drawn)), 2)
        if expiry[i] == expiry[j] and new[i] and (low[i] > high[j] + 1e-9 or low[j] > high[i] + 1e-9)
    }
    assert boxes(expiry, low, high, new) == len(expected)


def test_no_new_pair_is_no_new_box():
    assert boxes(np.array([1, 1]), np.array([0.0, 2.0]), np.array([1.0, 3.0]), np.zeros(2, dtype=np.bool_)) == 0


legs = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 9), st.integers(0, 50), st.integers(0, 10), st.booleans()),
    unique_by=lambda leg: leg[:2],
    max_size=9,
)


@given(legs, st.randoms(use_true_random=False))
def test_a_butterfly_pays_at_once_and_never_costs(drawn, random):
    """Held to settlement a strangle of wings, a puts at K1 and (1 - a) at K3, always covers one put at K2."""
    expected = 0
    for expiry in (0, 1):
        for three in zip(*(sorted(leg for leg in drawn if leg[0] == expiry)[n:] for n in range(3)), strict=False):
            (_, k1, bid1, s1, n1), (_, k2, bid2, _, n2), (_, k3, bid3, s3, n3) = three
            a = (k3 - k2) / (k3 - k1)
            cost = a * (bid1 + s1) + (1 - a) * (bid3 + s3) - bid2
            expected += cost < -1e-9 and (n1 or n2 or n3)
            payoffs = [a * max(k1 - s, 0) + (1 - a) * max(k3 - s, 0) - max(k2 - s, 0) for s in np.linspace(0, 12, 97)]
            assert min(payoffs) > -1e-12
    random.shuffle(drawn)
    expiry, strike, bid, spread, new = np.array(drawn, dtype=np.float64).reshape(-1, 5).T
    base = np.zeros(len(drawn))
    assert butterflies(expiry.astype(np.int64), strike, bid, bid + spread, base, new > 0) == expected


def test_prices_of_different_moments_or_missing_prove_nothing():
    expiry, strike = np.zeros(3, dtype=np.int64), np.array([1.0, 2.0, 3.0])
    bid, ask, new = np.array([0.9, 2.0, 0.9]), np.array([1.0, 2.1, 1.0]), np.ones(3, dtype=np.bool_)
    assert butterflies(expiry, strike, bid, ask, np.zeros(3), new) == 1
    assert butterflies(expiry, strike, bid, ask, np.array([0.0, 0.0, 1.1 * SAME_MOMENT]), new) == 0
    assert butterflies(expiry, strike, bid, np.array([np.nan, 2.1, 1.0]), np.zeros(3), new) == 0


SETTINGS = ForwardFilter()
side = st.floats(0.02, 0.3)
options = st.lists(st.tuples(st.integers(1, 3), st.floats(-0.3, 0.3), side, side, st.booleans()), max_size=8)


@given(options, st.sampled_from([1.0, -1.0]), st.booleans())
def test_a_calendar_pays_at_once_and_never_costs_while_the_carry_stays_in_its_margin(drawn, sign, inverse):
    """A search over pairs; each is held to the first settlement at any price, the carry anywhere in the margin."""
    drawn = [(0.1 * years, k, min(sides), max(sides), new) for years, k, *sides, new in drawn]
    expected = 0
    for (tau1, k1, bid1, _, new1), (tau2, k2, _, ask2, new2) in itertools.permutations(drawn, 2):
        margin = 3 * (0.15 * tau1**0.5 * (tau2 - tau1) + 0.8 * (1 / 31_536_000) ** 0.5)
        many = 1.0 if inverse else np.exp(sign * margin)
        if tau1 < tau2 and sign * (k1 - k2) >= margin and many * ask2 < bid1 - 1e-12 and (new1 or new2):
            expected += 1
            for spot, b in itertools.product(np.exp(np.linspace(-1, 1, 21)), (-margin, 0.0, margin)):
                late = spot * np.exp(b)  # the later forward, both being 1 when the trade is made
                short, long = sign * (spot - np.exp(k1)), sign * (late - np.exp(k2))
                units = (spot, late) if inverse else (1.0, 1.0)
                assert many * max(long, 0) / units[1] - max(short, 0) / units[0] > -1e-9
    tau, k, bid, ask, new = np.array(drawn, dtype=np.float64).reshape(-1, 5).T
    tau, place = np.unique(tau, return_inverse=True)
    assert calendars(tau, place, k, bid, ask, np.full(len(k), sign), inverse, new > 0, SETTINGS) == expected


def test_a_call_and_a_put_are_no_calendar():
    tau, k, bid, ask = np.array([0.1, 0.2]), np.array([0.1, 0.0]), np.array([0.2, 0.01]), np.array([0.21, 0.02])
    place, new = np.arange(2), np.ones(2, dtype=np.bool_)
    mixed = calendars(tau, place, k, bid, ask, np.array([1.0, -1.0]), True, new, SETTINGS)
    alike = calendars(tau, place, k, bid, ask, np.ones(2), True, new, SETTINGS)
    assert (mixed, alike) == (0, 1)


chains = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(chains, st.booleans())
def test_of_many_options_those_that_cannot_pay_are_left_out_and_no_others(rng, inverse):
    """Calls and puts of many expiries, some without a price: a search over pairs."""
    n, tau = 60, np.array([0.001, 0.05, 0.3, 0.9, 2.5])
    place, sign, new = rng.integers(0, 5, n), rng.choice([-1.0, 1.0], n), rng.random(n) < 0.5
    k = np.round(rng.normal(0, 0.4, n), 1)
    bid = np.maximum(sign * (1 - np.exp(k)), 0.0) + 0.4 * np.sqrt(tau[place]) * np.exp(rng.normal(0, 0.7, n))
    ask = bid * rng.uniform(1.0, 1.2, n)
    bid[rng.random(n) < 0.1], ask[rng.random(n) < 0.1] = np.nan, np.nan
    expected = 0
    for i, j in itertools.permutations(range(n), 2):
        if sign[i] == sign[j] and place[i] < place[j] and (new[i] or new[j]):
            one, two = tau[place[i]], tau[place[j]]
            margin = 3 * (0.15 * one**0.5 * (two - one) + 0.8 * (1 / 31_536_000) ** 0.5)
            many = 1.0 if inverse else np.exp(sign[i] * margin)
            expected += sign[i] * (k[i] - k[j]) >= margin and many * ask[j] < bid[i] - 1e-12
    assert calendars(tau, place, k, bid, ask, sign, inverse, new, SETTINGS) == expected
