"""The ring of what was sent lately, and what the encoder finds in it for who comes back."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from smiles import CHRISTMAS, NOON, SECOND, smile, update

from kvd.wire import Encoder, Ring
from kvd.wire.ring import Entry

MIB = 2**20


def send(encoder, *changed, withdrawn=(), at_us=NOON):
    return encoder.encode(update(*changed, withdrawn=withdrawn)._replace(publish_us=at_us))


def test_an_expiry_that_left_while_one_was_away_is_told_on_its_own_topic():
    encoder, topic = Encoder("e1", Ring(60 * SECOND, MIB)), "smile.deribit.BTC.2026-12-25"
    send(encoder, smile())
    send(encoder, withdrawn=(CHRISTMAS,))
    assert topic not in encoder.topics()
    assert encoder.lost(topic, 1, "e1") is None
    (missed,) = encoder.since(topic, 1)
    assert (missed.topic, missed.seq, missed.prev_seq) == (topic, 2, 1)
    assert b'"withdrawn"' in missed.payload


def test_what_cannot_be_had_is_said_with_its_reason():
    encoder, topic = Encoder("e1", Ring(60 * SECOND, MIB)), "atm.deribit.BTC"
    for minute in range(3):
        send(encoder, smile(), at_us=NOON + minute * 60 * SECOND)
    assert [encoder.lost(topic, seq, "e1") for seq in range(5)] == ["too_old", None, None, None, "unknown_seq"]
    assert encoder.lost(topic, 3, "e0") == "new_epoch"
    assert encoder.lost("atm.deribit.ETH", 0, "e1") is None
    assert encoder.lost("atm.deribit.ETH", 1, "e1") == "unknown_seq"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3_000)), max_size=60), st.integers(0, 20_000))
def test_the_ring_keeps_the_newest_within_its_bounds_and_no_less(put, keep_bytes):
    ring, at_s, expected = Ring(20 * SECOND, keep_bytes), 0, []
    for number, (later_s, size) in enumerate(put):
        at_s += later_s
        entry = Entry(at_s * SECOND, ("a", "b") if number % 2 else ("a",), b"x" * size, b"")
        ring.put(entry)
        expected.append(entry)
        while expected[0].at_us < (at_s - 20) * SECOND or sum(e.size_bytes for e in expected) > keep_bytes:
            del expected[0]
            if not expected:
                break
        assert list(ring.newest("a", ring.count("a"))) == expected
        assert list(ring.newest("b", ring.count("b"))) == [e for e in expected if "b" in e.topics]
        assert ring.held_bytes == sum(e.size_bytes for e in expected) <= keep_bytes


def test_the_ring_takes_the_memory_that_it_says():
    encoder = Encoder("e1", Ring(60 * SECOND, 99 * MIB))
    send(encoder, smile())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(2_000):
            send(encoder, smile())
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    said = encoder.ring.held_bytes
    assert 0.9 * said < taken < 1.05 * said


def test_what_has_no_time_is_as_old_as_what_is_published_next():
    encoder = Encoder("e1", Ring(60 * SECOND, MIB))
    encoder.status({"venue": "deribit", "state": "connected"})
    send(encoder, smile(), at_us=NOON)
    encoder.status({"venue": "deribit", "state": "lost"})
    send(encoder, smile(), at_us=NOON + 600 * SECOND)
    encoder.status({"venue": "deribit", "state": "connected"})
    assert [encoder.lost("status", seq, "e1") for seq in range(4)] == ["too_old", None, None, None]
    assert [b'"lost"' in message.payload for message in encoder.since("status", 1)] == [True, False]
    assert encoder.ring.span_us == 0
    send(encoder, smile(), at_us=NOON + 661 * SECOND)
    assert [encoder.lost("status", seq, "e1") for seq in range(4)] == ["too_old", "too_old", None, None]
