"""Tapes of the synthetic market, written without a socket: what a venue would have sent, as `kvd record` keeps it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from kvd.feeds.simulate import Market, dialect
from kvd.feeds.simulate.listing import BTC, Family
from kvd.feeds.simulate.market import Tickers

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
BURST, BURST_US = 20, 4_000_000  # how a recorder goes through a chain: so many requests, then a pause


class Day(NamedTuple):
    """A kind of day: whole chains, each asked for option by option in about two minutes, and silence between."""

    family: Family = BTC
    instruments: int = 600
    expiries: int = 12
    start: datetime = START
    chains: int = 4
    every_s: int = 21_600
    seed: int = 1


def write(path: Path, seconds: int = 200, per_second: int = 40, seed: int = 1, every_s: int = 1) -> int:
    """`seconds` of a market of six expiries at `path`, looked at every so many; returns the number of frames."""
    market = Market(seed, int(START.timestamp()) * 1_000_000, instruments=240, expiries_listed=6)
    frames = 0
    with path.open("wb") as tape:
        for second in range(0, seconds, every_s):
            market.step(every_s * 1_000_000)
            drawn = market.look(market.draw(len(market.instruments) if second == 0 else every_s * per_second))
            frames += _write(tape, market, drawn)
    return frames


def write_day(path: Path, day: Day) -> int:
    """A day of its kind at `path`; returns the number of frames."""
    start_us = int(day.start.timestamp()) * 1_000_000
    market = Market(day.seed, start_us, day.family, day.instruments, day.expiries)
    order, frames = np.random.default_rng(day.seed), 0
    with path.open("wb") as tape:
        for chain in range(day.chains):
            while (left_us := start_us + chain * day.every_s * 1_000_000 - market.now_us) > 0:
                market.step(min(left_us, 60_000_000))
            names = order.permutation(sorted(market.positions))
            for first in range(0, len(names), BURST):
                market.step(BURST_US)
                asked = [market.positions[name] for name in names[first : first + BURST] if name in market.positions]
                frames += _write(tape, market, market.poll(asked))
    return frames


def _write(tape: BinaryIO, market: Market, tickers: Tickers) -> int:
    stamp = datetime.fromtimestamp(market.now_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    for name, data in dialect.option_tickers(market, tickers):
        tape.write(stamp + b" " + dialect.notification(f"ticker.{name}.100ms", data) + b"\n")
    return len(tickers.rows)
