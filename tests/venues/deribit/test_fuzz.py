"""Whatever arrives is a Reading or a BadFrame; whatever is read is finite; and a session survives its own answers."""

import json
import math
from typing import Any

import deribit_wire as wire
from hypothesis import given, settings
from hypothesis import strategies as st

from kvd.config import Deribit
from kvd.quotes import BadFrame, ForwardQuote, Quote
from kvd.venues import Reading, deribit

REAL_SHAPES = [
    wire.ticker(),
    wire.ticker("XRP_USDC-29DEC23-0d625-P"),
    wire.ticker("BTC-29DEC23"),
    wire.index(),
    wire.state("BTC-29DEC23-40000-C", "created"),
    wire.notification("platform_state", {"locked": True, "price_index": "btc_usd"}),
    wire.result(2, ["platform_state", "deribit_price_index.btc_usd"]),
    wire.result(3, [wire.row("BTC-29DEC23-40000-C"), wire.row("BTC-29DEC23", "future")]),
    wire.error(2, 10041),
    wire.error(None, -32600),
    wire.encode({"method": "heartbeat", "params": {"type": "test_request"}}),
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from([1e308, -1e308, 5e-324, 10**30, "expired", "NaN", "BTC-31FEB24-1-C", "ticker.", 999])
)  # fmt: skip
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))


def survive(frame: bytes | str) -> None:
    session = deribit.Session(Deribit())
    session.subscribe()
    try:
        reading = session.parse(frame, 1)
    except BadFrame as error:
        assert len(str(error)) <= 200
        return
    assert isinstance(reading, Reading)
    for event in reading.events:
        assert isinstance(event, Quote | ForwardQuote)
        numbers = [getattr(event, field) for field in event.__struct_fields__]
        assert all(math.isfinite(number) for number in numbers if isinstance(number, float))
        assert all(side is None or side > 0 for side in (event.bid, event.ask))
    for request in session.reply(reading.control):
        assert json.loads(request)["jsonrpc"] == "2.0"


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_arbitrary_bytes(frame: bytes | str):
    survive(frame)


@given(JSON)
def test_arbitrary_json(value: Any):
    survive(json.dumps(value))


@given(
    st.sampled_from(["ticker.X.100ms", "deribit_price_index.x", "instrument.state.option.BTC", "platform_state"]), JSON
)
def test_arbitrary_data_in_known_channels(channel: str, data: Any):
    survive(wire.notification(channel, data))


@settings(max_examples=400)
@given(st.sampled_from(REAL_SHAPES), st.data())
def test_real_shapes_with_one_value_replaced(frame: bytes, data: st.DataObject):
    message = json.loads(frame)
    where = data.draw(st.sampled_from(list(_paths(message))))
    parent = message
    for step in where[:-1]:
        parent = parent[step]
    parent[where[-1]] = data.draw(JSON)
    survive(json.dumps(message))


@settings(max_examples=400)
@given(st.sampled_from(REAL_SHAPES), st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=4))
def test_real_shapes_with_some_bytes_replaced(frame: bytes, at: int, length: int, instead: bytes):
    at %= len(frame)
    survive(frame[:at] + instead + frame[at + length :])


def _paths(value: Any, path: tuple[Any, ...] = ()):
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from _paths(child, (*path, key))
