"""Coming back: whatever is published, flushed, lost and asked for, the chain holds and all end with the same."""

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update
from subscriber import Subscriber, take_frames

from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally
from kvd.wire import Encoder, Ring
from kvd.wire.ring import Entry

TOPICS = ("surface.deribit.BTC", "atm.deribit.BTC")
MIB = 2**20


class Pipe:
    """A transport in memory: what is written waits in it until it is let through."""

    def __init__(self) -> None:
        self.waiting = b""

    def write(self, data: bytes) -> None:
        self.waiting += data

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def let_through(self, count: int) -> bytes:
        out, self.waiting = self.waiting[:count], self.waiting[count:]
        return out


class Peer:
    """A subscriber over a pipe: it acts on whole frames alone and may be cut off in the middle of one."""

    def __init__(self, encoder: Encoder, tally: Tally) -> None:
        self.encoder, self.tally, self.subscriber = encoder, tally, Subscriber()
        self.connect()

    def connect(self) -> None:
        """Anew, with what was handled before: as `Conversation` serves a subscribe."""
        self.pipe, self.read = Pipe(), b""
        self.outbox = Outbox(self.pipe, self.encoder, self.tally)
        for topic in TOPICS:
            seq = self.subscriber.seq.get(topic)
            if seq is None:
                self.outbox.put_snapshot(topic)
                continue
            why = self.encoder.lost(topic, seq, self.subscriber.epoch)
            if why is None:
                self.outbox.put_resumed(topic, seq)
            else:
                self.outbox.put_restart(topic, seq if why == "too_old" else 0, why)
        self.outbox.flush()

    def hear(self, count: int) -> None:
        whole, self.read = take_frames(self.read + self.pipe.let_through(count))
        for first, payload in whole:
            assert first == 0x81
            self.subscriber.hear(payload)

    def hear_all(self) -> None:
        while self.outbox or self.pipe.waiting:
            self.outbox.flush()
            assert len(self.pipe.waiting) < SOCKET_BYTES + 200_000
            self.hear(len(self.pipe.waiting))


def state(encoder: Encoder) -> dict[str, dict[str, bytes]]:
    """What somebody who came just now would hold."""
    fresh = Subscriber()
    for topic in TOPICS:
        fresh.hear(encoder.snapshot(topic))
    return fresh.held


def send(encoder: Encoder, *changed: object, withdrawn: tuple[int, ...] = (), at_us: int = NOON) -> tuple:
    return encoder.encode(update(*changed, withdrawn=withdrawn)._replace(publish_us=at_us))


days = st.integers(0, 3).map(lambda day: CHRISTMAS + day * DAY)
steps = st.one_of(
    st.tuples(st.just("publish"), days, st.sampled_from([10, 1000, 90_000])),
    st.tuples(st.just("withdraw"), days),
    st.tuples(st.just("flush")),
    st.tuples(st.just("read"), st.sampled_from([1, 500, 5_000, 100_000, 10**7])),
    st.tuples(st.just("cut")),
)
rings = st.sampled_from([(0, 0), (3 * SECOND, MIB), (60 * SECOND, MIB // 4), (60 * SECOND, 99 * MIB)])


@settings(deadline=None, max_examples=400)
@given(st.lists(steps, max_size=60), rings)
def test_whatever_happens_the_chain_holds_and_the_end_is_that_of_one_who_never_left(acts, kept):
    encoder, tally = Encoder("e1", Ring(*kept)), Tally()
    peer, listed = Peer(encoder, tally), set()
    for count, (act, *how) in enumerate(acts):
        if act == "publish":
            expiry_us, size = how
            listed.add(expiry_us)
            messages = send(encoder, smile(expiry_us, quotes=count, reason="x" * size), at_us=NOON + count * SECOND)
        elif act == "withdraw" and how[0] in listed:
            listed.remove(how[0])
            messages = send(encoder, withdrawn=(how[0],), at_us=NOON + count * SECOND)
        else:
            messages = ()
        for message in messages:
            if message.topic in TOPICS:
                peer.outbox.put(message)
        if act == "flush":
            peer.outbox.flush()
        elif act == "read":
            peer.hear(how[0])
        elif act == "cut":
            peer.connect()
    peer.hear_all()
    assert peer.subscriber.held == state(encoder)
    assert tally.gaps.total() == tally.sent["gap"]
    if kept[1] == 99 * MIB:
        assert set(tally.gaps) <= {"slow"}


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
