"""Over a replay, through a real publisher and real sockets: a subscriber cut off a hundred times, in whatever way and
in the middle of whatever frame, who comes back each time, ends with the very bytes of one who never left.

What happens is drawn from one seed. Cuts are made after a number of bytes that the server is known to send, so a seed
comes to the same cuts whatever the sockets do.
"""

import asyncio
import itertools
import json
import random
from collections import Counter

import msgspec
import orjson
import pytest
import synthetic_tape
from smiles import NOON
from subscriber import Subscriber
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from kvd.calibrator import Calibrator
from kvd.config import Publish, Settings
from kvd.feeds.replay import replay
from kvd.latest import Inbox
from kvd.sinks.publish import Publisher
from kvd.venues import deribit
from kvd.wire import SUBPROTOCOLS, Encoder, Moved, Ring
from kvd.wire.moved import EVERYTHING

TOPICS = ("surface.*.*", "smile.*.*.*", "atm.*.*", "status")
MINUTE_US = 60_000_000
CUTS = 100


class Visitor:
    """A subscriber on a socket of its own, which it may leave at any byte."""

    def __init__(self, port, subprotocol):
        self.port, self.subprotocol, self.subscriber = port, subprotocol, Subscriber()

    async def come(self):
        """Connect, and subscribe from where the subscriber is; the handshake is over when this returns."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        uri = parse_uri(f"ws://127.0.0.1:{self.port}/v1/stream")
        self.protocol = ClientProtocol(uri, subprotocols=[self.subprotocol], max_size=None)
        self.protocol.send_request(self.protocol.connect())
        self._send()
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.protocol.receive_data(head)
        assert self.protocol.subprotocol == self.subprotocol
        self.protocol.events_received()
        request = self.subscriber.subscribe(*TOPICS)
        if SUBPROTOCOLS[self.subprotocol] == "msgpack":
            self.protocol.send_binary(msgspec.msgpack.encode(request))
        else:
            self.protocol.send_text(json.dumps(request).encode())
        self._send()

    def hear(self, data):
        """Act on the frames that are whole with `data`."""
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (1, 2):
                packed = event.opcode == 2
                self.subscriber.hear(orjson.dumps(msgspec.msgpack.decode(event.data)) if packed else event.data)

    async def catch_up(self, encoder):
        """Hear until every topic is where the server has it."""
        while not self.is_up_to_date(encoder):
            data = await self.reader.read(65_536)
            assert data
            self.hear(data)

    def is_up_to_date(self, encoder):
        """Whether every topic is where the server has it."""
        seq = self.subscriber.seq
        return all(seq.get(topic) == encoder.seq(topic) for topic in {*encoder.topics(), *seq})

    async def leave(self, how, after_bytes):
        """Go, having heard so many bytes more: without a word, or with a closing frame and deaf to what still comes."""
        self.hear(await self.reader.readexactly(after_bytes))
        if how == "polite":
            self.protocol.send_close(1000)
            self._send()
            while await self.reader.read(65_536):
                pass
        self.writer.transport.abort()

    def _send(self):
        for data in self.protocol.data_to_send():
            self.writer.write(data)


def updates_of(tape, frames):
    """What the first frames of a tape come to."""
    settings = Settings()
    inbox, calibrator = Inbox(settings.calibrator.batch_ms * 1000), Calibrator(settings)
    for event in itertools.islice(replay(tape, deribit.Session(settings.deribit)), frames):
        inbox.put(event)
        while (batch := inbox.take()) is not None:
            yield from calibrator.step(batch)


def with_exits(updates, rng):
    """Now and then an expiry leaves, to come back with its next smile."""
    for update in updates:
        yield update
        if update.smiles and rng.random() < 0.05:
            gone = rng.choice(update.smiles).expiry_us
            yield update._replace(smiles=(), withdrawn=(gone,))


class Story:
    """The steadfast, the restless, and what becomes of them as updates are published."""

    def __init__(self, server, encoder, subprotocol, rng):
        self.server, self.encoder, self.rng = server, encoder, rng
        self.steadfast = Visitor(server.port, "kvd.v1.json")
        self.restless = Visitor(server.port, subprotocol)
        self.away = 0  # updates to stay away for; 0: here
        self.missed_us = 0  # when what it does not have was published, at the earliest
        self.cuts: Counter[str] = Counter()
        self.returns: Counter[str] = Counter()

    async def publish(self, update):
        messages = self.server.publish(update)
        await self.steadfast.catch_up(self.encoder)
        if self.away > 1:
            self.away -= 1
        elif self.away:
            await self.come_back(update.publish_us)
        elif messages and self.more_cuts(0.8):
            self.missed_us = update.publish_us
            coding = SUBPROTOCOLS[self.restless.subprotocol]
            await self.cut(self.rng.randrange(sum(len(message.encoded(coding)) for message in messages)))
        else:
            await self.restless.catch_up(self.encoder)

    async def come_back(self, now_us):
        subscriber = self.restless.subscriber
        asked, heard, resumed = set(subscriber.seq), len(subscriber.heard), len(subscriber.resumed)
        await self.restless.come()
        if self.more_cuts(0.2):
            await self.cut(self.rng.randrange(120))  # within the ack, or right behind it
            return
        self.away = 0
        await self.restless.catch_up(self.encoder)
        gaps = {"slow", "too_old", "new_epoch", "unknown_seq"}.intersection(subscriber.heard[heard:])
        if now_us - self.missed_us <= MINUTE_US:
            assert set(subscriber.resumed[resumed:]) == asked
            assert not gaps
        assert gaps <= {"too_old"}
        self.returns["gap" if gaps else "resumed"] += 1

    def more_cuts(self, share):
        return self.cuts.total() < CUTS and self.rng.random() < share

    async def cut(self, after_bytes):
        how = self.rng.choice(["abrupt", "polite", "middle"])
        self.cuts[how] += 1
        self.away = self.rng.choice([1, 1, 1, 1, 1, 2, 2, 3, 5, 25])
        await self.restless.leave(how, after_bytes if how == "middle" else 0)


async def told(updates, subprotocol, moved, seed):
    """The story of a seed, over updates."""
    encoder, rng = Encoder("e1", Ring(MINUTE_US, 2**27), moved), random.Random(seed)
    server = Publisher(Publish(port=0, heartbeat_s=600.0), encoder, dict, bytes, lambda: NOON)
    async with asyncio.timeout(120), server:
        story = Story(server, encoder, subprotocol, rng)
        await story.steadfast.come()
        await story.restless.come()
        for number, update in enumerate(updates):
            if number % 50 == 0:
                server.status({"venue": "deribit", "state": ("connected", "lost")[number // 50 % 2]})
            await story.publish(update)
        if story.away:
            story.away = 0
            await story.restless.come()
        await story.restless.catch_up(encoder)
        fresh = Visitor(server.port, "kvd.v1.json")
        await fresh.come()
        await fresh.catch_up(encoder)
        for visitor in (story.steadfast, story.restless, fresh):
            visitor.writer.transport.abort()
        return story, fresh.subscriber


def look(updates, subprotocol="kvd.v1.json", moved=EVERYTHING, seed=1):
    exits = list(with_exits(updates, random.Random(seed)))
    story, fresh = asyncio.run(told(exits, subprotocol, moved, seed))
    steadfast, restless = story.steadfast.subscriber, story.restless.subscriber
    assert story.cuts.total() == CUTS and len(story.cuts) == 3
    assert restless.held == steadfast.held
    assert restless.seq == steadfast.seq
    assert {topic: held for topic, held in steadfast.held.items() if held} == fresh.held
    assert set(steadfast.heard) <= {"ack", "snapshot", "update", "status"}
    return story


@pytest.mark.parametrize(("subprotocol", "moved"), [("kvd.v1.json", EVERYTHING), ("kvd.v1.msgpack", Moved(0.5, 0.1))])
def test_over_a_synthetic_market(tmp_path, subprotocol, moved):
    tape = tmp_path / "tape.ndjson"
    synthetic_tape.write(tape, seconds=550, per_second=8)
    story = look(updates_of(tape, 10_000), subprotocol, moved)
    assert story.returns["resumed"] > 50


@pytest.mark.data
@pytest.mark.parametrize("seed", [1, 2])
def test_over_a_tape_of_bitcoin(market_data, seed):
    story = look(updates_of(market_data / "tapes" / "deribit-btc-2023-04-13.ndjson.gz", 12_000), seed=seed)
    assert story.returns["resumed"] > 30
    assert story.returns["gap"] > 5
