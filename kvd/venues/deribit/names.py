"""What an instrument's name says of itself, so that a tape can be read without a listing."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from kvd.quotes import BadFrame, Instrument, OptionType, Refusal

NAME = "deribit"
EXPIRY_HOUR = 8  # UTC, for every dated contract
TICK_SIZE = {"BTC": 0.0005, "ETH": 0.0005}
"""Price step of a coin-margined family that no listing has described; 0.0001 below 0.005 came later."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FAMILY = r"([A-Z0-9]{1,12}(?:_[A-Z]{1,8})?)"
_DATED = re.compile(_FAMILY + r"-([0-9]{1,2})([A-Z]{3})([0-9]{2})(?:-([0-9]{1,9}(?:d[0-9]{1,9})?)-([CP]))?")
_OTHER = re.compile(_FAMILY + r"(?:-(?:(PERPETUAL)|(FS)-[A-Z0-9_]{1,40}|[A-Z][A-Z0-9]{0,11}-[A-Z0-9_-]{1,40}))?")


class Future(NamedTuple):
    """A dated future of the family `underlying`."""

    name: str
    underlying: str
    expiry_us: int


def read_name(name: str) -> Instrument | Future | Refusal:
    """An option, a dated future, or why an instrument of this kind is left out. Raises BadFrame if it is no name."""
    dated = _DATED.fullmatch(name)
    if dated is None:
        return _left_out(name)
    family, day, month, year, strike, letter = dated.groups()
    expiry_us = _expiry_us(name, day, month, year)
    if strike is None:
        return Future(name, family, expiry_us)
    strike_price = float(strike.replace("d", "."))
    if strike_price <= 0:
        raise BadFrame(f"strike of {name} is not positive")
    option_type: OptionType = "call" if letter == "C" else "put"
    return Instrument(
        name, NAME, family, expiry_us, strike_price, option_type, "_" not in family, TICK_SIZE.get(family)
    )


def settlement(name: str) -> str:
    """What an instrument settles in: ``BTC`` for BTC-PERPETUAL, ``USDC`` for SOL_USDC-29DEC23-100-C."""
    return name.partition("-")[0].rpartition("_")[2]


def index_underlying(index: str) -> str:
    """The family an index prices: ``btc_usd`` -> ``BTC``, ``btc_usdc`` -> ``BTC_USDC``."""
    base, _, quote = index.upper().partition("_")
    return base if quote == "USD" else f"{base}_{quote}"


def _left_out(name: str) -> Refusal:
    other = _OTHER.fullmatch(name)
    if other is None:
        raise BadFrame(f"not an instrument name: {name[:60]!r}")
    _, perpetual, future_spread = other.groups()
    if perpetual:
        return Refusal(NAME, "perpetual")
    if future_spread:
        return Refusal(NAME, "future_spread")
    return Refusal(NAME, "combo" if "-" in name else "spot")


def _expiry_us(name: str, day: str, month: str, year: str) -> int:
    try:
        expiry = datetime(2000 + int(year), _MONTHS.index(month) + 1, int(day), EXPIRY_HOUR, tzinfo=UTC)
    except ValueError:
        raise BadFrame(f"no such date: {name[:60]!r}") from None
    return int(expiry.timestamp()) * 1_000_000
