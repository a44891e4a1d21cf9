"""What is listed, in Deribit's words: the rows of ``public/get_instruments``."""

from zlib import crc32

import numpy as np

from kvd.feeds.simulate.dialect import Json
from kvd.feeds.simulate.listing import settlement_period
from kvd.feeds.simulate.market import Future, Market
from kvd.quotes import Instrument

FOR_EVER_MS = 32_503_708_800_000  # the expiry of a perpetual


def listing(market: Market, kind: str | None, expired: bool) -> list[Json]:
    """The rows of ``public/get_instruments`` of one kind or of both, live or expired; expired futures are forgotten."""
    rows: list[Json] = []
    if kind in {None, "option"}:
        rows += [
            option_row(market, option, not expired) for option in (market.expired if expired else market.instruments)
        ]
    if kind in {None, "future"} and not expired:
        rows += [future_row(market, future) for future in market.futures()]
    return rows


def option_row(market: Market, option: Instrument, active: bool) -> Json:
    """An option as ``public/get_instruments`` lists it."""
    family = market.family
    coarse = [{"above_price": family.coarse_from, "tick_size": family.coarse_tick}]
    return _row(market, option.name, option.expiry_us, active) | {
        "kind": "option",
        "option_type": option.option_type,
        "strike": option.strike,
        "tick_size": family.tick,
        "tick_size_steps": coarse if np.isfinite(family.coarse_from) else [],
        "contract_size": 1.0,
        "min_trade_amount": family.amount,
        "taker_commission": 0.0003,
        "maker_commission": 0.0003,
        "block_trade_commission": 0.00015,
        "quote_currency": family.currency,
    }


def future_row(market: Market, future: Future) -> Json:
    """A future as ``public/get_instruments`` lists it."""
    family = market.family
    return _row(market, future.name, future.expiry_us, active=True) | {
        "kind": "future",
        "future_type": "reversed" if family.inverse else "linear",
        "max_leverage": 50,
        "tick_size": family.future_tick,
        "tick_size_steps": [],
        "contract_size": 10.0,
        "min_trade_amount": 10.0,
        "taker_commission": 0.0005,
        "maker_commission": 0.0,
        "max_liquidation_commission": 0.0075,
        "block_trade_commission": 0.00025,
        "quote_currency": "USD" if family.inverse else "USDC",
    }


def _row(market: Market, name: str, expiry_us: int | None, active: bool) -> Json:
    family = market.family
    return {
        "state": "open" if active else "closed",
        "price_index": family.index_name,
        "instrument_name": name,
        "instrument_type": "reversed" if family.inverse else "linear",
        "instrument_id": crc32(name.encode()) % 1_000_000,
        "expiration_timestamp": FOR_EVER_MS if expiry_us is None else expiry_us // 1000,
        "creation_timestamp": 0 if expiry_us is None else market.listed_us[expiry_us] // 1000,
        "settlement_period": "perpetual" if expiry_us is None else settlement_period(expiry_us),
        "is_active": active,
        "rfq": False,
        "base_currency": family.base,
        "counter_currency": "USD" if family.inverse else "USDC",
        "settlement_currency": family.currency,
    }
