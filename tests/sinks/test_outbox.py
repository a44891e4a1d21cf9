import asyncio
import json
import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, smile, update

from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally, frame_head
from kvd.wire import Encoder


def frames(data):
    """The payloads of a run of server frames, read by the letter of RFC 6455 section 5.2."""
    at = 0
    while at < len(data):
        assert data[at] == 0x81
        length, at = data[at + 1], at + 2
        if length >= 126:
            wide = 2 if length == 126 else 8
            length, at = int.from_bytes(data[at : at + wide]), at + wide
        yield data[at : at + length]
        at += length


async def over_a_socket(act):
    """What a peer receives, once `act` has had its way with an outbox."""
    ours, theirs = socket.socketpair()
    reader, peer = await asyncio.open_connection(sock=theirs, limit=2**24)
    _, writer = await asyncio.open_connection(sock=ours)
    encoder, tally = Encoder("e1"), Tally()
    act(encoder, Outbox(writer.transport, encoder, tally))
    writer.close()
    async with asyncio.timeout(5):
        received = await reader.read()
    peer.close()
    await writer.wait_closed()
    assert tally.sent_bytes == len(received)
    return [json.loads(frame) for frame in frames(received)], tally


expiries = st.integers(0, 3).map(lambda day: CHRISTMAS + day * DAY)


@settings(deadline=None)
@given(st.lists(expiries | st.just("flush") | st.just("snapshot"), max_size=60))
def test_the_chain_holds_or_names_the_gap_and_ends_at_the_newest(acts):
    topic, newest = "surface.deribit.BTC", {}

    def act(encoder, outbox):
        outbox.put_snapshot(topic)
        for count, step in enumerate(acts):
            if step == "flush":
                outbox.flush()
            elif step == "snapshot":
                outbox.put_snapshot(topic)
            else:
                newest[smile(step).expiry_us] = count
                outbox.put(encoder.encode(update(smile(step, quotes=count)))[0])
        outbox.flush()

    received, tally = asyncio.run(over_a_socket(act))
    seq, held, skipped = 0, {}, 0
    for message in received:
        if message["type"] == "gap":
            assert message["from_seq"] == seq + 1 <= message["to_seq"]
            skipped += message["to_seq"] - seq
            seq = message["to_seq"]
        elif message["type"] == "snapshot":
            assert message["seq"] >= seq
            seq, held = message["seq"], {s["expiry"]: s["quotes"] for s in message["smiles"]}
        else:
            assert message["prev_seq"] == seq
            seq = message["seq"]
            held[message["smile"]["expiry"]] = message["smile"]["quotes"]
    assert sorted(held.values()) == sorted(newest.values())
    assert skipped <= tally.overwrites
    assert tally.sent["gap"] == sum(message["type"] == "gap" for message in received)


def test_what_a_full_socket_does_not_take_stays_in_its_slot():
    def act(encoder, outbox):
        long = "x" * 100_000
        messages = [encoder.encode(update(smile(CHRISTMAS + day * DAY, reason=long)))[0] for day in range(30)]
        for message in messages:
            outbox.put(message)
        outbox.flush()
        assert len(outbox) == 30 - SOCKET_BYTES // 100_000 - 1
        assert not outbox.drained
        assert outbox.drained_bytes < SOCKET_BYTES

    received, _ = asyncio.run(over_a_socket(act))
    assert [message["seq"] for message in received] == [1, 2, 3]


def test_answers_do_not_replace_each_other():
    def act(_, outbox):
        for number in range(3):
            outbox.put_answer({"type": "ack", "number": number})
        outbox.flush()
        assert not outbox

    received, tally = asyncio.run(over_a_socket(act))
    assert [message["number"] for message in received] == [0, 1, 2]
    assert tally.sent == {"answer": 3}


def test_heads_of_all_three_lengths():
    assert frame_head(125) == b"\x81\x7d"
    assert frame_head(126) == b"\x81\x7e\x00\x7e"
    assert frame_head(65535) == b"\x81\x7e\xff\xff"
    assert frame_head(65536) == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
