"""Deribit's messages: their shapes on the wire, what they ask of us, and how a ticker becomes a quote."""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from kvd.quotes import BadFrame, ForwardQuote, Instrument, Quote
from kvd.venues.deribit.names import NAME, Future, index_underlying

LEAST_VOL_PERCENT, VOL_CAP_PERCENT = 1e-3, 999.0

Milliseconds = Annotated[int, Meta(ge=0, le=32_503_708_800_000)]  # Deribit's own "never" is the year 3000
Id = int | str | None
Name = Annotated[str, Meta(max_length=64)]  # what is kept, or said again, must not be as long as a stranger likes


class Params(Struct):
    """The payload of a notification; `data` is left raw until its channel says what it is."""

    channel: str = ""
    data: Raw = Raw(b"")
    type: str = ""


class Fault(Struct):
    """The body of an error."""

    code: int
    message: str = ""


class Frame(Struct):
    """Any message: a notification, a heartbeat, a result or an error."""

    method: str = ""
    params: Params | None = None
    id: Id = None
    result: Raw = Raw(b"")
    error: Fault | None = None


class Ticker(Struct):
    """What kvd reads of a ticker of an option or a future. Vols are percent."""

    instrument_name: str
    timestamp: Milliseconds
    state: str = "open"
    best_bid_price: float | None = None
    best_ask_price: float | None = None
    best_bid_amount: float | None = None
    best_ask_amount: float | None = None
    bid_iv: float | None = None
    ask_iv: float | None = None
    mark_iv: float | None = None
    underlying_price: float | None = None
    underlying_index: Name = ""
    estimated_delivery_price: float | str | None = None


class IndexPrice(Struct):
    """The data of deribit_price_index."""

    index_name: Annotated[str, Meta(pattern="^[a-z0-9]{1,12}_[a-z]{1,8}$")]
    price: Annotated[float, Meta(gt=0)]
    timestamp: Milliseconds


class Listed(Struct):
    """One row of get_instruments. Old listings name no price index."""

    instrument_name: str
    kind: str
    expiration_timestamp: Milliseconds
    tick_size: Annotated[float, Meta(gt=0)]
    is_active: bool = True
    price_index: Name | None = None


class InstrumentState(Struct):
    """A listing, an expiry, or a step between them."""

    instrument_name: str
    state: str


class PlatformState(Struct):
    """The venue locks a currency, or goes into maintenance: a message speaks of either, and is silent on the other."""

    locked: bool | None = None
    maintenance: bool | None = None
    price_index: str = ""


class Heartbeat(NamedTuple):
    """The venue is there; `test_request` wants an answer."""

    test_request: bool


class Ack(NamedTuple):
    """Subscribed to, or unsubscribed from, these channels."""

    id: Id
    channels: frozenset[str]


class Listing(NamedTuple):
    """The instruments of a get_instruments reply that kvd follows, and the indexes they settle on."""

    id: Id
    names: tuple[str, ...]
    indexes: frozenset[str]


class Done(NamedTuple):
    """Any other result."""

    id: Id


class Failure(NamedTuple):
    """An error; `id` is None where the venue did not say which request it means."""

    id: Id
    code: int
    message: str


def quote(ticker: Ticker, instrument: Instrument, receive_us: int) -> Quote:
    """The quote in an option's ticker. Raises BadFrame on a negative price or amount."""
    bid, bid_size = _side(ticker.best_bid_price, ticker.best_bid_amount)
    ask, ask_size = _side(ticker.best_ask_price, ticker.best_ask_amount)
    forward = ticker.underlying_price
    return Quote(
        instrument,
        bid,
        ask,
        bid_size,
        ask_size,
        None if bid is None else _vol(ticker.bid_iv),
        None if ask is None else _vol(ticker.ask_iv),
        _vol(ticker.mark_iv),
        forward if forward and forward > 0 else None,
        ticker.underlying_index,
        ticker.timestamp * 1000,
        receive_us,
    )


def future_quote(ticker: Ticker, future: Future, receive_us: int) -> ForwardQuote | None:
    """The quote in a future's ticker, or None unless it has both sides."""
    bid, _ = _side(ticker.best_bid_price, ticker.best_bid_amount)
    ask, _ = _side(ticker.best_ask_price, ticker.best_ask_amount)
    if bid is None or ask is None:
        return None
    return ForwardQuote(
        future.name, NAME, future.underlying, future.expiry_us, bid, ask, ticker.timestamp * 1000, receive_us
    )


def index_quote(index: IndexPrice, receive_us: int) -> ForwardQuote:
    """The spot index as a forward quote without an expiry."""
    underlying = index_underlying(index.index_name)
    return ForwardQuote(
        index.index_name, NAME, underlying, None, index.price, index.price, index.timestamp * 1000, receive_us
    )


def _side(price: float | None, amount: float | None) -> tuple[float | None, float | None]:
    if not price or amount == 0:
        return None, None
    if price < 0 or (amount is not None and amount < 0):
        raise BadFrame("negative price or amount")
    return price, amount


def _vol(percent: float | None) -> float | None:
    return percent / 100 if percent and LEAST_VOL_PERCENT <= percent < VOL_CAP_PERCENT else None


decode_frame = msgspec.json.Decoder(Frame).decode
decode_ticker = msgspec.json.Decoder(Ticker).decode
decode_index = msgspec.json.Decoder(IndexPrice).decode
decode_state = msgspec.json.Decoder(InstrumentState).decode
decode_platform = msgspec.json.Decoder(PlatformState).decode
decode_rows = msgspec.json.Decoder(list[Raw]).decode
decode_listed = msgspec.json.Decoder(Listed).decode
decode_channels = msgspec.json.Decoder(list[str]).decode
