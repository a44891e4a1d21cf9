"""Calls and puts side by side: when two quotes make a pair, and what is read from one."""

import math

import msgspec
import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, F, instrument, quote

from kvd.calibrator.pairs import Pairs, executable, outside, readings
from kvd.core.forward import ForwardFilter

EXPIRY = NOW + 10 * DAY
SETTINGS = ForwardFilter(pair_apart_s=5.0)
LN_F = math.log(F)


def pair(strike=F, expiry_us=EXPIRY, at_us=NOW, **how):
    return [quote(instrument(expiry_us, strike, kind), at_us, **how) for kind in ("call", "put")]


def posted(*quotes, base=LN_F, pairs=None):
    pairs = pairs or Pairs(SETTINGS)
    return pairs, pairs.post(quotes, np.full(len(quotes), base))


def test_a_pair_bounds_the_forward_from_both_sides():
    pairs, (rows, first) = posted(*pair())
    call, put = pair()
    assert rows.tolist() == [0] and first
    assert pairs.low[0] == pytest.approx(math.log(F / (1 - (call.bid - put.ask))) - LN_F, abs=1e-12)
    assert pairs.high[0] == pytest.approx(math.log(F / (1 - (call.ask - put.bid))) - LN_F, abs=1e-12)
    assert pairs.low[0] < 0 < pairs.high[0]
    assert not posted(*pair(), pairs=pairs)[1][1]


@pytest.mark.parametrize(
    "quotes",
    [
        pair()[:1],
        [pair()[0], pair(1.1 * F)[1]],
        [pair()[0], msgspec.structs.replace(pair()[1], bid=None)],
        [pair()[0], pair(at_us=NOW - 5 * SECOND - 1)[1]],
        [pair()[0], pair(expiry_us=EXPIRY + DAY)[1]],
    ],
    ids=["no put", "another strike", "one-sided", "too far apart", "another expiry"],
)
def test_without_a_pair_nothing_is_read(quotes):
    pairs, _ = posted(*quotes)
    assert [len(column) for column in readings(pairs, NOW, SETTINGS)] == [0, 0, 0]
    assert outside(pairs, {EXPIRY: 1.0}, NOW, SETTINGS) == 0


def test_an_older_quote_does_not_replace_a_newer():
    pairs, _ = posted(*pair(at_us=NOW + SECOND))
    low = pairs.low[0]
    posted(*pair(half=0.001), pairs=pairs)
    assert pairs.low[0] == low and pairs.at_us[0].tolist() == [NOW + SECOND] * 2


def test_a_reading_is_as_sure_as_it_is_narrow_and_fresh():
    pairs, _ = posted(*pair(), *pair(1.01 * F, half=0.002))
    expiry_us, y, R = readings(pairs, NOW, SETTINGS)
    assert expiry_us.tolist() == [EXPIRY] * 2 and np.abs(y).max() < 1e-4
    width = pairs.high - pairs.low
    np.testing.assert_allclose(R, (SETTINGS.parity_width_factor * width) ** 2, rtol=1e-9)
    _, _, later = readings(pairs, NOW + int(SETTINGS.parity_memory_s * 1e6), SETTINGS)
    np.testing.assert_allclose(later / R, math.e, rtol=1e-9)


def test_legs_of_different_moments_are_less_sure():
    pairs = Pairs(SETTINGS)
    pairs.post(pair(half=0.001), np.array([LN_F - 1e-3, LN_F + 1e-3]))
    _, y, R = readings(pairs, NOW, SETTINGS)
    assert y[0] == pytest.approx(0, abs=1e-4) and R[0] > 1e-6


def test_a_price_outside_the_tightest_pair_is_counted_by_expiry():
    pairs, _ = posted(*pair(), *pair(1.01 * F, half=0.001), *pair(expiry_us=EXPIRY + DAY))
    between = 0.5 * (pairs.high[1] + pairs.high[0])
    assert pairs.high[1] < between < pairs.high[0]
    assert outside(pairs, {EXPIRY: between, EXPIRY + DAY: 0.0}, NOW, SETTINGS) == 1
    assert outside(pairs, {EXPIRY: 0.0, EXPIRY + DAY: -0.1}, NOW, SETTINGS) == 1
    assert outside(pairs, {EXPIRY: between}, NOW + 6 * SECOND, SETTINGS) == 0


def test_a_rebased_price_leaves_the_forward_where_it_is():
    pairs, _ = posted(*pair(), *pair(expiry_us=EXPIRY + DAY))
    before = pairs.base.mean(axis=1) + pairs.low
    other = pairs.low[1]
    pairs.shift(EXPIRY, 0.01)
    np.testing.assert_allclose(pairs.base.mean(axis=1) + pairs.low, before, atol=1e-12)
    assert pairs.low[1] == other


def test_an_expiry_is_forgotten_and_the_rest_stays_in_place():
    pairs, _ = posted(*pair(), *pair(expiry_us=EXPIRY + DAY))
    pairs.forget(EXPIRY)
    assert pairs.expiry_us.tolist() == [EXPIRY + DAY]
    assert posted(*pair(expiry_us=EXPIRY + DAY), pairs=pairs)[1][0].tolist() == [0]


def test_arbitrage_on_the_venues_own_prices_is_found_by_kind():
    pairs, (rows, _) = posted(*pair(0.99 * F), *pair(F), *pair(1.01 * F))
    assert executable(pairs, rows, NOW, SETTINGS) == {}
    dear = [msgspec.structs.replace(q, bid=q.bid + 0.02, ask=q.ask + 0.02) for q in pair(F)[:1]]
    pairs, (rows, _) = posted(*dear, pairs=pairs)
    assert executable(pairs, rows, NOW, SETTINGS) == {"box": 1, "butterfly": 1}
    assert executable(pairs, rows[:0], NOW, SETTINGS) == {}


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("leg", [0, 1])
def test_a_later_option_cheaper_than_the_earlier_one_it_covers_is_a_calendar(leg, inverse):
    kind, strike = ("call", 0.97 * F) if leg == 0 else ("put", 1.03 * F)
    early = quote(instrument(EXPIRY, F, kind, inverse))
    late = quote(instrument(EXPIRY + 10 * DAY, strike, kind, inverse))
    cheap = msgspec.structs.replace(late, bid=0.4 * early.bid, ask=0.5 * early.bid)

    def kinds(*quotes, at_us=NOW, **bias):
        pairs, (rows, _) = posted(*quotes)
        return executable(pairs, rows, at_us, SETTINGS, {EXPIRY + 10 * DAY: bias.get("bias", 0.0)})

    assert kinds(early, late) == {}
    assert kinds(early, cheap) == {"calendar": 1}
    assert kinds(early, cheap, at_us=NOW + 2 * SECOND) == {}
    assert kinds(early, cheap, bias=-0.05 if leg == 0 else 0.05) == {}
