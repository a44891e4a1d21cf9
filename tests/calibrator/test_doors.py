"""Every reason for which a quote is turned away, each provoked by one quote; and what is said of those that pass."""

from math import sqrt

import msgspec
import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, F, black, chain, instrument, quote, smile_vol

from kvd.calibrator import doors
from kvd.calibrator.board import Board
from kvd.core.measurement import Measurement, variance

EXPIRY = NOW + 10 * DAY
TAU = 10 / 365
M = Measurement(widest_half_ratio=0.5, near_money_sd=0.1)
GOOD = quote(instrument(EXPIRY, 1.05 * F))


def admit(*quotes, board=None, now_us=NOW, withheld=()):
    marked = np.array([q.instrument.name in withheld for q in quotes])
    return doors.admit(quotes, Board() if board is None else board, now_us, marked, M)


def altered(**changes):
    return msgspec.structs.replace(GOOD, **changes)


def test_a_good_quote_passes_with_its_vol_and_noise():
    admitted = admit(GOOD)
    assert admitted.refused == {}
    assert admitted.expiry_us.tolist() == [EXPIRY]
    vol = smile_vol(np.log(1.05), TAU)
    np.testing.assert_allclose(admitted.k, np.log(1.05), rtol=1e-14)
    np.testing.assert_allclose(admitted.vol, vol, rtol=1e-9)
    h = 1e-5
    vega = (black(F, 1.05 * F, (vol + h) * sqrt(TAU), "call") - black(F, 1.05 * F, (vol - h) * sqrt(TAU), "call")) / (
        2 * h
    )
    R, _ = variance(np.array([0.01]), np.array([0.0005 * F / vega]), np.array([1e9]), M)
    np.testing.assert_allclose(admitted.R, R, rtol=1e-5)
    assert admitted.repetition.tolist() == [1.0]


def test_a_quote_soon_after_its_instruments_last_is_mostly_repetition():
    board = Board()
    admit(GOOD, board=board)
    soon, late = (admit(altered(exchange_us=NOW + s * SECOND), board=board).repetition[0] for s in (1, 3600))
    assert soon > 5 * late and late == pytest.approx(1.0, abs=1e-6)


