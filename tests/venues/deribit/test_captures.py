"""The adapter on everything Deribit is known to have said."""

from collections import Counter
from pathlib import Path

import pytest

from kvd.config import Deribit
from kvd.feeds.tape import read_tape
from kvd.quotes import Quote
from kvd.venues import deribit

from .digest import GOLDEN, captured, digest, lines

TAPES = {
    "deribit-btc-2023-04-12": 102_230,
    "deribit-btc-2023-04-13": 192_998,
    "deribit-eth-2023-04-12": 80_184,
}


@pytest.mark.data
def test_every_captured_message_reads_as_it_always_did(market_data: Path):
    assert lines(market_data) == GOLDEN.read_text().splitlines()


@pytest.mark.data
def test_no_captured_message_is_a_bad_frame_or_says_nothing(market_data: Path):
    digests = [digest(frame) for _, frame in captured(market_data)]
    assert len(digests) == 218
    assert all(line and not line.startswith("bad frame") for line in digests)


@pytest.mark.data
@pytest.mark.parametrize("tape", TAPES)
def test_every_frame_of_a_tape_is_a_quote(market_data: Path, tape: str):
    session = deribit.Session(Deribit())
    seen: Counter[str] = Counter()
    for line in read_tape(market_data / "tapes" / f"{tape}.ndjson.gz"):
        assert line is not None
        reading = session.parse(line[1], line[0])
        (event,) = reading.events
        assert isinstance(event, Quote)
        assert not reading.refusals and reading.control is None
        assert event.receive_us == event.exchange_us < event.instrument.expiry_us
        assert (event.bid is None or event.ask is None) or event.bid < event.ask
        assert event.forward is not None
        seen[event.instrument.underlying] += 1
    assert seen == {tape.split("-")[1].upper(): TAPES[tape]}
