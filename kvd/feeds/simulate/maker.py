"""The market makers: what is bid and asked for each option, given what is truly so.

A maker sees the true vol through noise, keeps a leaning of its own for a minute or so, quotes a spread that widens in
the wings and rounds outward to the tick. Now and then it falls asleep with its prices standing, and rarely it mistypes.
The noise of a mid around the truth is ``sqrt(LEAN**2 + FRESH**2)`` = 0.28 of the half-spread, as on real tapes, and
`NOISE_FLOOR`, independent. Half of it stays for a minute: a filter that takes a maker's quotes to be independent of
each other promises several times more than it keeps.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import black
from kvd.feeds.simulate.listing import Family

Floats = NDArray[np.float64]
Rows = np.ndarray

SPREAD_ATM = 0.008  # bid to ask in vol, at the money and far out
SPREAD_SHORT_D = 4.0  # tenor at which the spread is twice that
SPREAD_WING = 0.2  # spreads grow as exp(SPREAD_WING z**2), z in standard deviations
SPREAD_WIDEST = 0.30
WIDTH_SD = 0.2  # of ln(spread) from one instrument to the next

LEAN, LEAN_S = 0.2, 60.0  # a maker's persistent leaning in half-spreads, and its time constant
FRESH = 0.2  # in half-spreads, drawn anew at every quote
NOISE_FLOOR = 0.001
MARK_NOISE = 0.001  # of the venue's mark vol

OUTLIERS = 0.002  # share of quotes
OUTLIER_NEAR, OUTLIER_FAR = 3.0, 8.0  # spreads away from the truth
ASLEEP = 0.02  # share of time
SLEEP_MEAN_S, SLEEP_SHORTEST_S, SLEEP_LONGEST_S = 20.0, 2.0, 300.0

# Standard deviations beyond which some makers, and then all of them, decline: first, and how many further.
NO_QUOTE_IN_SD, NO_QUOTE_IN_SPAN_SD = 1.0, 2.0  # either side, in the money
NO_BID_OUT_SD, NO_BID_OUT_SPAN_SD = 1.5, 2.5  # out of the money
NO_ASK_OUT_SD, NO_ASK_OUT_SPAN_SD = 2.0, 4.0
NO_SIDE = 0.01  # share of instruments without a bid, and without an ask, anywhere
LEAST_VOL = 0.01
SIZE_SD = 1.0  # of ln(amount)

COLUMNS = np.dtype(
    [(name, np.int64) for name in ("expiry_us", "quoted_us", "asleep_until_us")]
    + [(name, np.float64) for name in ("strike", "sign", "width", "shy", "side", "lean", "mark_noise")]
    + [(name, np.float64) for name in ("bid", "ask", "bid_size", "ask_size")]
)
"""One row an option: what it is, how its maker is, and the standing quote in price units (0 is no quote).

