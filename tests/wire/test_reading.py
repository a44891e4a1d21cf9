"""Whatever stands in for a kvd, its messages are read or refused with one kind of error."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import smile, update

from kvd.client.frames import read
from kvd.wire import Encoder, decode, decode_atm

ENCODER = Encoder("e")
SAID = [message.payload for message in ENCODER.encode(update(smile()))] + [
    ENCODER.snapshot(topic) for topic in ENCODER.topics()
]


def whole(data):
    return [body.smile for body in read(data)[1] if body.state != "withdrawn"]


def survive(data):
    for reader in (decode, decode_atm, whole):
        try:
            reader(data)
        except msgspec.DecodeError:
            continue


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything(data):
    survive(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAID), st.integers(0, 10_000), st.integers(0, 4), st.binary(max_size=5))
def test_messages_with_some_bytes_replaced(said, at, length, instead):
    at %= len(said)
    survive(said[:at] + instead + said[at + length :])


@pytest.mark.parametrize("reader", [decode, decode_atm, whole])
@pytest.mark.parametrize("data", [b'{"type":"\xe4"}', b'{"type":"update","smile":' + b"[" * 20_000, b"", b"\xff"])
def test_text_that_is_none_and_depths_without_end_are_decode_errors(reader, data):
    with pytest.raises(msgspec.DecodeError):
        reader(data)


def test_an_instant_without_a_zone_is_a_decode_error():
    gone = b'{"expiry":"2026-12-25T08:00:00","state":"withdrawn"}'
    with pytest.raises(msgspec.DecodeError, match="zone"):
        decode(b'{"type":"update","topic":"t","seq":2,"prev_seq":1,"epoch":"e","smile":%b}' % gone)
