"""The desk's numbers on surfaces that were published from a captured tape."""

import gzip
import itertools

import numpy as np
import pytest
from scipy.stats import norm
from smiles import DAY

from kvd.app.tape import replay
from kvd.config import Settings
from kvd.surface import Surface, delta_points

FRAMES = 12_000


@pytest.fixture(scope="module", params=["deribit-btc-2023-04-13", "deribit-eth-2023-04-12"])
def published(request, market_data, tmp_path_factory):
    cut = tmp_path_factory.mktemp("cut") / "tape.ndjson.gz"
    with gzip.open(market_data / "tapes" / f"{request.param}.ndjson.gz") as tape, gzip.open(cut, "wb", 1) as out:
        out.writelines(itertools.islice(tape, FRAMES))
    smiles = replay(cut, Settings()).smiles
    assert len(smiles) >= 8
    return Surface(smiles[0].venue, smiles[0].underlying, smiles)


@pytest.mark.data
def test_points_invert_to_their_deltas(published):
    for smile, found in zip(published.smiles, delta_points(published.smiles), strict=True):
        for point in found.points:
            v = float(smile.vol(point.strike)) * smile.tau**0.5
            d1 = np.log(smile.forward.value / point.strike) / v + v / 2
            wanted = {"10p": 0.9, "25p": 0.75, "atm": norm.cdf(v / 2), "25c": 0.25, "10c": 0.1}[point.delta]
            assert norm.cdf(d1) == pytest.approx(wanted, abs=1e-9)
        assert found.points[2].vol_sd == pytest.approx(smile.sd.atm_vol, rel=1e-4)


@pytest.mark.data
def test_a_tenors_skew_is_as_uncertain_as_the_filters(published):
    """One by the spline through what moves the vols at the knots, the other by the state's own covariance."""
    days = [(smile.expiry_us - published.instant_us) / DAY for smile in published.smiles]
    for smile, tenor in zip(published.smiles, published.tenors(days), strict=True):
        assert tenor.skew == pytest.approx(smile.parameters.skew, rel=5e-3)  # the smile is older than the surface
        assert tenor.skew_sd == pytest.approx(smile.sd.skew, rel=1e-2)
        assert tenor.atm_vol_sd == pytest.approx(smile.sd.atm_vol, rel=1e-4)


@pytest.mark.data
def test_there_is_no_calendar_arbitrage_at_any_instant(published):
    """Where the certificates of the smiles on either side reach."""
    last = (published.smiles[-1].expiry_us - published.instant_us) / DAY
    k = np.linspace(-0.25, 0.25, 41)
    previous = np.zeros_like(k)
    for day in np.geomspace(0.3, last - 1e-3, 400):
        at_us = published.instant_us + round(day * DAY)
        w = published.vol(published.forward(at_us).value * np.exp(k), at_us) ** 2 * day / 365
        near = np.abs(k) <= 5.25 * w[20] ** 0.5
        assert (w - previous)[near].min() > -1e-9
        previous = w
    variances = [tenor.atm_vol**2 * tenor.days for tenor in published.tenors(np.geomspace(0.3, last, 200).tolist())]
    assert np.diff(variances).min() > 0
    assert [tenor.days for tenor in published.tenors()] == [7, 30, 60, 90, 180]
