"""What no market says is turned away before anything remembers it, with a reason and a count."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, batch, chain, instrument, quote

from kvd.calibrator import Calibrator
from kvd.calibrator.sanity import AHEAD_US, MOST_EXPIRIES, MOST_OPTIONS, MOST_SOURCES, Sanity
from kvd.config import Settings
from kvd.quotes import ForwardQuote, Gap
from kvd.wire import Encoder

PLAIN = quote(instrument(NOW + 30 * DAY, 30_000.0))
INDEX = ForwardQuote("btc_usd", "deribit", "BTC", None, 30_000.0, 30_000.0, NOW, NOW)


def changed(**changes):
    return msgspec.structs.replace(PLAIN, **changes)


def listed(**changes):
    return changed(instrument=msgspec.structs.replace(PLAIN.instrument, **changes))


def refused(*events, now_us=NOW):
    return Sanity().sift(events, now_us).refused


def test_what_markets_say_passes_in_its_order():
    events = [INDEX, PLAIN, Gap("deribit", NOW, "x"), changed(bid=None, ask=5e-324, forward=None)]
    sifted = Sanity().sift(events, NOW)
    assert (sifted.quotes, sifted.futures, sifted.refused) == ([PLAIN, events[3]], [INDEX], {})


@pytest.mark.parametrize(
    "wrong",
    [
        changed(forward=1e-300), changed(forward=float("nan")), changed(forward=float("inf")), listed(strike=1e13),
        listed(strike=1e-13), listed(tick_size=1e308), listed(tick_size=1e-300),
        listed(expiry_us=NOW + 100 * 366 * DAY), msgspec.structs.replace(INDEX, bid=1e300),
        msgspec.structs.replace(INDEX, ask=float("nan")),
    ],
)  # fmt: skip
def test_numbers_that_leave_nothing_to_compute_with_are_absurd(wrong):
    assert refused(wrong) == {"absurd": 1}


@pytest.mark.parametrize("wrong", [-1.0, 0.0, 1e308, float("-inf"), float("nan")])
@pytest.mark.parametrize("side", ["bid", "ask"])
def test_of_a_price_that_no_option_has_the_forward_beside_it_remains(side, wrong):
    sifted = Sanity().sift([changed(**{side: wrong})], NOW)
    assert sifted.quotes == [changed(bid=None, ask=None)] and not sifted.refused


@given(st.integers(-2 * AHEAD_US, 2 * AHEAD_US))
def test_a_clock_may_be_two_hours_before_ours_and_any_time_behind(ahead_us):
    late = changed(exchange_us=NOW + ahead_us)
    assert refused(late) == ({"ahead": 1} if ahead_us > AHEAD_US else {})
    future = msgspec.structs.replace(INDEX, exchange_us=NOW + ahead_us)
    assert refused(future) == ({"ahead": 1} if ahead_us > AHEAD_US else {})


def test_one_word_from_the_next_century_does_not_end_every_expiry():
    calibrator = Calibrator(Settings())
    (first,) = calibrator.step(batch(*chain(NOW + 30 * DAY)))
    poison = msgspec.structs.replace(INDEX, exchange_us=NOW + 36_500 * DAY)
    (second,) = calibrator.step(batch(poison, *chain(NOW + 30 * DAY, NOW + SECOND)))
    assert first.smiles and second.smiles and not second.withdrawn
    assert second.facts.refused["ahead"] == 1


@pytest.mark.parametrize(
    ("most", "another"),
    [
        (MOST_EXPIRIES, lambda i: listed(name=f"E{i}", expiry_us=NOW + (i + 1) * DAY)),
        (MOST_OPTIONS, lambda i: listed(name=f"O{i}")),
        (MOST_SOURCES, lambda i: changed(forward_source=f"S{i}")),
    ],
)
def test_there_is_room_for_so_many_and_no_more(most, another):
    events = [another(i) for i in range(most + 10)]
    sanity = Sanity()
    sifted = sanity.sift(events, NOW)
    assert sifted.refused == {"too_many": 10}
    assert sanity.sift(sifted.quotes, NOW).refused == {}  # whoever is known stays
    assert refused(INDEX, *events)["too_many"] <= 10  # and the index is no expiry


def test_what_has_expired_makes_room():
    sanity = Sanity()
    sanity.sift([listed(name=f"E{i}", expiry_us=NOW + (i + 1) * SECOND) for i in range(MOST_EXPIRIES)], NOW)
    assert sanity.sift([PLAIN], NOW).refused == {"too_many": 1}
    assert sanity.sift([PLAIN], NOW + 10 * SECOND).refused == {}


def test_an_absurd_price_step_no_longer_brings_the_publisher_down():
    calibrator, encoder = Calibrator(Settings()), Encoder("e")
    for second in range(3):
        quotes = chain(NOW + 30 * DAY, NOW + second * SECOND)
        coarse = [
            msgspec.structs.replace(q, instrument=msgspec.structs.replace(q.instrument, tick_size=1e308))
            for q in quotes
        ]
        for update in calibrator.step(batch(*coarse)):
            encoder.encode(update)  # it raised: the record was not finite
            assert update.facts.refused == {"absurd": len(coarse)} and not update.smiles


def test_strangers_underlyings_are_counted_together_beyond_what_any_venue_has():
    calibrator = Calibrator(Settings())
    many = [msgspec.structs.replace(INDEX, name=f"n{i}", underlying=f"U{i}") for i in range(100)]
    updates = calibrator.step(batch(*many))
    assert len(updates) == 65 and updates[-1].underlying == "others"
    assert updates[-1].facts.refused == {"too_many": 36}
    assert [u.underlying for u in calibrator.step(batch(*many))] == [u.underlying for u in updates]
    assert np.isfinite(updates[-1].facts.nis) and not updates[-1].smiles
