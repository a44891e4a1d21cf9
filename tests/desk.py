"""A desk to test at: the trader's hand over an inbox, an audit log, published smiles, and a clock that tests set."""

import json
from asyncio import timeout
from contextlib import asynccontextmanager

import msgspec
from smiles import CHRISTMAS, DAY, NOON, smile, update

from kvd.app.hand import Hand
from kvd.app.journal import Journal
from kvd.config import Settings
from kvd.latest import Inbox
from kvd.sinks import chain
from kvd.wire import Encoder


class Bench:
    """Two smiles of deribit BTC are published; `changes` are to the settings of locks."""

    def __init__(self, path, clock=None, **changes):
        self.now_us = NOON
        clock = clock or (lambda: self.now_us)
        self.encoder = Encoder("e1")
        self.inbox = Inbox(50_000)
        self.settings = msgspec.convert({"audit": {"path": path}, "lock": changes}, Settings)
        self.journal = Journal(self.settings, "e1", clock)
        self.hand = Hand(self.settings.lock, self.journal, self.encoder, self.inbox.put, clock)
        self.journal.ending = self.hand.ending
        self.publish(update(smile(), smile(CHRISTMAS + DAY)))

    def publish(self, changed):
        self.journal.published(self.encoder.encode(changed))
        self.hand.heed(changed)

    def events(self):
        self.inbox.seal()
        batches = iter(self.inbox.take, None)
        return [event for batch in batches for event in batch.events]


@asynccontextmanager
async def bench(path, clock=None, **changes):
    made = Bench(str(path) if path else "", clock, **changes)
    async with timeout(20), made.journal:
        yield made


def said(path):
    """Kind and content of every line of an audit log, which is whole."""
    with path.open("rb") as lines:
        assert chain.verify(lines).change is None
    return [(line["kind"], line["content"]) for line in map(json.loads, path.read_bytes().splitlines())]
