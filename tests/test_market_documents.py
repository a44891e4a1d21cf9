"""What kvd makes of a market, a synthetic and a real one, is what its documents say that it publishes."""

import itertools
import json
from collections import Counter

import pytest
import synthetic_tape
from documents import name_of

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.replay import replay
from kvd.latest import Inbox
from kvd.venues import deribit
from kvd.wire import Encoder, decode

SETTINGS = Settings()
LOOK_AT_EVERY = 50  # JSON Schema in Python is slow; the limits of the types are those of the documents, and fast


def messages(tape, frames):
    """Every message that the first frames of a tape come to."""
    inbox, calibrator, encoder = Inbox(50_000), Calibrator(SETTINGS), Encoder("e")
    for event in itertools.islice(replay(tape, deribit.Session(SETTINGS.deribit)), frames):
        inbox.put(event)
        while (batch := inbox.take()) is not None:
            for update in calibrator.step(batch):
                yield from encoder.encode(update)


def look(tape, frames):
    seen = Counter()
    for number, message in enumerate(messages(tape, frames)):
        if message.kind != "atm":
            decode(message.payload)
        if number % LOOK_AT_EVERY in range(3):  # the same smile's three topics
            seen[message.kind, name_of(json.loads(message.payload))] += 1
    return seen


def test_a_synthetic_market(tmp_path):
    tape = tmp_path / "tape.ndjson"
    synthetic_tape.write(tape, seconds=30)
    seen = look(tape, 2_000)
    assert seen["surface", "SmileUpdate"] > 5 and seen["atm", "AtmUpdate"] > 5
    assert {name for _, name in seen} <= {"SmileUpdate", "AtmUpdate", "Withdrawal"}


@pytest.mark.data
@pytest.mark.parametrize("name", ["deribit-btc-2023-04-13", "deribit-eth-2023-04-12"])
def test_a_real_market(market_data, name):
    seen = look(market_data / "tapes" / f"{name}.ndjson.gz", 6_000)
    assert seen["surface", "SmileUpdate"] > 20 and seen["atm", "AtmUpdate"] > 20
