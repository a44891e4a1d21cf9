"""Whatever a subscriber sends is a request or a RequestError, and no more of it is said again than a sentence takes."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.sinks.requests import LockRequest, Request, RequestError, UnlockRequest, read

LOCK = {
    "op": "lock", "venue": "deribit", "underlying": "BTC", "expiry": "2026-12-25", "of": "vol", "value": 0.55,
    "sd": 0.002, "strike": 6e4, "for_s": 3600,
}  # fmt: skip
OPS = ["subscribe", "unsubscribe", "ping", "lock", "unlock"]
NAMES = st.sampled_from([*LOCK, "topics", "epoch", "from_seq", "id", "until"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=12)
    | st.sampled_from([1e308, -0.0, 5e-324, 2**63, "surface.*.*"])
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))
FRAMES = st.builds(
    lambda op, rest: {**rest, "op": op}, st.sampled_from(OPS), st.dictionaries(NAMES, VALUES, max_size=6)
) | st.builds(lambda name, value: {**LOCK, name: value}, NAMES, VALUES)


def survive(frame, coding):
    try:
        request = read(frame, coding)
    except RequestError as error:
        assert error.code in {"bad_frame", "bad_json", "bad_msgpack", "bad_request", "bad_lock"}
        assert len(str(error)) < 600
    else:
        assert isinstance(request, Request | LockRequest | UnlockRequest)


@given(st.text() | st.binary(), st.sampled_from(["json", "msgpack"]))
def test_anything(frame, coding):
    survive(frame, coding)


@given(FRAMES)
def test_requests_with_anything_in_them(message):
    survive(json.dumps(message), "json")
    survive(msgspec.msgpack.encode(message), "msgpack")


@given(FRAMES, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_requests_with_some_bytes_replaced(message, at, instead):
    packed = msgspec.msgpack.encode(message)
    at %= len(packed)
    survive(packed[:at] + instead + packed[at + len(instead) :], "msgpack")


def test_text_that_is_none_in_a_field_of_locks_alone():
    packed = msgspec.msgpack.encode(LOCK).replace(b"2026-12-25", b"2026-\xf4\xb3-25")
    with pytest.raises(RequestError) as refused:
        read(packed, "msgpack")
    assert refused.value.code == "bad_lock"


@pytest.mark.parametrize("frame", ["[" * 60_000, '{"op":' * 9_000, '{"op":"lock","venue":' + "[" * 60_000])
def test_what_nests_deeper_than_any_stack(frame):
    with pytest.raises(RequestError) as refused:
        read(frame)
    assert refused.value.code in ("bad_json", "bad_request", "bad_lock")


@pytest.mark.parametrize(
    "message", [{"op": "A" * 60_000}, {"op": "ping", "topics": "A" * 60_000}, LOCK | {"of": "A" * 60_000}]
)
def test_no_more_of_a_frame_is_said_again_than_a_sentence_takes(message):
    with pytest.raises(RequestError) as refused:
        read(json.dumps(message))
    assert len(str(refused.value)) < 600
