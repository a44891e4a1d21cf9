"""Arbitrage that could be traded: on bids and asks as they stand, not on a model.

Box: the pair of one strike lets the forward be bought at `high` or sold at `low` (`kvd.core.forward.parity_bounds`);
where one strike's low exceeds another's high, selling one synthetic forward and buying the other locks in the
difference.

Butterfly: an option's price is convex in its strike. For K1 < K2 < K3 and a = (K3 - K2)/(K3 - K1),

    a ask(K1) + (1 - a) ask(K3) < bid(K2)

pays at once and costs nothing later; in coins as in the quote currency, for all three settle in the same unit.

Calendar: sell an option of expiry T1 and strike K1, buy one of the same type, of T2 > T1 and strike K2. If the first
is exercised, a future on T2 at its price F2 then turns the second into K2 (of a put) or F2 - K2 (of a call) at least.
Two expiries have two forwards, and what the carry between them will be at T1 nobody knows: no such trade is free of
risk. But with b = ln(F2/F1) as it is and a margin d beyond which it hardly moves until T1,

    call   ln(K2/K1) <= b - d,   ask2 exp(-b + d) < bid1        put   ln(K2/K1) >= b + d,   ask2 exp(-b - d) < bid1

pays at once, exp(-b +- d) of the second for one of the first, and loses only if b moves by more than d. Priced in coins
one for one covers it, without that factor. d is `MARGIN_SDS` deviations of the carry rate's move until T1 times
T2 - T1, and of spot's within `TOGETHER_S`, in which both are quoted. It is counted as arbitrage for what it is.
"""

import numpy as np
from numpy.typing import NDArray

from kvd.core.forward import YEAR_S, ForwardFilter
from kvd.core.groups import begins

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

SAME_MOMENT = 2e-5  # prices of the underlying nearer than this, relatively, are of one moment
ROUNDING = 1e-12
TOGETHER_S = 1.0
MARGIN_SDS = 3.0
WIDEST_CARRY = 0.385  # the most of sqrt(t) (1 - t), for t in (0, 1)


def boxes(expiry_us: Ints, low: Floats, high: Floats, new: Flags) -> int:
    """How many pairs marked in `new` (N,) exclude another pair of their expiry by their bounds on ln F, (N,) each."""
    if not new.any():
        return 0
    order = np.argsort(expiry_us, kind="stable")
    low, high, new, first = low[order], high[order], new[order], begins(expiry_us[order])
    place, at = first.cumsum() - 1, first.nonzero()[0]
    highest, lowest = np.maximum.reduceat(low, at), np.minimum.reduceat(high, at)
    return int(np.count_nonzero(new & ((low > lowest[place] + ROUNDING) | (high < highest[place] - ROUNDING))))


def butterflies(series: Ints, strike: Floats, bid: Floats, ask: Floats, base: Floats, new: Flags) -> int:
    """How many neighbouring triples of one `series` (an expiry's calls, or its puts), at least one of them marked in
    `new`, pay as butterflies; (N,) each, NaN where there is no price. `base` is ln of the underlying's price at each
    quote: a triple counts if they agree.
    """
    if len(new) < 3 or not new.any():
        return 0
    order = np.lexsort((strike, series))
    series, new = series[order], new[order]
    strike, bid, ask, base = (column[order] for column in (strike, bid, ask, base))
    one, two, three = slice(None, -2), slice(1, -1), slice(2, None)
    same = series[one] == series[three]
    a = (strike[three] - strike[two]) / np.where(same, strike[three] - strike[one], 1.0)
    pays = a * ask[one] + (1 - a) * ask[three] < bid[two] - ROUNDING
    apart = np.maximum(np.maximum(base[one], base[two]), base[three])
    apart = apart - np.minimum(np.minimum(base[one], base[two]), base[three])
    return int(np.count_nonzero(same & pays & (apart < SAME_MOMENT) & (new[one] | new[two] | new[three])))


def calendars(
    tau: Floats, place: Index, k: Floats, bid: Floats, ask: Floats, sign: Floats, inverse: bool, new: Flags,
    f: ForwardFilter,
) -> int:  # fmt: skip
    """How many pairs of one type, at least one of them marked in `new`, pay as calendars; (N,) each, `sign` 1 for
    calls and -1 for puts, `place` of ascending times to expiry `tau` (E,). Prices are in units of the underlying, a
    linear one's over its forward; `k` are log-moneynesses, each with the forward of its own expiry and instant.
    """
    if not new.any():
        return 0
    moment = f.spot_sd * np.sqrt(TOGETHER_S / YEAR_S)
    cost = ask
    if not inverse:  # of a put, at the widest margin that any earlier expiry can have
        widest = MARGIN_SDS * (f.carry_move_sd * WIDEST_CARRY * tau**1.5 + moment)
        cost = ask * np.where(sign > 0, 1.0, np.exp(-widest)[place])
    early = np.flatnonzero(_cheapest_later(place, len(tau), sign, sign * k, cost) < bid - ROUNDING)
    if not len(early):
        return 0
    one, two = np.nonzero((place[early, None] < place) & (new[early, None] | new) & (sign[early, None] == sign))
    one = early[one]
    tau = tau[place]
    carry = f.carry_move_sd * np.sqrt(tau[one]) * (tau[two] - tau[one])
    margin = MARGIN_SDS * (carry + moment)
    cost = ask[two] if inverse else ask[two] * np.exp(sign[one] * margin)
    covered = sign[one] * (k[one] - k[two]) >= margin
    return int(np.count_nonzero(covered & (cost < bid[one] - ROUNDING)))


def _cheapest_later(place: Index, places: int, sign: Floats, out: Floats, cost: Floats) -> Floats:
    """For each option, what the cheapest of its type costs that is later and not further `out` of the money, (N,); inf
    if there is none.

    It costs N log N: to compare all pairs would cost as much as everything else in a busy batch.
    """
    order = np.argsort(out)
    cheapest = np.full((places + 1, 2, len(out)), np.inf)
    put = (sign < 0).astype(np.intp)
    cheapest[place[order], put[order], np.arange(len(out))] = np.where(np.isnan(cost), np.inf, cost)[order]
    for at in range(places - 1, 0, -1):  # rows in one piece: an accumulation across them would stride
        np.minimum(cheapest[at], cheapest[at + 1], out=cheapest[at])
    np.minimum.accumulate(cheapest, axis=2, out=cheapest)
    return np.asarray(cheapest[place + 1, put, np.searchsorted(out[order], out, side="right") - 1])
