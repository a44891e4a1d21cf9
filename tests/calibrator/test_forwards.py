"""What is published of each forward, from synthetic markets whose truth is known."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, F, chain, instrument, quote

from kvd.calibrator.forwards import Forwards
from kvd.core.forward import ForwardFilter
from kvd.quotes import ForwardQuote

DAILY, WEEKLY, FAR = NOW + DAY, NOW + 8 * DAY, NOW + 60 * DAY
CARRY = 0.1


def true(expiry_us, carry=CARRY, spot=F):
    return spot * math.exp(carry * (expiry_us - NOW) / (365 * DAY))


def told(expiry_us, price=None, at_us=NOW, source="SYN", strike=F, kind="call", **how):
    """A quote priced on the true forward and told to be on `price`."""
    made = quote(instrument(expiry_us, strike, kind), at_us, forward=true(expiry_us), **how)
    return msgspec.structs.replace(made, forward=true(expiry_us) if price is None else price, forward_source=source)


def future(expiry_us, bid, ask, at_us=NOW, name="BTC-FUT"):
    return ForwardQuote(name, "deribit", "BTC", expiry_us, bid, ask, at_us, at_us)


def hear(forwards, quotes=(), futures=(), hidden=False):
    return forwards.hear(quotes, futures, np.full(len(quotes), hidden))


def fresh(**changes):
    return Forwards(msgspec.structs.replace(ForwardFilter(), **changes))


def legs(expiry_us, strikes=(0.98 * F, F, 1.02 * F), **how):
    return [told(expiry_us, strike=strike, kind=kind, **how) for strike in strikes for kind in ("call", "put")]


def test_the_venues_price_is_the_forward_until_something_speaks_against_it():
    forwards = fresh()
    assert WEEKLY not in forwards
    said = hear(forwards, [told(WEEKLY), told(FAR, at_us=NOW - 1)])
    assert said.forward == pytest.approx([true(WEEKLY), true(FAR)], rel=1e-9)
    assert (said.gated, said.outside, said.executable) == (0, 0, {})
    assert forwards[WEEKLY].value == pytest.approx(true(WEEKLY), rel=1e-5)
    assert 0 < forwards[WEEKLY].sd < 3e-4 * F and forwards[WEEKLY].source == "SYN"
    forwards.forget(WEEKLY)
    forwards.forget(WEEKLY)
    assert WEEKLY not in forwards and FAR in forwards


def test_a_quote_that_comes_with_no_forward_is_read_with_the_newest():
    forwards = fresh()
    silent = msgspec.structs.replace(told(WEEKLY), forward=None)
    assert np.isnan(hear(forwards, [silent]).forward).all()
    hear(forwards, [told(WEEKLY)])
    unknown = msgspec.structs.replace(told(FAR), forward=None)
    ours = hear(forwards, [silent, unknown]).forward
    assert ours[0] == pytest.approx(true(WEEKLY), rel=1e-5) and np.isnan(ours[1])


def test_each_quote_is_read_with_the_price_of_its_own_instant():
    forwards = fresh()
    hear(forwards, [told(WEEKLY)])
    moved = [told(WEEKLY, true(WEEKLY) * (1 + 1e-5 * n), NOW + n * 10_000) for n in range(4)]
    assert hear(forwards, moved).forward == pytest.approx([q.forward for q in moved], rel=1e-9)


def test_spots_moves_reach_every_expiry():
    forwards = fresh()
    for n in range(5):
        hear(forwards, [told(e, at_us=NOW + n * SECOND) for e in (DAILY, WEEKLY, FAR)])
    at_us = NOW + 6 * SECOND
    hear(forwards, [told(WEEKLY, 1.0005 * true(WEEKLY), at_us)])
    for e in (DAILY, FAR):
        assert forwards[e].value == pytest.approx(1.0005 * true(e), rel=1e-4)
    at_us += 60 * SECOND
    hear(forwards, futures=[future(None, 1.001 * F, 1.001 * F, at_us), future(FAR, *[1.001 * true(FAR)] * 2, at_us)])
    assert forwards[DAILY].value == pytest.approx(1.001 * true(DAILY), rel=2e-4)


def test_a_future_gives_an_expiry_its_forward_before_any_option_does():
    forwards = fresh()
    hear(forwards, futures=[future(FAR, F, F + 6)])
    assert forwards[FAR].value == pytest.approx(F + 3) and forwards[FAR].source == "BTC-FUT"
    index = [told(FAR, F, source="index_price")]
    assert hear(forwards, index).forward[0] == pytest.approx(F + 3, rel=1e-4)


def test_a_wide_future_moves_the_forward_less():
    values = []
    for half in (0.1, 300.0):
        forwards = fresh()
        hear(forwards, [told(WEEKLY)])
        price = true(WEEKLY) + 10
        hear(forwards, futures=[future(WEEKLY, price - half, price + half)])
        values.append(forwards[WEEKLY].value - true(WEEKLY))
    assert values[0] > 10 * values[1] > 0


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("carry", [-0.3, 0.3])
def test_parity_finds_the_forward_that_the_index_is_not(inverse, carry):
    forwards, truth = fresh(), true(DAILY, carry)
    quotes = [
        msgspec.structs.replace(
            quote(instrument(DAILY, strike, kind, inverse), half=0.003, forward=truth),
            forward=F,
            forward_source="index_price",
        )
        for strike in (0.98 * F, F, 1.02 * F)
        for kind in ("call", "put")
    ]
    said = hear(forwards, quotes)
    assert said.forward == pytest.approx([truth] * 6, rel=2e-4)
    assert forwards[DAILY].source == "parity"
    assert abs(forwards[DAILY].value - truth) < 2 * forwards[DAILY].sd < 0.5 * abs(truth - F) + 6e-4 * F


def test_a_daily_without_a_pair_takes_the_carry_of_its_neighbours():
    forwards = fresh()
    index = [told(DAILY, F, source="index_price"), told(WEEKLY), told(FAR)]
    for _ in range(3):
        said = hear(forwards, index)
    assert F < said.forward[0] <= true(DAILY)
    assert abs(forwards[DAILY].value - true(DAILY)) < forwards[DAILY].sd < 4e-4 * F
    assert forwards[DAILY].source == "carry" and forwards[WEEKLY].source == "SYN"


def test_held_out_prices_say_nothing():
    forwards = fresh()
    hear(forwards, legs(DAILY, price=F, source="index_price", half=0.003), hidden=True)
    assert forwards[DAILY].value == pytest.approx(F, rel=1e-9) and forwards[DAILY].source == "index_price"


def test_a_price_that_jumps_alone_is_gated_and_its_quotes_have_no_forward_for_now():
    forwards = fresh()
    for n in range(5):
        hear(forwards, [told(e, at_us=NOW + n * SECOND) for e in (WEEKLY, FAR)])
    at_us = NOW + 6 * SECOND
    said = hear(forwards, [told(WEEKLY, 1.01 * true(WEEKLY), at_us), told(FAR, at_us=at_us)])
    assert said.gated == 1 and np.isnan(said.forward[0]) and said.forward[1] == pytest.approx(true(FAR), rel=1e-5)
    assert forwards[WEEKLY].value == pytest.approx(true(WEEKLY), rel=1e-4)
    at_us += 5 * SECOND
    said = hear(forwards, [told(WEEKLY, 1.01 * true(WEEKLY), at_us), told(FAR, at_us=at_us)])
    assert said.forward == pytest.approx([true(WEEKLY), true(FAR)], rel=1e-4)


def test_a_price_that_stays_apart_is_overruled_by_parity():
    forwards = fresh()
    for n in range(60):
        at_us = NOW + n * SECOND
        off = 1.01 if n > 10 else 1.0
        pairs = legs(WEEKLY, price=off * true(WEEKLY), at_us=at_us, half=0.003)
        said = hear(forwards, [*pairs, told(FAR, at_us=at_us)])
        assert said.outside == (n > 10)
        assert forwards[WEEKLY].value == pytest.approx(true(WEEKLY), rel=5e-4)
    assert forwards[WEEKLY].source == "parity" and forwards[FAR].value == pytest.approx(true(FAR), rel=1e-4)
    assert said.forward == pytest.approx([true(WEEKLY)] * 6 + [true(FAR)], rel=5e-4)


def test_a_jump_that_all_expiries_share_is_followed_at_once():
    forwards = fresh()
    for n in range(5):
        hear(forwards, [told(e, at_us=NOW + n * SECOND) for e in (DAILY, WEEKLY, FAR)])
    at_us = NOW + 5 * SECOND
    said = hear(forwards, [told(e, 0.97 * true(e), at_us) for e in (DAILY, WEEKLY)])
    assert said.gated == 0 and said.forward == pytest.approx([0.97 * true(e) for e in (DAILY, WEEKLY)], rel=1e-4)
    assert forwards[FAR].value == pytest.approx(0.97 * true(FAR), rel=1e-3)


def test_expiries_and_their_pairs_leave_when_they_are_over():
    forwards = fresh()
    hear(forwards, [*legs(DAILY), told(FAR)])
    hear(forwards, [told(FAR, at_us=DAILY)])
    assert DAILY not in forwards and forwards[FAR].value == pytest.approx(true(FAR), rel=1e-4)


batches = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([DAILY, WEEKLY, FAR]),
            st.none() | st.floats(0.9 * F, 1.1 * F) | st.floats(1e-3, 1e9),
            st.sampled_from(["SYN.X", "BTC-FUT", "index_price"]),
            st.sampled_from([0.97 * F, F]),
            st.sampled_from(["call", "put"]),
            st.integers(-SECOND, SECOND),
        ),
        unique_by=lambda drawn: (drawn[0], drawn[3], drawn[4]),
        max_size=8,
    ),
    max_size=6,
)


def heard(drawn, order):
    forwards, said = fresh(), []
    for n, words in enumerate(drawn):
        at_us = NOW + n * 5 * SECOND
        quotes = [
            msgspec.structs.replace(
                quote(instrument(e, strike, kind), at_us + late_us), forward=price, forward_source=source
            )
            for e, price, source, strike, kind, late_us in words
        ]
        names = [q.instrument.name for q in order(quotes)]
        said.append(dict(zip(names, hear(forwards, order(quotes)).forward.tolist(), strict=True)))
    return said, {e: forwards[e] for e in (DAILY, WEEKLY, FAR) if e in forwards}


@given(batches)
@settings(max_examples=60, deadline=None)
def test_whatever_is_said_forwards_are_finite_sure_and_the_same_in_any_order(drawn):
    said, known = heard(drawn, list)
    again, same = heard(drawn, lambda quotes: quotes[::-1])
    for e, forward in known.items():
        assert math.isfinite(forward.value) and forward.value > 0 and 0 < forward.sd < math.inf
        assert same[e].value == pytest.approx(forward.value, rel=1e-9)
        assert same[e].sd == pytest.approx(forward.sd, rel=1e-6) and same[e].source == forward.source
    assert set(same) == set(known)
    for one, other in zip(said, again, strict=True):
        assert one == pytest.approx(other, rel=1e-9, nan_ok=True)


def test_the_same_words_say_the_same():
    quotes = [*chain(WEEKLY), *legs(DAILY, price=F, source="index_price")]
    one, other = fresh(), fresh()
    for forwards in (one, other):
        hear(forwards, quotes)
    assert [one[e] for e in (DAILY, WEEKLY)] == [other[e] for e in (DAILY, WEEKLY)]
