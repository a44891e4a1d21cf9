"""A tape of the synthetic market, written without a socket: what a venue would have sent, as `kvd record` keeps it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from kvd.feeds.simulate import Market, dialect

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def write(path: Path, seconds: int = 200, per_second: int = 40, seed: int = 1) -> int:
    """`seconds` of a market of six expiries at `path`; returns the number of frames."""
    market = Market(seed, int(START.timestamp()) * 1_000_000, instruments=240, expiries_listed=6)
    frames = 0
    with path.open("wb") as tape:
        for second in range(seconds):
            market.step(1_000_000)
            drawn = market.look(market.draw(len(market.instruments) if second == 0 else per_second))
            for name, data in dialect.option_tickers(market, drawn):
                stamp = (START + timedelta(seconds=second + 1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                tape.write(stamp.encode() + b" " + dialect.notification(f"ticker.{name}.100ms", data) + b"\n")
                frames += 1
    return frames
