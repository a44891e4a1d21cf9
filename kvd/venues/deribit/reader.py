"""From a frame to a reading: what Deribit said, as kvd's own words."""

import msgspec
from msgspec import Raw

from kvd.quotes import BadFrame, Event, Instrument, Refusal
from kvd.venues import Reading
from kvd.venues.deribit import frames
from kvd.venues.deribit.frames import Ack, Done, Failure, Heartbeat, Listing
from kvd.venues.deribit.names import NAME, Future, read_name, settlement

KNOWN_NAMES = 65_536  # more than Deribit lists in half a year
CHANNELS_LEFT_OUT = (
    "trades", "quote", "book", "chart", "perpetual", "markprice", "deribit_price_ranking", "deribit_volatility_index",
    "estimated_expiration_price", "incremental_ticker", "announcements",
)  # fmt: skip
MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


class Reader:
    """Reads frames; remembers instruments by name, and expiry instants and price steps from listings that came by.

    A channel that speaks is discarded from `unheard`.
    """

    def __init__(self, unheard: set[str] | None = None) -> None:
        self._unheard = set() if unheard is None else unheard
        self._names: dict[str, Instrument | Future | Refusal] = {}
        self._tick_sizes: dict[str, float] = {}

    def parse(self, frame: bytes | str, receive_us: int) -> Reading:
        """Read one frame that arrived at `receive_us`. Raises BadFrame on what Deribit's protocol does not allow."""
        try:
            message = frames.decode_frame(frame)
            if message.method != "subscription":
                return self._answer(message)
            params = message.params or frames.Params()
            self._unheard.discard(params.channel)
            if params.channel.startswith("ticker."):
                return self._ticker(params.data, receive_us)
            return self._notification(params, receive_us)
        except MALFORMED as error:
            raise BadFrame(str(error)[:200]) from None

    def _ticker(self, data: Raw, receive_us: int) -> Reading:
        ticker = frames.decode_ticker(data)
        known = self._names.get(ticker.instrument_name) or self._learn(ticker.instrument_name)
        if isinstance(known, Refusal):
            return Reading(refusals=(known,))
        if ticker.estimated_delivery_price == "expired" or ticker.timestamp * 1000 >= known.expiry_us:
            return _refused("expired")
        if ticker.state != "open":
            return _refused("not_open")
        if isinstance(known, Instrument):
            return Reading((frames.quote(ticker, known, receive_us),))
        future = frames.future_quote(ticker, known, receive_us)
        return Reading((future,)) if future else _refused("one_sided_future")

    def _notification(self, params: frames.Params, receive_us: int) -> Reading:
        channel = params.channel
        if not channel:
            raise BadFrame("a notification without a channel")
        if channel.startswith("deribit_price_index."):
            event: Event = frames.index_quote(frames.decode_index(params.data), receive_us)
            return Reading((event,))
        if channel.startswith("instrument.state."):
            state = frames.decode_state(params.data)
            known = self._names.get(state.instrument_name) or self._learn(state.instrument_name)
            return Reading(refusals=(known,)) if isinstance(known, Refusal) else Reading(control=state)
        if channel == "platform_state":
            return Reading(control=frames.decode_platform(params.data))
        kind = channel.partition(".")[0]
        return _refused(f"channel_{kind}" if kind in CHANNELS_LEFT_OUT else "unknown_channel")

    def _answer(self, message: frames.Frame) -> Reading:
        if message.method == "heartbeat" and message.params is not None:
            return Reading(control=Heartbeat(message.params.type == "test_request"))
        if message.method:
            return _refused("unknown_method")
        if message.error is not None:
            failure = Failure(message.id, message.error.code, message.error.message[:200])
            return Reading((), (Refusal(NAME, "venue_error"),), failure)
        if not bytes(message.result):
            raise BadFrame("neither a notification, a result nor an error")
        try:
            return Reading(control=Ack(message.id, frozenset(frames.decode_channels(message.result))))
        except MALFORMED:
            return self._listing(message)

    def _listing(self, message: frames.Frame) -> Reading:
        """Learn from a get_instruments reply; any other result is Done. Told by shape: a tape holds no requests."""
        rows, refusals = _rows(message.result)
        if not rows:
            return Reading((), (), Done(message.id))
        names, indexes = [], set()
        for row in rows:
            try:
                known = self._learn(row.instrument_name, row)
            except BadFrame:
                known = Refusal(NAME, "unknown_name")
            if isinstance(known, Refusal):
                refusals.append(known)
            elif row.is_active:
                names.append(row.instrument_name)
                if row.price_index and isinstance(known, Instrument):
                    indexes.add(row.price_index)
        listing = Listing(message.id, tuple(names), frozenset(indexes))
        return Reading((), tuple(refusals), listing, f"{rows[0].kind} {settlement(rows[0].instrument_name)}")

    def _learn(self, name: str, row: frames.Listed | None = None) -> Instrument | Future | Refusal:
        known = read_name(name)
        if isinstance(known, Instrument):
            if row is not None:
                self._tick_sizes[known.underlying] = row.tick_size
            tick_size = self._tick_sizes.get(known.underlying, known.tick_size)
            known = msgspec.structs.replace(known, tick_size=tick_size, expiry_us=_expiry_us(known, row))
        elif isinstance(known, Future):
            known = known._replace(expiry_us=_expiry_us(known, row))
        if len(self._names) >= KNOWN_NAMES:
            del self._names[next(iter(self._names))]
        self._names[name] = known
        return known


def _rows(result: Raw) -> tuple[list[frames.Listed], list[Refusal]]:
    rows, refusals = [], []
    try:
        raw_rows = frames.decode_rows(result)
    except MALFORMED:
        return [], []
    for raw in raw_rows:
        try:
            rows.append(frames.decode_listed(raw))
        except MALFORMED:
            refusals.append(Refusal(NAME, "bad_listing_row"))
    return rows, refusals


def _expiry_us(known: Instrument | Future, row: frames.Listed | None) -> int:
    return known.expiry_us if row is None else row.expiration_timestamp * 1000


def _refused(reason: str) -> Reading:
    return Reading(refusals=(Refusal(NAME, reason),))
