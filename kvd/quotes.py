"""The vocabulary: what a venue says, and what a trader does, as immutable records.

Times are integer microseconds since the Unix epoch, UTC (``_us``). Vols are decimals (0.55 is 55 %).
Prices stand in the instrument's own quoting unit: the coin for an inverse contract, the quote currency
for a linear one. What a venue does not say is ``None``: a price, size or vol of zero is *no quote*.
"""

import hashlib
from typing import Literal

from msgspec import Struct

OptionType = Literal["call", "put"]
LockOf = Literal["atm_vol", "skew", "curvature", "put_wing", "call_wing", "vol"]


class Instrument(Struct, frozen=True):
    """One listed option.

    ``underlying`` names the family that shares a surface: ``BTC`` for coin-margined options and ``BTC_USDC``
    for linear ones are two underlyings. ``inverse`` says that prices are quoted in the coin.
    ``tick_size`` is the smallest price step near zero, or None where the venue has not said.
    """

    name: str
    venue: str
    underlying: str
    expiry_us: int
    strike: float
    option_type: OptionType
    inverse: bool
    tick_size: float | None = None


class Quote(Struct, frozen=True, gc=False):
    """The best bid and ask of one option at one instant.

    ``forward`` is the venue's own underlying price for that expiry and ``forward_source`` its name for it
    (a future, ``SYN.`` plus an expiry, ``index_price``). The vols and ``mark_vol`` are the venue's opinion, kept
    for comparison only: they never enter the estimate.
    """

    instrument: Instrument
    bid: float | None
    ask: float | None
    bid_size: float | None
    ask_size: float | None
    bid_vol: float | None
    ask_vol: float | None
    mark_vol: float | None
    forward: float | None
    forward_source: str
    exchange_us: int
    receive_us: int


class ForwardQuote(Struct, frozen=True, gc=False):
    """What a venue says of an underlying's price: a dated future (``expiry_us``) or the spot index (None).

    ``bid`` and ``ask`` are equal for an index. Both are in the quote currency.
    """

    name: str
    venue: str
    underlying: str
    expiry_us: int | None
    bid: float
    ask: float
    exchange_us: int
    receive_us: int


class Gap(Struct, frozen=True):
    """The stream of a venue was interrupted. ``since_us`` is the arrival of the last frame before the interruption.

    A Gap resets nothing: it tells the calibrator to trust what it holds less. After a restart ``until_us`` is when it
    ended; one that is still open has none.
    """

    venue: str
    since_us: int
    reason: str
    until_us: int | None = None


class Lock(Struct, frozen=True):
    """A trader's word on the smile of one expiry: one of its parameters, or the vol at ``strike`` (``of`` is ``vol``).

    It counts as an observation of ``value`` with standard deviation ``sd`` until `Unlock` releases it, at ``until_us``
    at the latest. ``author`` is the name of the token that sent it.
    """

    id: str
    venue: str
    underlying: str
    expiry_us: int
    of: LockOf
    strike: float | None
    value: float
    sd: float
    author: str
    until_us: int
    receive_us: int


class Unlock(Struct, frozen=True):
    """The lock `id` is released: by hand, or because its time has come."""

    id: str
    venue: str
    underlying: str
    receive_us: int


class Refusal(Struct, frozen=True):
    """A frame, or a part of one, that was read and deliberately not used; ``reason`` is a short stable slug."""

    venue: str
    reason: str


class BadFrame(Exception):
    """A frame that is not what its venue's protocol allows. The message says what was wrong, never the whole frame."""


Event = Quote | ForwardQuote | Gap | Lock | Unlock

HELD_OUT_PARTS = 5


def held_out(seed: str, name: str) -> bool:
    """Whether instrument `name` is one of the fifth withheld to judge by: sha256(seed + name) mod 5 = 0."""
    return int(hashlib.sha256((seed + name).encode()).hexdigest(), 16) % HELD_OUT_PARTS == 0
