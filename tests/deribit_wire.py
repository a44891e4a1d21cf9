"""Deribit's messages with invented numbers, for tests of the adapter and of the feed."""

import json
from typing import Any

TICKER: dict[str, Any] = {
    "timestamp": 1_700_000_000_123,
    "state": "open",
    "stats": {"high": None, "low": None, "price_change": None, "volume": None},
    "instrument_name": "BTC-29DEC23-40000-C",
    "best_bid_price": 0.0305,
    "best_bid_amount": 12.5,
    "best_ask_price": 0.0315,
    "best_ask_amount": 3.0,
    "bid_iv": 54.5,
    "ask_iv": 55.5,
    "mark_iv": 55.0,
    "mark_price": 0.031,
    "underlying_price": 37123.5,
    "underlying_index": "BTC-29DEC23",
    "index_price": 37000.25,
    "estimated_delivery_price": 37000.25,
    "greeks": {"delta": 0.4, "gamma": 0.0, "rho": 1.0, "theta": -1.0, "vega": 30.0},
}


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()


def notification(channel: str, data: Any) -> bytes:
    return encode({"method": "subscription", "params": {"channel": channel, "data": data}})


def ticker(name: str = TICKER["instrument_name"], **changes: Any) -> bytes:
    return notification(f"ticker.{name}.100ms", TICKER | {"instrument_name": name} | changes)


def index(price: float = 37000.25, name: str = "btc_usd", timestamp: int = 1_700_000_000_123) -> bytes:
    return notification(f"deribit_price_index.{name}", {"index_name": name, "price": price, "timestamp": timestamp})


def state(name: str, state: str) -> bytes:
    data = {"instrument_name": name, "state": state, "timestamp": 1_700_000_000_123}
    return notification(f"instrument.state.option.{name.partition('-')[0]}", data)


def row(name: str, kind: str = "option", **changes: Any) -> dict[str, Any]:
    usual = {
        "expiration_timestamp": 1_703_836_800_000,
        "tick_size": 0.0001,
        "is_active": True,
        "price_index": "btc_usd",
    }
    return {"instrument_name": name, "kind": kind} | usual | changes


def result(id: int | None, result: Any) -> bytes:
    return encode({"id": id, "result": result})


def error(id: int | None, code: int, message: str = "no") -> bytes:
    fault = {"error": {"code": code, "message": message}}
    return encode(fault if id is None else {"id": id} | fault)