DEEP = instrument(EXPIRY, 0.7 * F, "call")
REFUSED = {
    "no_forward": altered(forward=None),
    "one_sided": msgspec.structs.replace(quote(DEEP), bid=None),
    "crossed": altered(bid=GOOD.ask, ask=GOOD.bid),
    "no_vol": msgspec.structs.replace(quote(DEEP), bid=0.25),  # in the money by 0.3 coins
    "wide": quote(GOOD.instrument, half=0.4),
    "in_the_money": quote(instrument(EXPIRY, 0.9 * F, "call")),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_quote_is_refused_by_name(reason):
    admitted = admit(REFUSED[reason])
    assert admitted.refused == {reason: 1} and len(admitted.k) == 0


@pytest.mark.parametrize(("missing", "side"), [("bid", 1.0), ("ask", -1.0)])
def test_one_side_is_a_bound_and_not_a_vol(missing, side):
    board, alone = Board(), altered(**{missing: None})
    admitted = admit(alone, board=board)
    assert admitted.refused == {} and len(admitted.k) == 0 and not board.counted[board.rows([alone])].any()
    assert admitted.one_sided.expiry_us.tolist() == [EXPIRY] and admitted.one_sided.side.tolist() == [side]
    np.testing.assert_allclose(admitted.one_sided.vol, smile_vol(np.log(1.05), TAU) + side * 0.01, rtol=1e-9)
    np.testing.assert_allclose(admitted.one_sided.k, np.log(1.05), rtol=1e-14)


def test_a_quote_without_either_side_is_one_sided():
    assert admit(altered(bid=None, ask=None)).refused == {"one_sided": 1}


def test_a_held_out_instrument_bounds_nothing():
    admitted = admit(altered(bid=None), withheld={GOOD.instrument.name})
    assert admitted.refused == {"held_out": 1} and len(admitted.one_sided.k) == 0


def test_a_locked_market_is_crossed():
    assert admit(altered(bid=GOOD.ask)).refused == {"crossed": 1}


def test_a_quote_older_than_its_instruments_last_is_out_of_order_and_leaves_no_trace():
    board = Board()
    admit(altered(exchange_us=NOW + SECOND), board=board)
    (row,) = board.rows([GOOD])
    bid_vol = board.bid_vol[row]
    assert admit(quote(GOOD.instrument, lift=0.2), board=board).refused == {"out_of_order": 1}
    assert board.bid_vol[row] == bid_vol and board.exchange_us[row] == NOW + SECOND and board.counted[row]


def test_a_quote_repeated_at_the_same_instant_is_in_order():
    board = Board()
    admit(GOOD, board=board)
    assert admit(GOOD, board=board).refused == {}


def test_in_the_last_half_hour_the_payoff_freezes():
    before, after = EXPIRY - doors.SETTLEMENT_US, EXPIRY - doors.SETTLEMENT_US + 1
    assert admit(quote(instrument(EXPIRY, F), before), now_us=before).refused == {}
    assert admit(quote(instrument(EXPIRY, F), after), now_us=after).refused == {"settling": 1}


def test_a_held_out_instrument_is_refused_and_its_prices_are_on_no_board():
    board = Board()
    assert admit(GOOD, board=board, withheld={GOOD.instrument.name}).refused == {"held_out": 1}
    (row,) = board.rows([GOOD])
    assert np.isnan([board.bid[row], board.ask[row], board.k[row], board.bid_vol[row]]).all() and not board.counted[row]


def test_both_types_pass_near_the_money():
    """Within a tenth of a standard deviation, 0.6 sqrt(10/365) / 10 = 1 %, of the forward."""
    near = [quote(instrument(EXPIRY, 0.995 * F, kind)) for kind in ("call", "put")]
    assert len(admit(*near).k) == 2
    assert admit(quote(instrument(EXPIRY, 0.98 * F, "call"))).refused == {"in_the_money": 1}


def test_a_quote_with_two_faults_is_counted_once_and_the_rest_pass_sorted_by_expiry():
    later = chain(EXPIRY + DAY)
    quotes = [*later, REFUSED["crossed"], altered(forward=None, bid=None), *chain(EXPIRY, strikes=5)]
    admitted = admit(*quotes)
    assert admitted.refused == {"crossed": 1, "no_forward": 1}
    assert admitted.expiry_us.tolist() == [EXPIRY] * 5 + [EXPIRY + DAY] * 9


def test_a_linear_option_is_priced_in_the_quote_currency():
    linear = quote(instrument(EXPIRY, 1.05 * F, inverse=False))
    assert linear.ask == pytest.approx(GOOD.ask * F)
    np.testing.assert_allclose(admit(linear).vol, admit(GOOD).vol, rtol=1e-9)


def test_prices_become_vols_with_the_forward_that_is_given_not_the_venues():
    true = 1.001 * F
    pair = [
        msgspec.structs.replace(quote(instrument(EXPIRY, F, kind), forward=true), forward=F) for kind in ("call", "put")
    ]
    ours = doors.admit(pair, Board(), NOW, np.zeros(2, dtype=np.bool_), M, np.full(2, true))
    np.testing.assert_allclose(ours.k, np.log(F / true), rtol=1e-12)
    np.testing.assert_allclose(ours.vol, smile_vol(np.log(F / true), TAU), rtol=1e-6)
    theirs = admit(*pair).vol
    assert theirs[0] - theirs[1] > 0.01


def test_a_forward_that_is_not_known_is_none():
    said = np.array([np.nan])
    assert doors.admit([GOOD], Board(), NOW, np.zeros(1, dtype=np.bool_), M, said).refused == {"no_forward": 1}


def test_the_board_holds_what_was_quoted_and_whether_it_counts():
    board, wide = Board(), REFUSED["wide"]
    admit(GOOD, quote(DEEP), board=board)
    rows = board.rows([GOOD, quote(DEEP)])
    assert board.counted[rows].tolist() == [True, False]
    np.testing.assert_allclose(board.bid[rows], [GOOD.bid, quote(DEEP).bid])
    np.testing.assert_allclose(board.k[rows], np.log([1.05, 0.7]))
    np.testing.assert_allclose(board.ask_vol[rows] - board.bid_vol[rows], 0.02, atol=1e-7)
    admit(wide, board=board)
    assert not board.counted[rows[0]] and board.bid[rows[0]] == wide.bid
