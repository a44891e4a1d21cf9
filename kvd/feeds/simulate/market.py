"""A seeded options market: pure, clockless, the same seed and the same calls give the same numbers.

Time passes when `Market.step` is called. `Market.draw` lets some makers quote anew, those near the money more often,
and `Market.look` reads any standing quotes as a venue would publish them, without touching the randomness. The truth
is there to be compared with.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import black
from kvd.feeds.simulate import truth as true
from kvd.feeds.simulate.listing import BTC, YEAR_US, Family, contracts, expiries, future_name, settlement_period
from kvd.feeds.simulate.maker import Sight, open_rows, requote, round_to_tick
from kvd.quotes import Instrument

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

FORWARD_NOISE = 5e-6  # of the venue's own forward, relative
FAR_WEIGHT = 0.15  # how often a far option is quoted, relative to one at the money
FUTURE_SPREAD_TICKS = 2
REMEMBERED = 2_000  # expired instruments
VOL_CAP = 9.99  # the highest vol a venue prints


class Changes(NamedTuple):
    """What a step listed and what expired in it, options by expiry and strike; `futures` are names."""

    listed: tuple[Instrument, ...]
    expired: tuple[Instrument, ...]
    listed_futures: tuple[str, ...]
    expired_futures: tuple[str, ...]


class Tickers(NamedTuple):
    """Standing quotes as a venue publishes them; arrays (N,). Prices of 0 and vols of 0 are no quote.

    ``rows`` points into `Market.instruments`. Vols are decimals, ``vega`` is per vol point, ``theta`` per day,
    ``delta`` the forward delta; ``traded`` is uniform on (0, 1) and says how busy an option is.
    """

    rows: Index
    bid: Floats
    ask: Floats
    bid_size: Floats
    ask_size: Floats
    bid_vol: Floats
    ask_vol: Floats
    mark_vol: Floats
    mark_price: Floats
    forward: Floats
    tau: Floats
    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    rho: Floats
    traded: Floats


class Future(NamedTuple):
    """A dated future, or the perpetual (``expiry_us`` None), at one instant."""

    name: str
    expiry_us: int | None
    bid: float
    ask: float
    mark: float


class Market:
    """One family of options. `instruments` is how many to list at the start, over `expiries_listed` expiries."""

    def __init__(
        self, seed: int, start_us: int, family: Family = BTC, instruments: int = 900, expiries_listed: int = 12
    ) -> None:
        self.family = family
        self.expired: deque[Instrument] = deque(maxlen=REMEMBERED)
        self.listed_us: dict[int, int] = {}
        self._expiries_listed = expiries_listed
        self._rng = np.random.default_rng([seed, *family.name.encode()])
        due = expiries(start_us, expiries_listed)
        self._truth = true.begin(family, start_us, due, self._rng)
        self._strikes = max(instruments // (2 * len(due)), 1)
        spare = instruments // 2 - self._strikes * len(due)
        self.instruments: list[Instrument] = []
        self.positions: dict[str, int] = {}
        self.future_names: frozenset[str] = frozenset()
        self.forward_names: dict[int, str] = {}
        self._rows = open_rows(0, np.empty(0), np.empty(0), start_us, self._rng)
        self._settle()
        for i, expiry_us in enumerate(due):
            self._list(expiry_us, self._strikes + (i < spare))
        self._index()

    @property
    def now_us(self) -> int:
        """The market's own time."""
        return self._truth.now_us

    @property
    def index_price(self) -> float:
        """The spot index as published."""
        return round(self._truth.spot, self.family.digits)

    def truth(self) -> true.Truth:
        """What is truly so now: forwards and slices by expiry; the caller may keep it."""
        return self._truth

    def step(self, dt_us: int) -> Changes:
        """Let `dt_us` pass: everything moves, the due expire, new expiries are listed and quoted."""
        before = self._truth.expiry_us
        self._truth = true.advance(self._truth, self.family, dt_us, self._rng)
        gone = [int(due) for due in before if due <= self.now_us]
        expired = tuple(option for option in self.instruments if option.expiry_us in gone)
        if gone:
            self.instruments = [option for option in self.instruments if option.expiry_us not in gone]
            self._rows = self._rows[self._rows["expiry_us"] > self.now_us]
            self.expired.extend(expired)
        new = [due for due in expiries(self.now_us, self._expiries_listed) if due not in self.listed_us] if gone else []
        listed: list[Instrument] = []
        for due in new:
            self._truth = true.admit(self._truth, self.family, due)
            listed += self._list(due, self._strikes)
        self._settle()
        if gone:
            self._index()
        return Changes(tuple(listed), expired, self._futures_of(new), self._futures_of(gone))

    def draw(self, count: int) -> Index:
        """Let `count` makers quote anew, none of them twice; where they stand in `instruments`."""
        log_weight = np.log(FAR_WEIGHT + np.exp(-0.5 * self._z() ** 2))
        keys = log_weight + self._rng.gumbel(size=len(log_weight))
        count = min(count, len(keys))
        rows = np.argpartition(-keys, count - 1)[:count] if count else np.empty(0, np.intp)
        self._requote(rows)
        return rows

    def poll(self, rows: Index | Sequence[int]) -> Tickers:
        """The quotes of `rows` after their makers, and nobody else, quoted anew: a venue asked for them one by one."""
        self._requote(np.asarray(rows, dtype=np.intp))
        return self.look(rows)

    def look(self, rows: Index | Sequence[int]) -> Tickers:
        """The standing quotes of instruments `rows`, as published now. Draws nothing."""
        rows = np.asarray(rows, dtype=np.intp)
        quote, at = self._rows[rows], self._slice_of(rows)
        forward, tau = self._venue_forwards[at], self._truth.tau[at]
        strike, sign = quote["strike"], quote["sign"]
        unit = forward if self.family.inverse else np.ones_like(forward)
        mark_vol = self._truth.vol(at, strike) + quote["mark_noise"]
        bid_vol, ask_vol = (
            np.minimum(np.nan_to_num(black.implied_vol(quote[side] * unit, forward, strike, tau, sign)), VOL_CAP)
            for side in ("bid", "ask")
        )
        total_sd = mark_vol * np.sqrt(tau)
        value = black.price(forward, strike, total_sd, sign)
        vega = black.vega(forward, strike, tau, mark_vol)
        gamma = vega / (forward * forward * mark_vol * tau)
        width = 1e-4 * forward
        delta = (black.price(forward + width, strike, total_sd, sign) - value) / width - 0.5 * gamma * width
        return Tickers(
            rows, quote["bid"], quote["ask"], quote["bid_size"], quote["ask_size"], bid_vol, ask_vol,
            mark_vol, value / unit, forward, tau,
            delta=delta, gamma=gamma, vega=vega / 100,
            theta=-0.5 * vega * mark_vol / (tau * 365), rho=(delta * forward - value) * tau / 100,
            traded=quote["side"],
        )  # fmt: skip

    def futures(self) -> list[Future]:
        """The perpetual and every dated future; a linear family has the perpetual alone. Draws nothing."""
        dated = [
            (future_name(self.family, int(due)), int(due), float(forward))
            for due, forward in zip(self._truth.expiry_us, self._venue_forwards, strict=True)
            if self.has_future(int(due))
        ]
        tick, digits = self.family.future_tick, self.family.digits
        found = []
        for name, due, price in [(f"{self.family.name}-PERPETUAL", None, self._truth.spot), *dated]:
            bid = round(math.floor(price / tick) * tick, 8)
            found.append(Future(name, due, bid, round(bid + FUTURE_SPREAD_TICKS * tick, 8), round(price, digits)))
        return found

    def has_future(self, expiry_us: int) -> bool:
        """Whether an expiry has a dated future: dailies have none, and a linear family has none at all."""
        return self.family.inverse and settlement_period(expiry_us) != "day"

    def price_band(self, tickers: Tickers) -> tuple[Floats, Floats]:
        """The lowest and highest prices that would be accepted, around the marks."""
        reach = 0.04 if self.family.inverse else 0.04 * self._truth.spot
        low = round_to_tick(np.maximum(tickers.mark_price - reach, self.family.tick), self.family, upward=False)
        return low, round_to_tick(tickers.mark_price + reach, self.family, upward=True)

    def _futures_of(self, due: list[int]) -> tuple[str, ...]:
        return tuple(future_name(self.family, expiry_us) for expiry_us in due if self.has_future(expiry_us))

    def _list(self, expiry_us: int, strikes: int) -> list[Instrument]:
        at = int(np.searchsorted(self._truth.expiry_us, expiry_us))
        tau, forward = (expiry_us - self.now_us) / YEAR_US, float(self._truth.forwards[at])
        total_sd = float(np.exp(self._truth.x[at, 0]) * np.sqrt(tau))
        new = contracts(self.family, expiry_us, forward, total_sd, strikes)
        strike = np.array([option.strike for option in new])
        sign = np.array([1.0 if option.option_type == "call" else -1.0 for option in new])
        first = len(self.instruments)
        self.instruments += new
        self.listed_us[expiry_us] = self.now_us
        self._rows = np.concatenate([self._rows, open_rows(expiry_us, strike, sign, self.now_us, self._rng)])
        self._requote(np.arange(first, len(self.instruments)))
        return new

    def _requote(self, rows: Index) -> None:
        at, chosen = self._slice_of(rows), self._rows[rows]
        sight = Sight(self._truth.forwards[at], self._truth.tau[at], self._truth.vol(at, chosen["strike"]))
        self._rows[rows] = requote(chosen, sight, self.now_us, self.family, self._rng)

    def _index(self) -> None:
        self.positions = {option.name: row for row, option in enumerate(self.instruments)}
        self.future_names = frozenset(future.name for future in self.futures())
        self.forward_names = {due: self._forward_name(due) for due in self._truth.expiry_us.tolist()}

    def _forward_name(self, expiry_us: int) -> str:
        """What the venue calls the source of an expiry's forward: the index, a future or a synthetic one."""
        if self._follows_index(expiry_us):
            return "index_price"
        name = future_name(self.family, expiry_us)
        return name if self.has_future(expiry_us) else f"SYN.{name}"

    def _follows_index(self, expiry_us: int) -> bool:
        return not self.family.inverse or not (self.family.synthetics or self.has_future(expiry_us))

    def _settle(self) -> None:
        noise = FORWARD_NOISE * self._rng.normal(size=len(self._truth.expiry_us)) if self.family.inverse else 0.0
        said = self._truth.forwards * (1 + noise)
        said[[self._follows_index(due) for due in self._truth.expiry_us.tolist()]] = self._truth.spot
        self._venue_forwards = np.round(said, self.family.digits)

    def _slice_of(self, rows: Index) -> Index:
        return np.searchsorted(self._truth.expiry_us, self._rows["expiry_us"][rows])

    def _z(self) -> Floats:
        at = np.searchsorted(self._truth.expiry_us, self._rows["expiry_us"])
        total_sd = np.exp(self._truth.x[:, 0]) * np.sqrt(self._truth.tau)
        return np.asarray(np.log(self._rows["strike"] / self._truth.forwards[at]) / total_sd[at])
