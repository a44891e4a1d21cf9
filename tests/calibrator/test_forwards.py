import msgspec
import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, F, instrument, quote

from kvd.calibrator import doors
from kvd.calibrator.board import Board
from kvd.calibrator.forwards import FUTURE_AFTER_US, LEAST_SD_RATIO, PAIR_APART_US, Forwards
from kvd.core.measurement import Measurement
from kvd.quotes import ForwardQuote
from kvd.surface import Forward

EXPIRY = NOW + 10 * DAY
PAIR = [quote(instrument(EXPIRY, F, kind)) for kind in ("call", "put")]


def said(price, at_us=NOW, source="SYN"):
    return msgspec.structs.replace(PAIR[0], forward=price, forward_source=source, exchange_us=at_us)


def future(bid, ask, at_us, expiry_us=EXPIRY):
    return ForwardQuote("BTC-FUT", "deribit", "BTC", expiry_us, bid, ask, at_us, at_us)


def board_of(*quotes):
    board = Board()
    doors.admit(quotes, board, NOW, np.zeros(len(quotes), dtype=np.bool_), Measurement())
    return board


def test_the_newest_quotes_underlying_price_is_the_forward():
    forwards = Forwards()
    assert EXPIRY not in forwards
    assert forwards.hear([said(F), said(F + 5, NOW + 1, "INDEX"), said(F + 9, NOW)], []) == {EXPIRY}
    assert forwards[EXPIRY] == Forward(F + 5, pytest.approx(F * LEAST_SD_RATIO), "INDEX")
    assert forwards.hear([said(None, NOW + 2)], []) == set()
    forwards.forget(EXPIRY)
    assert EXPIRY not in forwards


def test_a_future_speaks_when_the_options_have_been_silent_for_a_while():
    forwards = Forwards()
    forwards.hear([said(F)], [future(F, F + 10, NOW + FUTURE_AFTER_US)])
    assert forwards[EXPIRY].value == F
    assert forwards.hear([], [future(F, F + 10, NOW + FUTURE_AFTER_US + 1)]) == {EXPIRY}
    assert forwards[EXPIRY] == Forward(F + 5, 5.0, "BTC-FUT")
    forwards.hear([], [future(F, F + 10, NOW + 10 * SECOND, expiry_us=None)])
    assert EXPIRY in forwards and forwards[EXPIRY].source == "BTC-FUT"


def test_parity_that_agrees_gives_the_deviation_of_a_uniform_law():
    """At the money in coins: call - put = 1 - K/F, each known within its spread."""
    forwards = Forwards()
    forwards.hear(PAIR, [])
    assert forwards.check(EXPIRY, board_of(*PAIR))
    call, put = PAIR
    low, high = F / (1 - (call.bid - put.ask)), F / (1 - (call.ask - put.bid))
    assert low < F < high
    assert forwards[EXPIRY].value == F
    assert forwards[EXPIRY].sd == pytest.approx((high - low) / np.sqrt(12), rel=1e-12)


def test_a_forward_outside_parity_is_doubted_by_as_much():
    forwards, narrow = Forwards(), [quote(instrument(EXPIRY, F, kind), half=0.0005) for kind in ("call", "put")]
    board = board_of(*narrow)
    forwards.hear([said(1.01 * F, NOW + 1)], [])
    assert not forwards.check(EXPIRY, board)
    assert forwards[EXPIRY].value == 1.01 * F
    assert 0.009 * F < forwards[EXPIRY].sd < 0.01 * F
    forwards.hear([said(F, NOW + 2)], [])
    assert forwards.check(EXPIRY, board)
    assert forwards[EXPIRY].sd < 0.001 * F


@pytest.mark.parametrize(
    "quotes",
    [
        PAIR[:1],
        [PAIR[0], quote(instrument(EXPIRY, 1.1 * F, "put"))],
        [PAIR[0], msgspec.structs.replace(PAIR[1], bid=None)],
        [PAIR[0], quote(PAIR[1].instrument, NOW - PAIR_APART_US)],
        [quote(instrument(EXPIRY + DAY, F, kind)) for kind in ("call", "put")],
    ],
    ids=["no put", "another strike", "one-sided", "too old", "another expiry"],
)
def test_without_a_fresh_pair_parity_says_nothing(quotes):
    forwards = Forwards()
    forwards.hear([said(2 * F)], [])
    before = forwards[EXPIRY]
    assert forwards.check(EXPIRY, board_of(*quotes))
    assert forwards[EXPIRY] == before
