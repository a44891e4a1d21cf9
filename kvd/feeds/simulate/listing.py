"""What is listed: families of options, their expiries and strikes, named as Deribit names them."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from kvd.quotes import Instrument, OptionType

DAY_US = 86_400_000_000
YEAR_US = 365 * DAY_US

EXPIRY_HOUR = 8
DAILIES, WEEKLIES, MONTHLIES, QUARTERLIES = 4, 4, 4, 4
LADDER_LOW_SD, LADDER_HIGH_SD = -4.0, 3.5  # where a ladder of strikes begins and ends, in ATM standard deviations


class Family(NamedTuple):
    """Options that share a surface, and the terms they trade on.

    ``currency`` is what they settle in and are listed under; ``atm_vol`` the level their vols return to. Prices move in
    steps of ``tick`` below ``coarse_from`` and of ``coarse_tick`` from there on; an inverse family quotes them in the
    coin. ``digits`` is the precision of an underlying price, ``amount`` the least one may trade, ``size`` the typical
    amount at the best price. ``wander`` multiplies how fast level, skew and curvature move, ``spread`` what makers ask
    for their services. Without ``synthetics`` the venue has no forward of its own where no future is listed: it says
    the index.
    """

    name: str
    base: str
    currency: str
    index_name: str
    inverse: bool
    spot: float
    atm_vol: float
    tick: float
    coarse_from: float
    coarse_tick: float
    future_tick: float
    digits: int
    amount: float
    size: float
    wander: float = 1.0
    spread: float = 1.0
    synthetics: bool = True


BTC = Family(
    "BTC", "BTC", "BTC", "btc_usd", inverse=True, spot=65_000.0, atm_vol=0.56, tick=0.0001, coarse_from=0.005,
    coarse_tick=0.0005, future_tick=2.5, digits=2, amount=0.1, size=12.0,
)  # fmt: skip
ETH = BTC._replace(
    name="ETH", base="ETH", currency="ETH", index_name="eth_usd", spot=3_200.0, atm_vol=0.66,
    future_tick=0.05, amount=1.0, size=150.0,
)  # fmt: skip
XRP_USDC = Family(
    "XRP_USDC", "XRP", "USDC", "xrp_usdc", inverse=False, spot=2.2, atm_vol=0.8, tick=0.0005, coarse_from=np.inf,
    coarse_tick=0.0005, future_tick=0.0001, digits=4, amount=1.0, size=4_000.0,
)  # fmt: skip
FAMILIES = (BTC, ETH, XRP_USDC)


def expiries(now_us: int, count: int) -> list[int]:
    """The nearest `count` of the dailies, weeklies, monthlies and quarterlies due after `now_us`, ascending.

    There are never fewer than twelve to choose from.
    """
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    first = now.replace(hour=EXPIRY_HOUR, minute=0, second=0, microsecond=0)
    first += timedelta(days=now >= first)
    days = [first + timedelta(days=i) for i in range(540)]
    fridays = [day for day in days if day.weekday() == 4]
    monthlies = [day for day in fridays if (day + timedelta(days=7)).month != day.month]
    quarterlies = [day for day in monthlies if day.month % 3 == 0]
    due = {*days[:DAILIES], *fridays[:WEEKLIES], *monthlies[:MONTHLIES], *quarterlies[:QUARTERLIES]}
    return [int(day.timestamp()) * 1_000_000 for day in sorted(due)[:count]]


def settlement_period(expiry_us: int) -> str:
    """Deribit's word for how often such an expiry comes round: day, week or month (quarterlies are months too)."""
    day = _day(expiry_us)
    if day.weekday() != 4:
        return "day"
    return "week" if (day + timedelta(days=7)).month == day.month else "month"


def contracts(family: Family, expiry_us: int, forward: float, total_sd: float, strikes: int) -> list[Instrument]:
    """A call and a put on each of `strikes` strikes, even in standard deviations and rounded as a person would."""
    z = np.linspace(LADDER_LOW_SD, LADDER_HIGH_SD, strikes)
    exact = forward * np.exp(z * total_sd)
    stem = future_name(family, expiry_us)
    sides: tuple[tuple[OptionType, str], ...] = (("call", "C"), ("put", "P"))
    return [
        Instrument(
            f"{stem}-{_strike_text(strike)}-{letter}", "deribit", family.name, expiry_us, strike, side,
            family.inverse, family.tick,
        )
        for strike in _rounded(exact)
        for side, letter in sides
    ]  # fmt: skip


def future_name(family: Family, expiry_us: int) -> str:
    """The dated future, and the stem of its options' names: ``BTC-5JUN26``, the day without a leading zero."""
    day = _day(expiry_us)
    return f"{family.name}-{day.day}{day:%b%y}".upper()


def _rounded(exact: np.ndarray) -> list[float]:
    """Strikes on steps of 1, 2 or 5 times a power of ten no wider than half their spacing, so that no two meet."""
    spacing = np.diff(exact, prepend=0.9 * exact[0])
    spacing[0] = spacing[:2].min()
    half = 0.5 * np.minimum(spacing, 0.1 * exact)
    decade = 10.0 ** np.floor(np.log10(half))
    lead = half / decade
    step = decade * np.where(lead >= 5, 5, np.where(lead >= 2, 2, 1))
    return [float(strike) for strike in np.round(np.round(exact / step) * step, 8)]


def _strike_text(strike: float) -> str:
    return f"{strike:.8f}".rstrip("0").rstrip(".").replace(".", "d")


def _day(expiry_us: int) -> datetime:
    return datetime.fromtimestamp(expiry_us / 1e6, UTC)
