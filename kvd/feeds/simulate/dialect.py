"""The market in Deribit's words: its channels, and the JSON objects that they carry."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from kvd.feeds.simulate.market import Changes, Future, Market, Tickers
from kvd.quotes import Instrument

Json = dict[str, Any]

INTERVALS = ("100ms", "agg2")
SETTLING_US = 30 * 60 * 1_000_000  # before expiry, while the delivery price is averaged
QUIET = 0.4  # share of options not traded today


def ticker_channel(name: str, interval: str) -> str:
    """The ticker channel of an instrument."""
    return f"ticker.{name}.{interval}"


def index_channel(market: Market) -> str:
    """The channel of a family's price index."""
    return f"deribit_price_index.{market.family.index_name}"


def state_channel(market: Market, kind: str) -> str:
    """The channel that tells of options ("option") or futures ("future") listed and gone."""
    return f"instrument.state.{kind}.{market.family.currency}"


def has_channel(market: Market, channel: str) -> bool:
    """Whether the channel is one of this market's."""
    if channel.startswith("ticker."):
        name, _, interval = channel.removeprefix("ticker.").rpartition(".")
        return interval in INTERVALS and (name in market.positions or name in market.future_names)
    return channel in {index_channel(market), state_channel(market, "option"), state_channel(market, "future")}


def notification(channel: str, data: Json) -> bytes:
    """One message of a subscribed channel."""
    return orjson.dumps({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}})


def present(market: Market, channels: Sequence[str]) -> Iterator[tuple[str, Json]]:
    """Channel and data of the present state of those channels that have one: tickers and the index."""
    wanted = frozenset(channels)
    options = [(channel, channel.removeprefix("ticker.").rpartition(".")[0]) for channel in channels]
    options = [(channel, name) for channel, name in options if name in market.positions]
    tickers = market.look([market.positions[name] for _, name in options])
    for (channel, _), (_, data) in zip(options, option_tickers(market, tickers), strict=True):
        yield channel, data
    for future in market.futures():
        for channel in wanted.intersection(ticker_channel(future.name, interval) for interval in INTERVALS):
            yield channel, future_ticker(market, future)
    if index_channel(market) in wanted:
        yield index_channel(market), index_price(market)


def state_changes(market: Market, changes: Changes) -> Iterator[tuple[str, Json]]:
    """Channel and data of every change of state in a step."""
    now_ms = market.now_us // 1000
    for state, kind, names in (
        ("terminated", "option", [option.name for option in changes.expired]),
        ("terminated", "future", changes.expired_futures),
        ("created", "option", [option.name for option in changes.listed]),
        ("created", "future", changes.listed_futures),
        ("started", "option", [option.name for option in changes.listed]),
        ("started", "future", changes.listed_futures),
    ):
        for name in names:
            yield state_channel(market, kind), {"timestamp": now_ms, "state": state, "instrument_name": name}


def option_tickers(market: Market, tickers: Tickers) -> Iterator[tuple[str, Json]]:
    """Name and ticker data of each option, in the order of `tickers`."""
    low, high = market.price_band(tickers)
    columns = zip(
        tickers.rows.tolist(), tickers.bid.tolist(), tickers.ask.tolist(), tickers.bid_size.tolist(),
        tickers.ask_size.tolist(), _round(100 * tickers.bid_vol, 2), _round(100 * tickers.ask_vol, 2),
        _round(100 * tickers.mark_vol, 2), _round(tickers.mark_price, 4), tickers.forward.tolist(),
        _round(tickers.delta, 5), _round(tickers.gamma, 5), _round(tickers.vega, 5), _round(tickers.theta, 5),
        _round(tickers.rho, 5), low.tolist(), high.tolist(), _round(tickers.traded, 2), strict=True,
    )  # fmt: skip
    index, now_ms = market.index_price, market.now_us // 1000
    for (
        row, bid, ask, bid_size, ask_size, bid_vol, ask_vol, mark_vol, mark, forward,
        delta, gamma, vega, theta, rho, lowest, highest, traded,
    ) in columns:  # fmt: skip
        option = market.instruments[row]
        yield (
            option.name,
            {
                "estimated_delivery_price": index,
                "best_bid_amount": bid_size,
                "best_ask_amount": ask_size,
                "bid_iv": bid_vol,
                "ask_iv": ask_vol,
                "underlying_index": _source(market, option.expiry_us),
                "underlying_price": forward,
                "mark_iv": mark_vol,
                "best_bid_price": bid,
                "best_ask_price": ask,
                "interest_rate": 0.0,
                "mark_price": mark,
                "open_interest": 1000.0 * traded,
                "max_price": highest,
                "min_price": lowest,
                "settlement_price": mark,
                "last_price": mark if traded > QUIET else None,
                "instrument_name": option.name,
                "index_price": index,
                "greeks": {"rho": rho, "theta": theta, "vega": vega, "gamma": gamma, "delta": delta},
                "stats": _stats(traded, mark, index),
                "state": "open",
                "timestamp": now_ms,
            },
        )


