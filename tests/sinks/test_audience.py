"""Handing out: whatever is published, asked and read in whatever order, nobody is skipped, told twice or held up."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, smile, update
from subscriber import Subscriber, take_frames
from websockets.asyncio.client import connect

from kvd.config import Publish
from kvd.sinks.audience import SLICE, SLICE_BYTES, Audience, Session
from kvd.sinks.conversation import Conversation
from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally
from kvd.sinks.publish import Publisher
from kvd.sinks.requests import Bucket
from kvd.sinks.tokens import Holder
from kvd.wire import Encoder, covers

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(12))
SURFACE = "surface.deribit.BTC"


class Pipe:
    """A transport in memory: the kernel takes so much, the rest waits, and all of it until it is let through."""

    KERNEL_BYTES = 100_000

    def __init__(self):
        self.underway = b""
        self.closed_for_writing = False
        self.aborted = False

    def write(self, data):
        if self.closed_for_writing:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.underway += data

    def get_write_buffer_size(self):
        return max(0, len(self.underway) - self.KERNEL_BYTES)

    def get_extra_info(self, _name):
        return None

    def abort(self):
        self.aborted = True

    def let_through(self, count):
        out, self.underway = self.underway[:count], self.underway[count:]
        return out


class Peer(Subscriber):
    """A subscriber at the far end of a pipe, that also knows what it has been told it listens to."""

    def __init__(self, hall):
        super().__init__()
        self.patterns, self.read, self.pipe = set(), b"", Pipe()
        holder = Holder(None, Publish(), 0.0)
        outbox = Outbox(self.pipe, hall.encoder, hall.tally)
        bucket = Bucket(1e9, 0.0)
        self.session = Session(
            self.pipe, lambda: not (self.pipe.aborted or self.pipe.closed_for_writing), outbox, bucket, holder
        )

    def take(self, count=10**9):
        whole, self.read = take_frames(self.read + self.pipe.let_through(count))
        for _, payload in whole:
            message = json.loads(payload)
            if message["type"] == "ack" and message["op"] == "subscribe":
                self.patterns |= set(message["topics"])
            elif message["type"] == "ack" and message["op"] == "unsubscribe":
                self.patterns -= set(message["topics"])
            elif message["type"] == "update":
                assert covers(self.patterns, message["topic"])
            if message["type"] != "error":
                self.hear(payload)


class Hall:
    """An audience, those who ask to be in it, and what speaks to it."""

    def __init__(self, stalled_after_s=60.0):
        self.encoder, self.tally = Encoder("e1"), Tally()
        self.audience = Audience(stalled_after_s, self.tally)
        self.conversation = Conversation(Publish(), self.encoder, self.audience, Counter())

    def come(self):
        peer = Peer(self)
        self.audience.join(peer.session)
        return peer

    async def ask(self, peer, op, *topics):
        await self.conversation.answer(peer.session, json.dumps({"op": op, "topics": topics}))

    async def crowd(self, count, *topics):
        peers = [self.come() for _ in range(count)]
        for peer in peers:
            await self.ask(peer, "subscribe", *topics)
            peer.take()
        return peers

    def publish(self, *expiries, **changes):
        self.audience.hand_out(self.encoder.encode(update(*(smile(expiry, **changes) for expiry in expiries))))


@asynccontextmanager
async def hall(**options):
    """It writes out and is looked after meanwhile."""
    made = Hall(**options)
    beat = {"type": "heartbeat", "epoch": "e1"}
    duties = [
        asyncio.ensure_future(made.audience.write_out()),
        asyncio.ensure_future(made.audience.look_after(60.0, lambda: beat)),
    ]
    async with asyncio.timeout(20):
        yield made
    for duty in duties:
        duty.cancel()
    await asyncio.wait(duties)


patterns = st.sampled_from([SURFACE, "surface.*.*", "smile.*.*.*", "smile.deribit.BTC.2026-12-25", "atm.deribit.BTC"])
who = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("publish"), st.sets(st.sampled_from(EXPIRIES[:3]), min_size=1), st.sampled_from([10, 90_000])),
    st.tuples(st.just("turn")),
    st.tuples(st.just("subscribe"), who, patterns),
    st.tuples(st.just("unsubscribe"), who, patterns),
    st.tuples(st.just("read"), who, st.sampled_from([1, 5_000, 100_000, 10**9])),
    st.tuples(st.just("flush"), who),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, max_size=60))
def test_the_chain_holds_and_the_end_is_the_newest_whoever_asks_when(acts):
    async def run():
        async with hall() as there:
            peers = [there.come() for _ in range(3)]
            for count, (act, *how) in enumerate(acts):
                if act == "publish":
                    there.publish(*sorted(how[0]), quotes=count, reason="x" * how[1])
                elif act == "turn":
                    await asyncio.sleep(0)
                elif act == "read":
                    peers[how[0]].take(how[1])
                elif act == "flush":
                    there.audience.flush(peers[how[0]].session)
                else:
                    await there.ask(peers[how[0]], act, how[1])
                assert all(peer.pipe.get_write_buffer_size() < SOCKET_BYTES + 500_000 for peer in peers)
            there.audience.settle()
            fresh = Subscriber()
            for topic in there.encoder.topics():
                fresh.hear(there.encoder.snapshot(topic))
            for peer in peers:
                while peer.pipe.underway or peer.session.outbox:
                    there.audience.flush(peer.session)
                    peer.take()
                listening = {topic for topic in fresh.held if covers(peer.patterns, topic)}
                assert {topic: peer.held[topic] for topic in listening} == {t: fresh.held[t] for t in listening}

    asyncio.run(run())


@pytest.mark.parametrize(("reason", "expiries"), [("", 1), ("x" * 20_000, 1), ("x" * 15_000, 12), ("x" * 100_000, 12)])
def test_a_turn_of_the_loop_writes_to_few_sockets_and_few_bytes(reason, expiries):
    """Everybody has it in the end, a slice at a time, what must wait in slots included."""

    async def run():
        async with hall() as there:
            peers = await there.crowd(200, SURFACE)
            there.publish(*EXPIRIES[:expiries], reason=reason)
            had, turns = 0, []
            while any(not peer.pipe.underway for peer in peers):
                before_bytes = there.tally.sent_bytes
                await asyncio.sleep(0)
                have = sum(bool(peer.pipe.underway) for peer in peers)
                turns.append((have - had, there.tally.sent_bytes - before_bytes))
                had = have
            assert max(sockets for sockets, _ in turns) <= SLICE
            assert max(count for _, count in turns) <= 3 * SLICE_BYTES
            while any(peer.session.outbox for peer in peers):
                for peer in peers:
                    peer.take()
                before_bytes = there.tally.sent_bytes
                await asyncio.sleep(0)
                assert there.tally.sent_bytes - before_bytes <= 3 * SLICE_BYTES
            for peer in peers:
                peer.take()
                assert peer.seq[SURFACE] == expiries
                assert peer.heard == ["ack"] + ["update"] * expiries

    asyncio.run(run())


def test_what_was_handed_out_comes_before_an_answer_and_once():
    async def run():
        async with hall() as there:
            peers = await there.crowd(3 * SLICE, SURFACE)
            there.publish(CHRISTMAS)
            await asyncio.sleep(0)
            last, other = peers[-1], peers[-2]
            assert not last.pipe.underway
            await there.ask(last, "unsubscribe", SURFACE)
            await there.ask(other, "ping")
            there.publish(*EXPIRIES[1:])
            there.audience.settle()
            for peer in peers:
                peer.take()
            assert last.heard == ["ack", "update", "ack"]
            assert other.heard == ["ack", "update", "ack"] + ["update"] * 11
            assert {tuple(peer.heard) for peer in peers[:-2]} == {("ack", *["update"] * 12)}
            assert there.tally.overwrites == 0

    asyncio.run(run())


def test_a_smile_that_comes_again_before_all_have_it_costs_nobody_the_first():
    async def run():
        async with hall() as there:
            peers = await there.crowd(3 * SLICE, "atm.*.*")
            for count in range(5):
                there.publish(CHRISTMAS, quotes=count)
            for peer in peers:
                peer.take()
                assert peer.heard == ["ack"] + ["update"] * 4
            there.audience.settle()
            there.publish(EXPIRIES[1])
            there.publish(CHRISTMAS)
            for peer in peers:
                peer.take()
                assert peer.heard == ["ack"] + ["update"] * 5
            there.audience.settle()
            assert there.tally.overwrites == 0
            assert there.tally.sent["atm"] == 7 * len(peers)

    asyncio.run(run())


def fill(there, peer):
    """Let the slots of `peer` be all that still takes anything."""
    while not peer.session.outbox:
        there.publish(*EXPIRIES[6:], reason="x" * 30_000)
        there.audience.settle()


def test_what_waits_is_not_overtaken():
    """By what is handed out once the socket has room again, or comes after an answer that waits itself."""

    async def run():
        async with hall() as there:
            (peer,) = await there.crowd(1, SURFACE)
            there.publish(CHRISTMAS, underlying="ETH")
            fill(there, peer)
            await there.ask(peer, "subscribe", "atm.deribit.ETH")
            heard = len(peer.heard)
            peer.take()
            there.publish(CHRISTMAS, underlying="ETH")
            there.audience.settle()
            while peer.session.outbox:
                there.audience.flush(peer.session)
                peer.take()
            peer.take()
            others = [kind for kind in peer.heard[heard:] if kind not in ("update", "slow")]
            assert others == ["ack", "snapshot"]
            assert peer.seq == {topic: there.encoder.seq(topic) for topic in (SURFACE, "atm.deribit.ETH")}

    asyncio.run(run())


def test_nothing_of_a_topic_comes_after_its_end_is_acknowledged_however_slow_the_client():
    async def run():
        async with hall() as there:
            peer, _ = await there.crowd(2, SURFACE)
            fill(there, peer)
            there.publish(EXPIRIES[6])
            await there.ask(peer, "unsubscribe", SURFACE)
            there.audience.settle()
            while peer.session.outbox or peer.pipe.underway:
                peer.take()
                there.audience.flush(peer.session)
            assert peer.heard[-1] == "ack"
            assert peer.patterns == set()

    asyncio.run(run())


def test_what_was_said_while_somebody_did_not_listen_is_a_gap_where_there_is_no_snapshot():
    """A topic that ended meanwhile and begins again: its numbers go on."""

    async def run():
        async with hall() as there:
            topic = "smile.deribit.BTC.2026-12-25"
            (peer,) = await there.crowd(1, topic)
            there.publish(CHRISTMAS)
            there.audience.settle()
            await there.ask(peer, "unsubscribe", topic)
            there.audience.hand_out(there.encoder.encode(update(withdrawn=(CHRISTMAS,))))
            await there.ask(peer, "subscribe", topic)
            there.publish(CHRISTMAS)
            there.audience.settle()
            peer.take()
            assert peer.heard == ["ack", "update", "ack", "ack", "slow", "update"]

    asyncio.run(run())


def test_who_was_written_to_is_not_silent():
    async def run():
        async with hall() as there:
            heard, silent = await there.crowd(1, SURFACE) + await there.crowd(1, "status")
            came_s = heard.session.written_s, silent.session.written_s
            there.publish(CHRISTMAS)
            there.audience.settle()
            assert (heard.session.written_s > came_s[0], silent.session.written_s > came_s[1]) == (True, False)

    asyncio.run(run())


def test_who_leaves_or_is_closed_for_writing_keeps_nothing_from_the_others():
    async def run():
        async with hall() as there:
            peers = await there.crowd(5, SURFACE)
            peers[1].pipe.closed_for_writing = True
            there.publish(CHRISTMAS)
            there.audience.settle()
            there.publish(CHRISTMAS)
            there.audience.leave(peers[3].session)
            there.audience.settle()
            there.publish(CHRISTMAS)
            there.audience.settle()
            for peer in peers:
                peer.take()
            assert [peer.heard.count("update") for peer in peers] == [3, 0, 3, 2, 3]
            assert there.tally.sent["surface"] == 11

    asyncio.run(run())


def test_nothing_is_written_after_the_end():
    async def run():
        async with hall() as there:
            (peer,) = await there.crowd(1, SURFACE)
            there.publish(CHRISTMAS)
            there.audience.close()
            there.publish(CHRISTMAS)
            there.audience.settle()
            peer.take()
            assert peer.heard == ["ack", "update"]

    asyncio.run(run())


def test_a_socket_that_stops_draining_is_cut_though_nothing_more_is_said():
    async def run():
        async with hall(stalled_after_s=0.3) as there:
            slow, stalled = await there.crowd(2, SURFACE)
            there.publish(CHRISTMAS, reason="x" * 2 * Pipe.KERNEL_BYTES)
            while not there.audience.cut:
                slow.take(1)
                await asyncio.sleep(0.01)
            assert (stalled.pipe.aborted, slow.pipe.aborted) == (True, False)
            assert there.audience.cut == {"stalled": 1}

    asyncio.run(run())


UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: kvd\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
CLOSE = b"\x88\x80\x00\x00\x00\x00"


def test_nothing_follows_a_closing_frame_and_the_others_go_on():
    """A client that says goodbye and stays: its socket is closed for writing while it is still an audience's."""

    async def run():
        made = Publisher(Publish(port=0), Encoder("e1"), dict, bytes, lambda: NOON)
        async with asyncio.timeout(20), made as server, connect(f"ws://127.0.0.1:{server.port}/v1/stream") as other:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(UPGRADE)
            await reader.readuntil(b"\r\n\r\n")
            request = json.dumps({"op": "subscribe", "topics": [SURFACE]})
            writer.write(b"\x81" + bytes((0x80 | len(request),)) + bytes(4) + request.encode())
            await other.send(request)
            for _ in range(50):
                server.publish(update(smile()))
                await asyncio.sleep(0)
            writer.write(CLOSE)
            closing = asyncio.ensure_future(reader.read())
            while not closing.done():
                server.publish(update(smile()))
                await asyncio.sleep(0)
            whole, rest = take_frames(closing.result())
            assert {first for first, _ in whole[:-1]} == {0x81}
            assert (whole[-1][0], rest) == (0x88, b"")
            seq = server.statistics().sent["surface"] - (len(whole) - 2)
            heard = Subscriber()
            while heard.seq.get(SURFACE, 0) < seq:
                heard.hear((await other.recv()).encode())
            writer.close()

    asyncio.run(run())
