"""Draws docs/smile.svg: a fitted smile against its quotes and against the truth that the synthetic market knows.

    make picture      or  python docs/draw_smile.py OUTPUT.svg

A minute of Deribit frames goes through the adapter, the inbox and the calibrator, as it does in the daemon; only the
sockets are left out, so that the same frames arrive at the same instants each time.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import orjson
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.simulate import Market, catalogue, dialect
from kvd.latest import Inbox
from kvd.quotes import Quote
from kvd.surface import Smile
from kvd.venues import deribit

SEED, EXPIRY = 11, 5
START_US = int(datetime(2026, 9, 21, 14, 12, tzinfo=UTC).timestamp()) * 1_000_000
STEP_US, STEPS, TICKERS_PER_STEP = 100_000, 600, 70
NINETY = 1.645  # standard deviations either side that hold 90 % of a normal
CLOSE = 1.6  # vol points shown either side of the truth
INK, BLUE, ORANGE, GREY = "#1f2430", "#2563eb", "#c2410c", "#8a93a3"
LOOK = {
    "svg.hashsalt": "kvd",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#e7e9ee",
    "axes.axisbelow": True,
}


class Fitted(NamedTuple):
    """A smile, the newest quotes of its expiry, and the market that knows the truth, at one instant."""

    smile: Smile
    quotes: list[Quote]
    market: Market


def frames(market: Market) -> Iterator[bytes]:
    """What the exchange would send: the listing, then futures and the tickers of makers who quote anew."""
    yield orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": catalogue.listing(market, None, expired=False)})
    for _ in range(STEPS):
        market.step(STEP_US)
        for future in market.futures():
            yield dialect.notification(
                dialect.ticker_channel(future.name, "100ms"), dialect.future_ticker(market, future)
            )
        for name, data in dialect.option_tickers(market, market.look(market.draw(TICKERS_PER_STEP))):
            yield dialect.notification(dialect.ticker_channel(name, "100ms"), data)


def fit() -> Fitted:
    """Calibrate a minute of the market."""
    settings, market = Settings(), Market(SEED, START_US)
    session, calibrator, inbox = (
        deribit.Session(settings.deribit),
        Calibrator(settings),
        Inbox(settings.calibrator.batch_ms * 1000),
    )
    smiles: dict[int, Smile] = {}
    quotes: dict[str, Quote] = {}
    for frame in frames(market):
        for event in session.parse(frame, market.now_us).events:
            inbox.put(event)
            if isinstance(event, Quote):
                quotes[event.instrument.name] = event
        while (batch := inbox.take()) is not None:
            for update in calibrator.step(batch):
                smiles |= {smile.expiry_us: smile for smile in update.smiles}
    smile = smiles[sorted(smiles)[EXPIRY]]
    return Fitted(smile, [q for q in quotes.values() if q.instrument.expiry_us == smile.expiry_us], market)


def out_of_the_money(fitted: Fitted) -> np.ndarray:
    """Strike, bid vol and ask vol of every two-sided quote out of the money, (N, 3); vols in percent."""
    forward = fitted.smile.forward.value
    rows = [
        (q.instrument.strike, 100 * q.bid_vol, 100 * q.ask_vol)
        for q in fitted.quotes
        if q.bid_vol and q.ask_vol and (q.instrument.strike >= forward) == (q.instrument.option_type == "call")
    ]
    return np.array(sorted(rows))


def draw(fitted: Fitted) -> Figure:
    """The smile above; below, the same less the truth."""
    smile, quotes = fitted.smile, out_of_the_money(fitted)
    truth = fitted.market.truth()
    at = np.searchsorted(truth.expiry_us, smile.expiry_us)
    strike = np.linspace(quotes[0, 0], quotes[-1, 0], 400)
    true, true_at_quotes = (100 * truth.vol(np.full(len(x), at), x) for x in (strike, quotes[:, 0]))
    model, half = 100 * smile.vol(strike), 100 * NINETY * smile.sd_of_vol(strike)
    figure = Figure(figsize=(8.2, 5.4), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.1])
    _draw_quotes(above, quotes)
    _draw_smile(above, strike / 1000, model, half, true)
    _draw_quotes(below, quotes - np.outer(true_at_quotes, [0, 1, 1]))
    _draw_smile(below, strike / 1000, model - true, half, 0 * true)
    above.set_ylabel("implied vol, %")
    above.legend(frameon=False, loc="upper center")
    below.set_ylabel("less the truth,\nvol points")
    below.set_xlabel("strike, thousand USD")
    below.set_ylim(-CLOSE, CLOSE)
    due = datetime.fromtimestamp(smile.expiry_us / 1e6, UTC)
    p, sd = smile.parameters, smile.sd
    above.set_title(
        f"{smile.underlying} options of {due:%-d %B %Y}: ATM vol {100 * p.atm_vol:.2f} ± {100 * sd.atm_vol:.2f} %, "
        f"K value {p.skew:+.4f} ± {sd.skew:.4f}".replace("-", "−"),
        loc="left",
        fontsize=10.5,
    )
    return figure


def _draw_quotes(axes: Axes, quotes: np.ndarray) -> None:
    strike, bid, ask = quotes.T
    axes.errorbar(
        strike / 1000, 0.5 * (bid + ask), 0.5 * (ask - bid), fmt="none", ecolor=GREY, elinewidth=1.1, capsize=2.2,
        label="bid to ask",
    )  # fmt: skip


def _draw_smile(axes: Axes, strike: np.ndarray, model: np.ndarray, half: np.ndarray, true: np.ndarray) -> None:
    axes.fill_between(strike, model - half, model + half, color=BLUE, alpha=0.22, lw=0, label="kvd's 90 % band")
    axes.plot(strike, model, color=BLUE, lw=1.8, label="kvd's fitted smile")
    axes.plot(strike, true, color=ORANGE, lw=1.4, ls=(0, (4, 3)), label="the true smile")


def main() -> None:
    """Write the picture to the path that is given, or beside this file."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("smile.svg")
    with mpl.rc_context(LOOK):
        draw(fit()).savefig(path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