def last_ticker(market: Market, option: Instrument) -> Json:
    """What still arrives for an option after its expiry: no greeks, absurd vols, and the word "expired"."""
    index = market.index_price
    sign = 1.0 if option.option_type == "call" else -1.0
    value = max(sign * (index - option.strike), 0.0) / (index if option.inverse else 1.0)
    return {
        "estimated_delivery_price": "expired",
        "best_bid_amount": 0.0,
        "best_ask_amount": market.family.amount,
        "bid_iv": 0.0,
        "ask_iv": 500.0,
        "underlying_index": "SYN.EXPIRY" if option.inverse else "index_price",
        "underlying_price": index,
        "mark_iv": 250.0,
        "best_bid_price": 0.0,
        "best_ask_price": round(value + market.family.coarse_tick, 4),
        "interest_rate": 0.0,
        "mark_price": round(value, 6),
        "open_interest": 0.0,
        "max_price": round(value + 0.04, 4),
        "min_price": market.family.tick,
        "settlement_price": round(value, 6),
        "last_price": None,
        "instrument_name": option.name,
        "index_price": index,
        "greeks": {"rho": 0.0, "theta": 0.0, "vega": 0.0, "gamma": 0.0, "delta": 0.0},
        "stats": _stats(0.0, 0.0, index),
        "state": "open",
        "timestamp": market.now_us // 1000,
    }


def future_ticker(market: Market, future: Future) -> Json:
    """The ticker data of a future; only the perpetual pays funding."""
    index = market.index_price
    data: Json = {
        "timestamp": market.now_us // 1000,
        "stats": {"volume_usd": 0.0, "volume": 0.0, "price_change": 0.0, "low": future.bid, "high": future.ask},
        "state": "open",
        "settlement_price": future.mark,
        "open_interest": 1_000_000.0,
        "min_price": round(0.985 * future.mark, market.family.digits),
        "max_price": round(1.015 * future.mark, market.family.digits),
        "mark_price": future.mark,
        "last_price": future.mark,
        "instrument_name": future.name,
        "index_price": index,
        "estimated_delivery_price": index,
        "best_bid_price": future.bid,
        "best_bid_amount": 100.0 * market.family.size,
        "best_ask_price": future.ask,
        "best_ask_amount": 100.0 * market.family.size,
    }
    return data if future.expiry_us is not None else data | {"funding_8h": 1e-05, "current_funding": 0.0}


def index_price(market: Market) -> Json:
    """The data of the price index channel."""
    family = market.family
    return {"timestamp": market.now_us // 1000, "price": market.index_price, "index_name": family.index_name}


def _source(market: Market, expiry_us: int) -> str:
    """Deribit's name for where an option's forward came from; another one while it settles."""
    if market.family.inverse and expiry_us <= market.now_us + SETTLING_US:
        return "SYN.EXPIRY"
    return market.forward_names[expiry_us]


def _stats(traded: float, price: float, index: float) -> Json:
    if traded <= QUIET:
        return {"volume_usd": 0.0, "volume": 0.0, "price_change": None, "low": None, "high": None}
    usd = round(100.0 * traded * price * index, 2)
    return {"volume_usd": usd, "volume": 100.0 * traded, "price_change": 0.0, "low": price, "high": price}


def _round(values: np.ndarray, digits: int) -> list[float]:
    rounded: list[float] = np.round(values, digits).tolist()
    return rounded
