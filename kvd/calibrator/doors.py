"""The second door: is this quote of use to the market's smile? Every quote turned away has a reason and is counted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.board import Board
from kvd.core import black, measurement
from kvd.core.daycount import YEAR_US
from kvd.core.measurement import Measurement
from kvd.quotes import Quote

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

SETTLEMENT_US = 30 * 60 * 1_000_000  # the last half hour, in which the settlement average freezes the payoff


class OneSided(NamedTuple):
    """Bids or asks alone, sorted by expiry, each (N,): their vol bounds the smile's from `side` (see
    `kvd.core.censored.Bounds`).
    """

    expiry_us: NDArray[np.int64]
    k: Floats
    vol: Floats
    side: Floats


class Admitted(NamedTuple):
    """What passed, sorted by expiry, each (N,) (see `kvd.core.estimate.Vols`); bounds; and why others did not."""

    expiry_us: NDArray[np.int64]
    k: Floats
    vol: Floats
    R: Floats
    repetition: Floats
    one_sided: OneSided
    refused: dict[str, int]


def admit(
    quotes: Sequence[Quote],
    board: Board,
    now_us: int,
    withheld: NDArray[np.bool_],
    m: Measurement,
    forward: Floats | None = None,
) -> Admitted:
    """Post the newest quotes on `board` and return those the filter may see; `withheld` (N,) marks held-out
    instruments, which are not posted either. `forward` (N,) is the forward at each quote's own instant, with which
    prices become vols and strikes log-moneynesses, NaN for none; without it, that is what the venue says.

    The reasons, in the order in which they are looked for: out_of_order, no_forward, settling, held_out, one_sided
    (no bid or no ask, and no bound on the smile either: in the money, or without a vol), crossed, no_vol (a price no
    vol explains, such as a bid below intrinsic value), wide, in_the_money.
    """
    row = board.rows(quotes)
    words = [(q.bid, q.ask, q.forward, q.mark_vol) for q in quotes]
    bid, ask, venues, mark_vol = np.array(words, dtype=np.float64).T
    forward = venues if forward is None else forward
    exchange_us = np.array([q.exchange_us for q in quotes])
    expiry_us, strike, sign = board.expiry_us[row], board.strike[row], board.sign[row]

    tau = np.maximum(expiry_us - exchange_us, 1) / YEAR_US
    unit = np.where(board.inverse[row], forward, 1.0)
    bid_vol, ask_vol = black.implied_vol(np.array((bid, ask)) * unit, forward, strike, tau, sign)
    k, mid, half = np.log(strike / forward), 0.5 * (bid_vol + ask_vol), 0.5 * (ask_vol - bid_vol)

    only = np.where(np.isnan(bid), ask_vol, bid_vol)
    bounds = (np.isnan(bid) != np.isnan(ask)) & np.isfinite(only) & (sign * k >= 0)
    reasons = {
        "out_of_order": exchange_us < board.exchange_us[row],
        "no_forward": np.isnan(forward),
        "settling": expiry_us - now_us < SETTLEMENT_US,
        "held_out": withheld,
        "one_sided": (np.isnan(bid) | np.isnan(ask)) & ~bounds,
        "crossed": bid >= ask,
        "no_vol": np.isnan(mid) & ~bounds,
        "wide": half > m.widest_half_ratio * mid,
        "in_the_money": sign * k < -m.near_money_sd * mid * np.sqrt(tau),
    }
    passed = np.ones(len(quotes), dtype=np.bool_)
    refused: dict[str, int] = {}
    for reason, hit in reasons.items():
        count = int(np.count_nonzero(hit & passed))
        if count:
            refused[reason] = count
            passed &= ~hit

    since_s = (exchange_us - board.exchange_us[row]) / 1e6
    current = ~(reasons["out_of_order"] | withheld)  # parity reads the board: a held-out price must not be on it
    counted = passed & ~bounds
    if current.all():
        _post(board, row, (k, bid, ask, bid_vol, ask_vol, mark_vol), exchange_us, counted)
    else:
        columns = tuple(column[current] for column in (k, bid, ask, bid_vol, ask_vol, mark_vol))
        _post(board, row[current], columns, exchange_us[current], counted[current])

    order = np.argsort(expiry_us, kind="stable")
    chosen, alone = order[counted[order]], order[(passed & bounds)[order]]
    tick_vol = board.tick[row] * unit / np.maximum(black.vega(forward, strike, tau, mid), 1e-12)
    R, repetition = measurement.variance(half, tick_vol, since_s, m)
    one_sided = OneSided(expiry_us[alone], k[alone], only[alone], np.where(np.isnan(bid[alone]), 1.0, -1.0))
    return Admitted(expiry_us[chosen], k[chosen], mid[chosen], R[chosen], repetition[chosen], one_sided, refused)


def _post(
    board: Board, row: Index, columns: tuple[Floats, ...], exchange_us: NDArray[np.int64], counted: NDArray[np.bool_]
) -> None:
    for name, column in zip(("k", "bid", "ask", "bid_vol", "ask_vol", "mark_vol"), columns, strict=True):
        getattr(board, name)[row] = column
    board.exchange_us[row], board.counted[row] = exchange_us, counted
