"""Coming back: whatever is published, flushed, lost and asked for, the chain holds and all end with the same."""

from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update
from subscriber import Subscriber, take_frames

from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally
from kvd.wire import Encoder, Ring

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


def backlog(keep_bytes: int) -> tuple[Encoder, Peer]:
    """Somebody who heard one of twenty smiles of 60 KB, and has come back with a socket that takes four of them."""
    encoder = Encoder("e1", Ring(60 * SECOND, keep_bytes))
    first = Peer(encoder, Tally())
    first.hear_all()
    for count in range(20):
        messages = send(encoder, smile(CHRISTMAS + count % 4 * DAY, quotes=count, reason="x" * 60_000))
        if count == 0:
            for message in messages:
                if message.topic in TOPICS:
                    first.outbox.put(message)
            first.hear_all()
    first.connect()
    assert first.outbox
    return encoder, first


def test_what_is_published_while_one_catches_up_waits_for_its_turn():
    encoder, peer = backlog(99 * MIB)
    for count in range(20, 40):
        for message in send(encoder, smile(quotes=count, reason="y" * 60_000)):
            if message.topic in TOPICS:
                peer.outbox.put(message)
        peer.outbox.flush()
        assert len(peer.outbox) <= len(TOPICS)
        peer.hear(70_000)
    peer.hear_all()
    assert peer.subscriber.held == state(encoder)
    assert peer.subscriber.heard_on[TOPICS[0]] == ["snapshot"] + ["update"] * 40


def test_who_is_overtaken_by_the_ring_gets_a_gap_that_voids_the_number_and_a_snapshot():
    encoder, peer = backlog(2 * MIB)
    for count in range(20, 60):
        send(encoder, smile(quotes=count, reason="y" * 60_000))
    peer.hear_all()
    for topic in TOPICS:
        assert peer.subscriber.heard_on[topic][-2:] == ["too_old", "snapshot"]
    assert peer.tally.gaps == {"too_old": 2}
    assert peer.subscriber.held == state(encoder)


def test_who_asks_for_what_was_sent_already_is_not_sent_it_twice():
    encoder = Encoder("e1", Ring(60 * SECOND, MIB))
    peer = Peer(encoder, Tally())
    peer.hear_all()
    for count in range(3):
        for message in send(encoder, smile(quotes=count)):
            if message.topic in TOPICS:
                peer.outbox.put(message)
        peer.outbox.flush()
    peer.outbox.put_resumed(TOPICS[0], 1)
    peer.hear_all()
    assert peer.subscriber.seq == dict.fromkeys(TOPICS, 3)
    assert peer.subscriber.heard_on[TOPICS[0]].count("update") == 3
