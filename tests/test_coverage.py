"""The published bands against a market whose truth is known: nine true vols in ten lie inside the 90 % band."""

from collections import Counter

import numpy as np

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.simulate import Market, dialect
from kvd.latest import Inbox
from kvd.venues.deribit import Session

EDGES_D = [1, 7, 30, 90]
SEEDS = range(1, 7)
MINUTES, WARM_UP_MINUTES = 15, 5
TICKERS_PER_S = 100
SAMPLE_S = 15
STRIKES = 15
NORMAL_90 = 1.6449


def followed(seed):
    """The calibrator's smiles beside the market's truth, every fifteen seconds after a warm-up."""
    settings = Settings()
    market, session = Market(seed, 1_781_000_000_000_000), Session(settings.deribit)
    calibrator, inbox, smiles = Calibrator(settings), Inbox(settings.calibrator.batch_ms * 1000), {}
    for second in range(MINUTES * 60):
        market.step(1_000_000)
        for name, data in dialect.option_tickers(market, market.look(market.draw(TICKERS_PER_S))):
            frame = dialect.notification(f"ticker.{name}.100ms", data)
            for event in session.parse(frame, market.now_us).events:
                inbox.put(event)
        inbox.seal()
        for update in calibrator.step(inbox.take()):
            smiles |= {smile.expiry_us: smile for smile in update.smiles}
        if second >= WARM_UP_MINUTES * 60 and second % SAMPLE_S == 0:
            yield market.truth(), smiles


def in_band(truth, smiles):
    """For each expiry its tenor bucket, and how many of the true vols across its quoted range lie in the band."""
    for i, expiry_us in enumerate(truth.expiry_us.tolist()):
        smile = smiles[expiry_us]
        strike = smile.forward.value * np.exp(np.linspace(smile.quoted_low, smile.quoted_high, STRIKES))
        sds = (truth.vol(np.full(STRIKES, i), strike) - smile.vol(strike)) / smile.sd_of_vol(strike)
        yield int(np.searchsorted(EDGES_D, smile.tau * 365)), np.count_nonzero(np.abs(sds) < NORMAL_90)


def test_nine_true_vols_in_ten_lie_inside_the_band_of_every_tenor():
    inside, seen = Counter(), Counter()
    for seed in SEEDS:
        for truth, smiles in followed(seed):
            for bucket, count in in_band(truth, smiles):
                inside[bucket] += count
                seen[bucket] += STRIKES
    assert set(seen) == {0, 1, 2, 3, 4}
    coverage = {bucket: inside[bucket] / seen[bucket] for bucket in seen}
    assert all(0.85 <= share <= 0.95 for share in coverage.values()), coverage
