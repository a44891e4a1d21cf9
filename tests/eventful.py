"""An hour in which everything happens that a calibrator keeps something of: chains with long pauses, a fifth withheld,
interruptions, a future that jumps alone, locks and limits, an expiry that settles and leaves.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from synthetic_tape import Day, write_day

from kvd.app.tape import batches
from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.replay import replay
from kvd.latest import Batch
from kvd.quotes import ForwardQuote, Gap, Lock, Quote, Unlock
from kvd.venues import deribit
from kvd.wire import Encoder

SETTINGS = msgspec.convert(
    {"calibrator": {"hold_out": True}, "limits": {"atm_vol_per_min": 0.002, "skew_amount": 0.08}}, Settings
)
DAY = Day(start=datetime(2026, 7, 2, 7, 10, tzinfo=UTC), chains=3, every_s=1500, instruments=240, expiries=6)


def hour(folder: Path) -> list[Batch]:
    """Its batches; the nearest expiry leaves at 08:00, after two thirds of them."""
    write_day(folder / "hour.ndjson", DAY)
    quoted = list(batches(replay(folder / "hour.ndjson", deribit.Session(SETTINGS.deribit)), 50_000, lambda _: None))
    near, middle, far = sorted(
        {event.instrument.expiry_us for batch in quoted for event in batch.events if isinstance(event, Quote)}
    )[:3]
    begun_us = quoted[0].instant_us - 50_000
    acts = {
        4: [_lock("near", near, begun_us, sd=0.001), _lock("said", far, begun_us, of="vol", strike=64_000.0)],
        6: [_lock("skewed", middle, begun_us, of="skew", value=0.4, sd=1e-4)],
        9: [ForwardQuote("BTC-F", "deribit", "BTC", far, 80_000.0, 80_001.0, at_us := quoted[9].instant_us, at_us)],
        12: [_lock("wild", far, begun_us, of="vol", strike=50_000.0, value=5.0, sd=0.001)],
        14: [Unlock(id_, "deribit", "BTC", quoted[14].instant_us) for id_ in ("said", "wild")],
    }
    whole = [Batch(begun_us, (_lock("early", middle, begun_us),))]
    for i, batch in enumerate(quoted):
        if i in (5, 8, 18):
            whole.append(Batch(whole[-1].instant_us, (Gap("deribit", whole[-1].instant_us, "interrupted"),)))
        whole.append(batch._replace(events=(*batch.events, *acts.get(i, ()))))
    return whole


def told(calibrator: Calibrator, encoder: Encoder, passing: Sequence[Batch]) -> list[bytes]:
    """Every message that comes of batches."""
    return [
        message.payload for batch in passing for update in calibrator.step(batch) for message in encoder.encode(update)
    ]


def _lock(id_: str, expiry_us: int, at_us: int, **how) -> Lock:
    what = {"of": "atm_vol", "strike": None, "value": 0.7, "sd": 0.01} | how
    return Lock(
        id=id_,
        venue="deribit",
        underlying="BTC",
        expiry_us=expiry_us,
        author="ann",
        until_us=at_us + 10**11,
        receive_us=at_us,
        **what,
    )
