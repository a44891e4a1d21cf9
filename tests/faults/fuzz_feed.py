"""What an exchange may send, and what may stand on a tape."""

import json
import math
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import deribit_wire as wire
import zstandard
from mutation import Mutator
from targets import Case

from kvd.config import Deribit
from kvd.feeds.replay import replay
from kvd.feeds.tape import TapeError
from kvd.quotes import BadFrame, ForwardQuote, Quote
from kvd.venues import Reading, deribit

MESSAGES = Path(os.environ.get("KVD_DATA", "../shared/data")) / "messages"
MOST_CHANNELS = 25_000
REASON = re.compile("[a-z_]{1,40}")
OWN = [
    wire.ticker(),
    wire.ticker("XRP_USDC-29DEC23-0d625-P"),
    wire.ticker("BTC-29DEC23"),
    wire.ticker("BTC-PERPETUAL"),
    wire.index(),
    wire.state("BTC-29DEC23-40000-C", "created"),
    wire.state("BTC-29DEC23-40000-C", "closed"),
    wire.notification("platform_state", {"locked": True, "maintenance": False, "price_index": "btc_usd"}),
    wire.result(2, ["platform_state", "deribit_price_index.btc_usd"]),
    wire.result(3, [wire.row("BTC-29DEC23-40000-C"), wire.row("BTC-29DEC23", "future")]),
    wire.result(1, "ok"),
    wire.error(2, 10041),
    wire.error(2, 10028),
    wire.error(None, -32600),
    wire.encode({"method": "heartbeat", "params": {"type": "test_request"}}),
]
WORDS = (
    "ticker.", "ticker.BTC-29DEC23-40000-C.100ms", "deribit_price_index.btc_usd", "instrument.state.option.BTC",
    "platform_state", "subscription", "heartbeat", "test_request", "BTC-31FEB24-1-C", "BTC-29DEC23-0-C",
    "ETH-1JAN99-999999999d9-P", "A_B-1JAN00", "expired", "open", "option", "future", "index_price", "btc_usd",
    "x_y", "result", "error", "params",
)  # fmt: skip


def deribit_frames(seed: int) -> Mutator:
    """Captured messages of Deribit's where there are any, and the dialect's own."""
    captured = []
    for path in sorted(MESSAGES.glob("deribit*.jsonl")) if MESSAGES.is_dir() else ():
        rows = (json.loads(line)["message"] for line in path.read_text("utf-8").splitlines() if line.strip())
        captured += [json.dumps(row, separators=(",", ":")).encode() for row in rows]
    return Mutator(seed, [*OWN, *(frame for frame in captured if len(frame) < 4_000)], WORDS)


def check(reading: Reading) -> None:
    """What every reading keeps to."""
    for event in reading.events:
        assert isinstance(event, Quote | ForwardQuote), event
        numbers = [getattr(event, field) for field in event.__struct_fields__]
        assert all(math.isfinite(number) for number in numbers if isinstance(number, float)), event
        assert all(side is None or side > 0 for side in (event.bid, event.ask)), event
        assert 0 <= event.exchange_us < 4e16, event
        if isinstance(event, Quote):
            vols = (event.bid_vol, event.ask_vol, event.mark_vol)
            assert all(vol is None or 0 < vol < 10 for vol in vols), event
            assert event.forward is None or event.forward > 0, event
            assert len(event.forward_source) <= 64 and len(event.instrument.name) <= 64, event
    for refusal in reading.refusals:
        assert REASON.fullmatch(refusal.reason), refusal


@asynccontextmanager
async def deribit_session() -> AsyncIterator[Case]:
    """A session that reads what comes and answers it."""
    session = deribit.Session(Deribit())
    session.subscribe()

    async def case(data: bytes) -> None:
        try:
            reading = session.parse(data, 1_700_000_000_000_000)
        except BadFrame as error:
            assert len(str(error)) <= 200
            return
        check(reading)
        for request in session.reply(reading.control):
            assert json.loads(request)["jsonrpc"] == "2.0"
        assert session.channels_wanted <= MOST_CHANNELS
        assert len(session.last_error) <= 300

    yield case


def tapes(seed: int) -> Mutator:
    """Short tapes, one of them compressed."""
    lines = b"".join(b"2023-11-14T22:13:2%d.000123Z %s\n" % (i % 10, frame) for i, frame in enumerate(OWN[:8]))
    packed = zstandard.compress(lines)
    return Mutator(seed, [lines, b"\n" + lines + b"\n\n", lines[:-9], packed], ("2023-02-30T00:00:00Z {}",), "bytes")


@asynccontextmanager
async def tape() -> AsyncIterator[Case]:
    """A tape that is replayed to its end."""
    with TemporaryDirectory(prefix="kvd-fuzz-") as folder:
        paths = {kind: Path(folder, f"tape.ndjson{kind}") for kind in ("", ".zst")}

        async def case(data: bytes) -> None:
            path = paths[".zst" if data.startswith(b"\x28\xb5\x2f") else ""]
            path.write_bytes(data)
            try:
                for event in replay(path, deribit.Session(Deribit())):
                    assert event.venue if isinstance(event, ForwardQuote) else event
            except TapeError as error:
                assert str(path) in str(error)

        yield case
