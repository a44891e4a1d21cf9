"""Deribit's own greeks, from its mark vol on its underlying price, against those of a flat smile there.

Five decimals are printed; up to the last but one they are the same, beyond what the rounding of what went in may do:
half a hundredth of a vol point, half a cent, and the venue's clock, which lags by up to a minute. Its theta is what the
next day will take rather than a rate: no more than the option is worth, and in the last day what is left of it.
"""

import gzip
import itertools
import json

import numpy as np
import pytest
from smiles import smile

from kvd.core.daycount import YEAR_US
from kvd.quotes import BadFrame, Instrument
from kvd.surface import RESIDUAL_KNOTS, Forward, RawSvi
from kvd.venues.deribit.names import read_name

NAMES = ("delta", "gamma", "vega", "theta")
LAST_BUT_ONE = 1e-4
CLOCK_US = 60_000_000


def flat(forward, vol, tau):
    """A smile with one vol."""
    return smile(
        tau=tau,
        forward=Forward(forward, 0.0, "future"),
        parameters=smile().parameters._replace(atm_vol=vol),
        raw=RawSvi(vol**2 * tau, 0.0, 0.0, 0.0, 1.0),
        residual=(0.0,) * len(RESIDUAL_KNOTS),
    )


def greeks(of, forward, vol, left_us):
    """As Deribit would print them, and the value."""
    got = flat(forward, vol, left_us / YEAR_US).black_greeks(of.strike, of.option_type)
    days, value = left_us / YEAR_US * 365, float(got.price)
    theta = -min(-float(got.theta) * min(days, 1.0), value)
    return np.array([float(got.delta), float(got.gamma), float(got.vega), theta]), value


def wrong(ticker, price_digits):
    """The names of the greeks that differ by more than rounding; None for what is no live option."""
    try:
        of = read_name(ticker["instrument_name"])
    except BadFrame:
        return None
    if not isinstance(of, Instrument) or ticker["mark_iv"] <= 0 or "EXPIRY" in ticker["underlying_index"]:
        return None
    forward, vol, left_us = (
        ticker["underlying_price"],
        ticker["mark_iv"] / 100,
        of.expiry_us - ticker["timestamp"] * 1000,
    )
    if left_us <= 0:
        return None
    mine, value = greeks(of, forward, vol, left_us)
    others = [(forward + 0.005, vol, left_us), (forward, vol + 5e-5, left_us), (forward, vol, left_us + CLOCK_US)]
    slack = LAST_BUT_ONE + sum(np.abs(greeks(of, *other)[0] - mine) for other in others)
    if -mine[3] > 0.99 * value:  # it is the mark price, which is rounded, too
        slack[3] += 0.6 * 10**-price_digits * (forward if of.inverse else 1.0)
    theirs = np.array([ticker["greeks"][name] for name in NAMES])
    return [name for name, far in zip(NAMES, np.abs(mine - theirs) > slack, strict=True) if far]


def tickers(message):
    """Every ticker within a message."""
    if isinstance(message, dict):
        if "greeks" in message and "mark_iv" in message:
            yield message
        message = list(message.values())
    if isinstance(message, list):
        for part in message:
            yield from tickers(part)


def captured(folder):
    with (folder / "messages" / "deribit.jsonl").open() as lines:
        for record in map(json.loads, lines):
            if record["realness"].startswith("captured"):
                yield from tickers(record["message"])
    with gzip.open(folder / "captures" / "DERIBIT.ws.1.0.gz", "rt") as lines:
        for line in lines:
            head, _, message = line.partition(": ")
            if message.startswith("{") and "<-" not in head and head != "configuration":
                yield from tickers(json.loads(message))


@pytest.mark.data
def test_greeks_of_captured_messages(market_data):
    judged = [found for ticker in captured(market_data) if (found := wrong(ticker, 6)) is not None]
    assert len(judged) > 80
    assert not any(judged)


@pytest.mark.data
@pytest.mark.parametrize("tape", ["deribit-btc-2023-04-13", "deribit-eth-2023-04-12"])
def test_greeks_on_a_tape(market_data, tape):
    with gzip.open(market_data / "tapes" / f"{tape}.ndjson.gz", "rt") as lines:
        frames = itertools.islice(lines, 0, 40_000, 41)
        rows = [json.loads(line.partition(" ")[2])["params"]["data"] for line in frames]
    judged = [found for row in rows if (found := wrong(row, 4)) is not None]
    assert len(judged) > 700
    assert not any(judged)
