import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from option_chain import DAY, NOW, F, instrument, quote

from kvd.calibrator.board import COLUMNS, Board

EXPIRIES = [NOW + days * DAY for days in (1, 8, 30)]
STRIKES = [0.9 * F, F, 1.2 * F]

options = st.builds(instrument, st.sampled_from(EXPIRIES), st.sampled_from(STRIKES), st.sampled_from(["call", "put"]))
quotes = st.lists(options.map(quote), min_size=1, max_size=6)
steps = st.lists(quotes | st.sampled_from(EXPIRIES), max_size=12)


@given(steps)
def test_a_row_is_its_instruments_until_the_expiry_leaves(steps):
    """A dictionary by name is the oracle; each row is stamped with a number of its own."""
    board, expected, stamp = Board(), {}, 0
    for step in steps:
        if isinstance(step, int):
            board.forget(step)
            expected = {name: (of, k) for name, (of, k) in expected.items() if of.expiry_us != step}
        else:
            rows = board.rows(step)
            for q, row in zip(step, rows.tolist(), strict=True):
                stamp += 1
                board.k[row], expected[q.instrument.name] = stamp, (q.instrument, stamp)
        rows = board.rows([quote(of) for of, _ in expected.values()]).tolist()
        for (of, k), row in zip(expected.values(), rows, strict=True):
            assert (board.expiry_us[row], board.strike[row], board.sign[row]) == (
                of.expiry_us,
                of.strike,
                1 if of.option_type == "call" else -1,
            )
            assert (board.inverse[row], board.tick[row], board.k[row]) == (of.inverse, of.tick_size, k)
        assert {len(getattr(board, column)) for column in COLUMNS} == {len(expected)}


def test_a_new_row_says_nothing_yet():
    board = Board()
    (row,) = board.rows([quote(instrument(EXPIRIES[0], F))])
    assert not board.counted[row] and board.exchange_us[row] == 0
    assert all(np.isnan(getattr(board, column)[row]) for column in ("k", "bid", "ask", "bid_vol", "ask_vol"))


def test_a_price_step_that_the_venue_has_not_said_adds_no_noise():
    board, option = Board(), instrument(EXPIRIES[0], F)
    board.rows([msgspec.structs.replace(quote(option), instrument=msgspec.structs.replace(option, tick_size=None))])
    assert board.tick.tolist() == [0.0]


def test_an_expiry_is_expired_from_its_own_instant_on():
    board = Board()
    board.rows([quote(instrument(expiry, F, "call")) for expiry in EXPIRIES])
    assert board.expired(EXPIRIES[0] - 1) == set()
    assert board.expired(EXPIRIES[1]) == set(EXPIRIES[:2])
