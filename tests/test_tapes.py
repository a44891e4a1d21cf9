"""A stretch of a real tape through the whole path of a replay: what the promises of quality rest on."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.replay import replay
from kvd.latest import Inbox
from kvd.quality import Quality
from kvd.quotes import Event, Quote
from kvd.surface import Smile
from kvd.venues import deribit

FRAMES = 25_000
SETTINGS = msgspec.convert({"calibrator": {"hold_out": True}}, Settings)


def batches(events: Iterable[Event]):
    inbox = Inbox(SETTINGS.calibrator.batch_ms * 1000)
    for event in events:
        inbox.put(event)
        while (batch := inbox.take()) is not None:
            yield batch
    inbox.seal()
    yield from iter(inbox.take, None)


def measured(tape: Path) -> tuple[dict[str, Any], list[Smile]]:
    calibrator, quality = Calibrator(SETTINGS), Quality(SETTINGS.calibrator.hold_out_seed)
    smiles = []
    for batch in batches(itertools.islice(replay(tape, deribit.Session(SETTINGS.deribit)), FRAMES)):
        quality.hear([event for event in batch.events if isinstance(event, Quote)], batch.instant_us)
        for update in calibrator.step(batch):
            quality.see(update)
            smiles += update.smiles
    return quality.report(), smiles


@pytest.mark.data
def test_three_hours_of_bitcoin_are_calibrated_within_their_quotes(market_data: Path):
    report, smiles = measured(market_data / "tapes" / "deribit-btc-2023-04-13.ndjson.gz")
    assert report["inside"] >= 0.965
    assert report["held_ratio"] == 0 and report["diverged"] == 0
    assert report["quotes"] > 10_000 and report["heldout_quotes"] > 2_000
    assert len({smile.expiry_us for smile in smiles}) == 9
    for smile in smiles:
        own = (smile.tau, *smile.forward[:2], *smile.parameters, *smile.sd, *smile.raw, *smile.jump_wings)
        assert all(map(math.isfinite, own))
    variances = np.linalg.eigvalsh(np.array([smile.covariance for smile in smiles]))
    assert variances.min() > 0
