"""The two codings side by side: a subscriber in MessagePack hears the objects of one in JSON, in binary frames."""

import asyncio
import json
from math import inf, nan

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, smile, update
from test_publish import publisher, stream

from kvd.app import locks
from kvd.config import Locks
from kvd.sinks.frames import frame_head
from kvd.sinks.requests import LockRequest, Request, RequestError, read
from kvd.wire import Encoder, Ring

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
MSGPACK, JSON = "kvd.v1.msgpack", "kvd.v1.json"


async def hear(client):
    async with asyncio.timeout(5):
        frame = await client.recv()
    return unpack(frame) if client.subprotocol == MSGPACK else json.loads(frame)


async def say(client, frame):
    await client.send(pack(frame) if client.subprotocol == MSGPACK else json.dumps(frame))


async def hear_until(client, op):
    """What is said up to the ack of `op`, but for heartbeats, which come when they come."""
    heard = [await hear(client)]
    while heard[-1].get("op") != op:
        heard.append(await hear(client))
    return [message for message in heard if message["type"] != "heartbeat"]


SAID = [
    {"op": "subscribe", "topics": ["surface.deribit.BTC", "atm.*.*"]},
    {"op": "subscribe", "topics": ["surface.deribit.BTC"], "epoch": "e1", "from_seq": {"surface.deribit.BTC": 1}},
    {"op": "subscribe", "topics": ["surface.deribit.BTC"], "epoch": "e0", "from_seq": {"surface.deribit.BTC": 1}},
    {"op": "subscribe", "topics": ["status"]},
    {"op": "subscribe", "topics": []},
    {"op": "subscribe", "topics": [1]},
    {"op": "dance"},
    {"op": "lock"},
    {"op": "unlock", "id": "x"},
    [],
    {"op": "unsubscribe", "topics": ["atm.*.*"]},
]


def test_both_codings_say_the_same_objects():
    async def run():
        ring = Ring(60_000_000, 2**20)
        async with (
            publisher(encoder=Encoder("e1", ring), heartbeat_s=0.3) as server,
            stream(server, subprotocols=[JSON]) as text,
            stream(server, subprotocols=["bearer.x", MSGPACK, JSON]) as binary,
        ):
            assert (text.subprotocol, binary.subprotocol) == (JSON, MSGPACK)
            server.status({"venue": "deribit", "state": "connected"})
            server.publish(update(smile(), smile(CHRISTMAS + DAY)))
            for frame in SAID:
                await asyncio.gather(say(text, frame), say(binary, frame))
            texts, binaries = await asyncio.gather(hear_until(text, "unsubscribe"), hear_until(binary, "unsubscribe"))
            beats = await asyncio.gather(hear(text), hear(binary))
            assert beats[0] == beats[1] == {"type": "heartbeat", "epoch": "e1", "time": "2026-07-02T12:00:00.000000Z"}
            server.publish(update(smile(quotes=7), withdrawn=(CHRISTMAS + DAY,)))
            server.status({"venue": "deribit", "state": "lost"})
            await asyncio.gather(say(text, {"op": "ping"}), say(binary, {"op": "ping"}))
            texts += await hear_until(text, "ping")
            binaries += await hear_until(binary, "ping")
            assert texts == binaries
            kinds = {message["type"] for message in texts}
            assert kinds == {"ack", "error", "gap", "snapshot", "update", "status"}

    asyncio.run(run())


@pytest.mark.parametrize("offered", [None, ["other"], ["other", "bearer.x"]])
def test_without_a_coding_it_is_json_and_nothing_is_chosen(offered):
    async def run():
        async with publisher() as server, stream(server, subprotocols=offered) as client:
            assert client.subprotocol is None
            await client.send('{"op":"ping"}')
            assert json.loads(await client.recv()) == {"type": "ack", "op": "ping"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ('{"op":"ping"}', "bad_frame", "send binary frames"),
        (b"", "bad_msgpack", "not MessagePack"),
        (b"\xc1", "bad_msgpack", "not MessagePack"),
        (b'{"op":"ping"}', "bad_request", "Expected `object`"),
        (b"\x81\xa1x" + b"\x91" * 60_000, "bad_msgpack", "not MessagePack"),
        (b"\x82\xa2op\xa9subscribe\xa6topics\xdd\xff\xff\xff\xff", "bad_msgpack", "truncated"),
        (pack({"op": "subscribe", "topics": "status"}), "bad_request", "$.topics"),
        (
            pack({"op": "subscribe", "topics": ["status"], "epoch": "e", "from_seq": {"status": -1}}),
            "bad_request",
            ">= 0",
        ),
        (pack({"op": "lock", "venue": 1}), "bad_lock", "$.venue"),
    ],
)
def test_a_bad_frame_of_messagepack_is_refused_with_the_mend(frame, code, words):
    with pytest.raises(RequestError, match=words.replace("$", r"\$")) as refusal:
        read(frame, "msgpack")
    assert refusal.value.code == code
    assert '{"op":' in str(refusal.value)


requests = st.fixed_dictionaries(
    {"op": st.sampled_from(["subscribe", "unsubscribe"]), "topics": st.lists(st.text(), min_size=1)},
    optional={"epoch": st.text(), "from_seq": st.dictionaries(st.text(), st.integers(0, 2**63 - 1))},
)


@given(requests)
def test_a_request_reads_the_same_in_both(request):
    assert isinstance(read(pack(request), "msgpack"), Request)
    assert read(pack(request), "msgpack") == read(json.dumps(request))


@settings(max_examples=300)
@given(st.binary(max_size=300) | requests.map(pack).flatmap(lambda f: st.integers(0, len(f)).map(lambda n: f[:n])))
def test_no_bytes_do_more_than_be_refused(frame):
    try:
        assert isinstance(read(frame, "msgpack"), Request | LockRequest) or b"unlock" in frame
    except RequestError as error:
        assert error.code in ("bad_msgpack", "bad_request", "bad_lock")


@pytest.mark.parametrize("numbers", [{"value": nan}, {"value": 0.1, "sd": nan}, {"value": 0.1, "for_s": inf}])
def test_what_is_no_number_is_no_lock_though_messagepack_can_say_it(numbers):
    encoder = Encoder("e")
    encoder.encode(update(smile()))
    asked = {"op": "lock", "venue": "deribit", "underlying": "BTC", "expiry": "2026-12-25", "of": "skew"}
    request = read(pack({**asked, "sd": 0.1, "for_s": 60.0, **numbers}), "msgpack")
    with pytest.raises(RequestError) as refusal:
        locks.read(request, "l1", "ann", Locks(), encoder, {}, NOON)
    assert refusal.value.code == "bad_lock"


def test_binary_heads():
    assert frame_head(125, "msgpack") == b"\x82\x7d"
    assert frame_head(65536, "msgpack") == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


def test_a_message_is_packed_once_and_says_what_its_json_says():
    for message in Encoder("e").encode(update(smile(publish_us=NOON + 1))):
        assert unpack(message.encoded("msgpack")) == json.loads(message.payload)
        assert message.encoded("msgpack") is message.encoded("msgpack")
