"""Markets that mean ill: streams of quotes in which nothing need make sense, all of it following from a seed.

A market begins as a chain on a smile that the textbook would accept, and every quote of it may then be turned into
something else by one of `TURNS`. How often, and what else is wrong (expiries, strikes, ticks, clocks, futures, locks,
gaps), is the market's own character. Numbers are finite, as `parse` of a venue lets them through, or further out.
"""

from collections.abc import Callable, Iterator
from math import exp, log, sqrt
from random import Random

from msgspec import structs
from option_chain import DAY, NOW, SECOND, black, smile_vol

from kvd.latest import Batch, Inbox
from kvd.quotes import Event, ForwardQuote, Gap, Instrument, Lock, Quote, Unlock
from kvd.venues import INTERRUPTED

GRID_US = 50_000
CENTURY = 36_500 * DAY
EXPIRIES = (
    1, SECOND, 60 * SECOND, 1_900 * SECOND, 3_600 * SECOND, DAY // 3, DAY, 7 * DAY, 30 * DAY, 33 * DAY, 90 * DAY,
    91 * DAY, 365 * DAY, 3 * 365 * DAY, CENTURY, -DAY,
)  # fmt: skip
SANE = (DAY // 3, DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY, 365 * DAY)
FACTORS = (1e-300, 1e-12, 1e-6, 0.01, 0.5, 0.99, 1.01, 2.0, 100.0, 1e6, 1e12, 1e300)
PRICES = (0.0, -0.0, 5e-324, 1e-320, 1e-12, 1e-4, 0.5, 1.0, 1e6, 2.0**63, 1e15, 1e308, -1.0, -1e308)
LOCKED = {
    "atm_vol": (0.0101, 4.99), "skew": (-1.99, 1.99), "curvature": (0.0011, 9.9), "put_wing": (1e-6, 4.9),
    "call_wing": (1e-6, 4.9), "vol": (0.0101, 4.99),
}  # fmt: skip

Turn = Callable[[Random, Quote], dict[str, object]]


def _scaled(rng: Random, *prices: float | None) -> list[float]:
    factor = rng.choice(FACTORS)
    return [(price or 1.0) * factor for price in prices]


TURNS: dict[str, Turn] = {
    "crossed": lambda _, q: {"bid": q.ask, "ask": q.bid},
    "locked": lambda _, q: {"ask": q.bid},
    "no bid": lambda *_: {"bid": None},
    "no ask": lambda *_: {"ask": None},
    "nothing": lambda *_: {"bid": None, "ask": None},
    "bid from nowhere": lambda r, _: {"bid": r.choice(PRICES)},
    "ask from nowhere": lambda r, _: {"ask": r.choice(PRICES)},
    "both from nowhere": lambda r, _: {"bid": r.choice(PRICES), "ask": r.choice(PRICES)},
    "both scaled": lambda r, q: dict(zip(("bid", "ask"), _scaled(r, q.bid, q.ask), strict=True)),
    "bid scaled": lambda r, q: {"bid": _scaled(r, q.bid)[0]},
    "ask scaled": lambda r, q: {"ask": _scaled(r, q.ask)[0]},
    "a hair apart": lambda r, q: {"ask": (q.bid or 1.0) * (1 + r.choice((1e-15, 1e-12, 1e-9)))},
    "stale": lambda r, q: {"exchange_us": q.exchange_us - r.choice((1, SECOND, 3_600 * SECOND, DAY, q.exchange_us))},
    "early": lambda r, q: {"exchange_us": q.exchange_us + r.choice((1, 3_600 * SECOND, DAY, 9 * DAY, CENTURY))},
    "forward scaled": lambda r, q: {"forward": _scaled(r, q.forward)[0]},
    "forward of its own": lambda r, q: {"forward": (q.forward or 1.0) * exp(r.gauss(0, 0.02)), "forward_source": "X"},
    "sources": lambda r, _: {"forward_source": f"SYN.{r.randrange(10**6)}"},
    "no forward": lambda *_: {"forward": None},
    "on the index": lambda *_: {"forward_source": "index_price"},
    "mark from nowhere": lambda r, _: {"mark_vol": r.choice((None, 0.0, 1e-12, 9.98, 1e308))},
    "relisted": lambda r, q: {
        "instrument": structs.replace(q.instrument, expiry_us=q.instrument.expiry_us + r.choice((-DAY, DAY)))
    },
    "struck anew": lambda r, q: {
        "instrument": structs.replace(q.instrument, strike=q.instrument.strike * r.choice((0.5, 2.0)))
    },
}


class HostileMarket:
    """One underlying, or a few, whose events follow from `seed`; of `locks` in all batches one is set or released."""

    def __init__(self, seed: int, locks: float = 0.1) -> None:
        self._lock_share = locks
        self._rng = rng = Random(seed)
        self._now_us = NOW
        self._spot = rng.choice((30_000.0, 30_000.0, 2_000.0, 1e-6, 1e9))
        self._turned = rng.choice((0.0, 0.02, 0.2, 0.6, 1.0))  # share of quotes that are turned
        self._vol_sd = rng.choice((0.0, 0.0, 0.0, 0.005, 0.02, 0.2))  # of ln vol, quote by quote: impossible smiles
        self._half = rng.choice((1e-6, 0.001, 0.01, 0.1))  # of the spread, in vol
        self._jump = rng.choice((0.0, 1e-4, 0.01, 1.0))  # of spot, from batch to batch
        self._flood = rng.random() < 0.2
        self._every_us = rng.choice((GRID_US, SECOND, 60 * SECOND, DAY // 4))
        self._locks: list[str] = []
        underlyings = ["BTC", "ETH_USDC"][: rng.choice((1, 1, 2))]
        listed = rng.sample(EXPIRIES, 6) if rng.random() < 0.4 else rng.sample(SANE, rng.randint(1, 4))
        self._atm = {(u, e): 0.6 * exp(rng.gauss(0, rng.choice((0.05, 0.5, 1.5)))) for u in underlyings for e in listed}
        self._chain = [i for u, e in self._atm for i in self._strikes(u, e, rng.choice((3, 9, 15)))]
        self._offset = {NOW + e: (u, e) for u, e in self._atm}

    def batches(self, count: int) -> Iterator[Batch]:
        """What the inbox would cut of its events."""
        inbox = Inbox(GRID_US)
        for _ in range(count):
            self._now_us += self._every_us if self._rng.random() < 0.9 else self._rng.choice((0, SECOND, DAY))
            self._spot = min(max(self._spot * exp(self._rng.gauss(0, self._jump)), 1e-12), 1e15)
            for event in self._events():
                inbox.put(event)
            inbox.seal()
            while (batch := inbox.take()) is not None:
                yield batch

    def _events(self) -> Iterator[Event]:
        rng = self._rng
        if rng.random() < 0.02:
            yield Gap("deribit", self._now_us, INTERRUPTED)
        for _ in range(rng.choice((0, 0, 1))):
            yield self._future()
        if rng.random() < self._lock_share:
            yield self._lock()
        chosen = [rng.choice(self._chain)] * 300 if self._flood else rng.choices(self._chain, k=rng.choice((1, 3, 12)))
        for of in chosen:
            quote = self._quote(of)
            if rng.random() < self._turned:
                turn = rng.choice([*TURNS.values()])
                quote = structs.replace(quote, **turn(rng, quote))
            yield quote

    def _strikes(self, underlying: str, left_us: int, count: int) -> Iterator[Instrument]:
        rng, root = self._rng, sqrt(max(left_us, DAY) / (365 * DAY))
        for number in range(count):
            strike = self._spot * exp(rng.gauss(0, 0.8 * root))
            if rng.random() < 0.03:
                strike = rng.choice((1e-9, 1e-3, 1.0, 1e9, 1e12, self._spot))
            tick = rng.choice((0.0005,) * 30 + (None, 1e-300, 1e9, 1e308))
            kind = rng.choice(("call", "put")) if rng.random() < 0.5 else "call" if strike > self._spot else "put"
            name = f"{underlying}-{left_us}-{number}-{kind[0].upper()}"
            yield Instrument(name, "deribit", underlying, NOW + left_us, strike, kind, "_" not in underlying, tick)

    def _quote(self, of: Instrument) -> Quote:
        rng, now_us, forward = self._rng, self._now_us, self._spot
        tau = max(of.expiry_us - now_us, 1) / (365 * DAY)
        atm = self._atm[of.underlying, of.expiry_us - NOW]
        k = max(min(log(of.strike / forward), 3.0), -3.0)
        vol = smile_vol(k, tau, atm) * exp(rng.gauss(0, self._vol_sd))
        unit = forward if of.inverse else 1.0
        bid, ask = (
            black(forward, of.strike, max(v, 1e-4) * sqrt(tau), of.option_type) / unit
            for v in (vol - self._half, vol + self._half)
        )
        return Quote(of, bid, ask, 1.0, 1.0, vol, vol, vol, forward, f"SYN.{of.expiry_us}", now_us, now_us)

    def _future(self) -> ForwardQuote:
        rng = self._rng
        expiry_us = rng.choice((None, *(NOW + e for _, e in self._atm), NOW + rng.randrange(CENTURY)))
        price = self._spot * (rng.choice(FACTORS) if rng.random() < self._turned else 1.0)
        price = min(max(price, 1e-300), 1e300)
        width = rng.choice((0.0, 1e-5, 0.5, -1e-3)) if expiry_us else 0.0
        at_us = self._now_us + (rng.choice((-DAY, 3_600 * SECOND, CENTURY)) if rng.random() < 0.05 else 0)
        of = rng.choice([u for u, _ in self._atm])
        name = "btc_usd" if expiry_us is None else f"{of}-{expiry_us}"
        return ForwardQuote(name, "deribit", of, expiry_us, price, price * (1 + width), at_us, self._now_us)

    def _lock(self) -> Lock | Unlock:
        rng = self._rng
        (underlying, left_us), of = rng.choice([*self._atm]), rng.choice([*LOCKED])
        if self._locks and rng.random() < 0.4:
            return Unlock(self._locks.pop(), "deribit", underlying, self._now_us)
        self._locks.append(f"{len(self._locks)}-{self._now_us}")
        strike = self._spot * exp(rng.uniform(-2.3, 2.3)) if of == "vol" else None
        value, sd = rng.uniform(*LOCKED[of]), rng.choice((1e-5, 1e-3, 1.0))
        until_us = min(self._now_us + DAY, NOW + left_us - 1)
        expiry_us = NOW + left_us
        return Lock(
            self._locks[-1], "deribit", underlying, expiry_us, of, strike, value, sd, "desk", until_us, self._now_us
        )