``width`` multiplies its spread; ``shy`` and ``side``, uniform on (0, 1), decide what its maker declines to quote."""


def open_rows(expiry_us: int, strikes: Floats, signs: Floats, now_us: int, rng: np.random.Generator) -> Rows:
    """Rows for newly listed options, not yet quoted."""
    rows = np.zeros(len(strikes), COLUMNS)
    rows["expiry_us"], rows["quoted_us"], rows["strike"], rows["sign"] = expiry_us, now_us, strikes, signs
    rows["width"] = np.exp(WIDTH_SD * rng.normal(size=len(rows)))
    rows["shy"], rows["side"] = rng.random((2, len(rows)))
    rows["lean"] = rng.normal(size=len(rows))
    return rows


def spread(z: Floats, tau: Floats) -> Floats:
    """Bid-ask spread in vol, at `z` standard deviations and `tau` years, of a maker of width one."""
    tenor = 1 + np.sqrt(SPREAD_SHORT_D / (365 * tau))
    wing = np.exp(SPREAD_WING * np.minimum(z * z, 100.0))  # within minutes of expiry z knows no bounds
    return np.asarray(np.minimum(SPREAD_ATM * tenor * wing, SPREAD_WIDEST))


class Sight(NamedTuple):
    """What makers look at: the true forwards, times to expiry and vols of their options, (N,) each."""

    forward: Floats
    tau: Floats
    vol: Floats


def requote(rows: Rows, sight: Sight, now_us: int, family: Family, rng: np.random.Generator) -> Rows:
    """The rows with new quotes; a sleeping maker's prices stand."""
    rows = rows.copy()
    elapsed_s = (now_us - rows["quoted_us"]) / 1e6
    normal = rng.normal(size=(7, len(rows)))
    chance = rng.random((4, len(rows)))
    keep = np.exp(-elapsed_s / LEAN_S)
    rows["lean"] = keep * rows["lean"] + np.sqrt(1 - keep**2) * normal[0]
    rows["mark_noise"] = MARK_NOISE * normal[1]
    rows["quoted_us"] = now_us
    awake = rows["asleep_until_us"] <= now_us

    total_sd = sight.vol * np.sqrt(sight.tau)
    half = 0.5 * family.spread * rows["width"] * spread(np.log(rows["strike"] / sight.forward) / total_sd, sight.tau)
    mid = sight.vol + half * (LEAN * rows["lean"] + FRESH * normal[2]) + NOISE_FLOOR * normal[3]
    away = 2 * half * (OUTLIER_NEAR + (OUTLIER_FAR - OUTLIER_NEAR) * chance[1])
    mid += np.where(chance[0] < OUTLIERS, np.where(normal[4] > 0, away, -away), 0.0)
    prices = _prices(rows, sight, mid - half, mid + half, family)
    for side, price, draw in zip(("bid", "ask"), prices, normal[5:], strict=True):
        size = family.amount * np.ceil(family.size / family.amount * np.exp(SIZE_SD * draw))
        rows[side] = np.where(awake, price, rows[side])
        rows[f"{side}_size"] = np.where(rows[side] > 0, np.where(awake, size, rows[f"{side}_size"]), 0.0)
    _fall_asleep(rows, awake, elapsed_s, chance[2:], now_us)
    return rows


def round_to_tick(price: Floats, family: Family, upward: bool) -> Floats:
    """Prices on the family's grid of ticks, rounded outward; those that are on it already stay."""
    tick = np.where(price < family.coarse_from, family.tick, family.coarse_tick)
    steps = price / tick
    whole = np.ceil(steps - 1e-9) if upward else np.floor(steps + 1e-9)
    return np.asarray(np.round(whole * tick, 8))


def _prices(rows: Rows, sight: Sight, low: Floats, high: Floats, family: Family) -> tuple[Floats, Floats]:
    """Bids and asks in price units for bid and ask vols; 0 where the maker declines that side."""
    forward, root = sight.forward, np.sqrt(sight.tau)
    unit = forward if family.inverse else np.ones_like(forward)
    strike, sign, shy = rows["strike"], rows["sign"], rows["shy"]
    bid = black.price(forward, strike, np.maximum(low, LEAST_VOL) * root, sign) / unit
    ask = black.price(forward, strike, np.maximum(high, LEAST_VOL) * root, sign) / unit
    bid, ask = round_to_tick(bid, family, upward=False), round_to_tick(ask, family, upward=True)
    out = sign * np.log(strike / forward) / (sight.vol * root)  # of the money, in standard deviations
    unquoted = -out > NO_QUOTE_IN_SD + NO_QUOTE_IN_SPAN_SD * shy
    no_bid = unquoted | (low <= LEAST_VOL) | (out > NO_BID_OUT_SD + NO_BID_OUT_SPAN_SD * shy) | (rows["side"] < NO_SIDE)
    no_ask = unquoted | (out > NO_ASK_OUT_SD + NO_ASK_OUT_SPAN_SD * shy) | (rows["side"] > 1 - NO_SIDE)
    return np.where(no_bid, 0.0, bid), np.where(no_ask, 0.0, np.maximum(ask, family.tick))


def _fall_asleep(rows: Rows, awake: NDArray[np.bool_], elapsed_s: Floats, chance: Floats, now_us: int) -> None:
    falls = awake & (chance[0] < -np.expm1(-elapsed_s * ASLEEP / SLEEP_MEAN_S))
    nap_s = np.clip(-SLEEP_MEAN_S * np.log1p(-chance[1]), SLEEP_SHORTEST_S, SLEEP_LONGEST_S)
    rows["asleep_until_us"] = np.where(falls, now_us + (nap_s * 1e6).astype(np.int64), rows["asleep_until_us"])
