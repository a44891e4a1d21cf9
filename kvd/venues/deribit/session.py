"""One connection to Deribit: what to ask, how to read, what to answer."""

import msgspec

from kvd.config import Deribit
from kvd.venues import Quota, Reading
from kvd.venues.deribit.frames import Ack, Done, Failure, Heartbeat, Id, InstrumentState, Listing, PlatformState
from kvd.venues.deribit.names import NAME
from kvd.venues.deribit.reader import Reader
from kvd.venues.deribit.silence import Silence
from kvd.venues.deribit.subscriptions import Subscriptions

RETRIES = 5
BACK_OFF_S = 3.0  # a pool of credits is full again after this
STUCK_HEARTBEATS = 3
SUBSCRIBES, LISTINGS = 8, 4  # at once; Deribit's pools hold 10 and 5, less what the network may bunch up
LINEAR = ("USDC", "USDT", "EURR")
TOO_MANY_REQUESTS, INVALID_REQUEST = 10028, -32600
RETRYABLE = (11051, 10041, 13028, 10066, 13888)
OPENED = ("created", "started", "open")
GONE = ("closed", "terminated", "deactivated", "expired", "delivered", "archivized")
TEST = b'{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}'


class Session:
    """The state of one connection; see `kvd.venues.VenueSession`.

    `parse` needs nothing of the other methods and no listing. One that does come by supplies expiry instants and price
    steps from then on, so that a tape which holds it reads as the live stream did.
    """

    def __init__(self, settings: Deribit, heartbeat_s: float = 10.0) -> None:
        self.venue = NAME
        self.retry_after_s: float | None = None
        self.last_error = ""
        self.leaving = False
        self.quotas = {
            "subscribe": Quota(settings.subscribes_per_s, SUBSCRIBES),
            "get_instruments": Quota(1.0, LISTINGS),
        }
        self._settings = settings
        self._heartbeat_s = heartbeat_s
        self._subscriptions = Subscriptions(settings.chunk_channels)
        self._silence = Silence()
        self._reader = Reader(self._silence.unheard)
        self._receive_us = 0
        self._last_id = 0
        self._out_id = 0  # of the subscribe or unsubscribe request that is out
        self._asked: dict[int, bytes] = {}  # other requests that are out
        self._retries = 0
        self._unanswered = 0  # heartbeats since something was answered

    @property
    def canary(self) -> str | None:
        """Name of the index whose silence means that the feed is dead, or None if Deribit refuses to send it."""
        index = _index_of(self._settings.currencies[0])
        return None if _index_channel(index) in self._subscriptions.dropped else index

    @property
    def channels_wanted(self) -> int:
        """How many channels the session means to be subscribed to."""
        return len(self._subscriptions.wanted)

    @property
    def channels_acked(self) -> int:
        """How many of them Deribit has confirmed."""
        return len(self._subscriptions.acked)

    @property
    def channels_silent(self) -> int:
        """How many of those have never spoken, although Deribit sends the present state on subscribing."""
        return len(self._silence)

    @property
    def subscribed(self) -> bool:
        """Whether every request so far has been answered and none is to follow."""
        return self._subscriptions.settled and not self._asked

    def quota_of(self, request: bytes) -> str | None:
        """Subscribing and listing have quotas of their own; heartbeats must not wait behind them."""
        if b'subscribe"' in request[:80]:
            return "subscribe"
        return "get_instruments" if b'/get_instruments"' in request[:80] else None

    def subscribe(self) -> list[bytes]:
        """Heartbeat, canary and states first, then the listings, from which the tickers follow (see `reply`)."""
        currencies = self._settings.currencies
        self._subscriptions.want(_index_channel(_index_of(currency)) for currency in currencies)
        self._subscriptions.want(["platform_state"])
        kinds = [(kind, currency) for kind in ("option", "future") for currency in currencies]
        self._subscriptions.want(f"instrument.state.{kind}.{currency}" for kind, currency in kinds)
        return [
            self._ask("set_heartbeat", {"interval": max(10, round(self._heartbeat_s))}),
            *self._next(),
            *(self._ask("get_instruments", {"currency": c, "kind": k, "expired": False}) for k, c in kinds),
        ]

    def parse(self, frame: bytes | str, receive_us: int) -> Reading:
        """Read one frame that arrived at `receive_us`. Raises BadFrame on what Deribit's protocol does not allow."""
        self._receive_us = receive_us
        return self._reader.parse(frame, receive_us)

    def reply(self, control: object) -> list[bytes]:
        """What to send in answer to a message that `parse` returned as control."""
        match control:
            case Heartbeat(test_request):
                self._check_answers()
                return [TEST] if test_request else []
            case Ack(id, channels) if id == self._out_id:
                self._progress(id)
                self._silence.confirmed(self._subscriptions.confirm(channels), self._receive_us)
            case Listing(id, names, indexes):
                self._progress(id)
                self._subscriptions.want(map(_index_channel, sorted(indexes)))
                self._subscriptions.want(map(_ticker_channel, names))
            case Ack(id) | Done(id):
                self._progress(id)
            case Failure():
                return self._failed(control) + self._next()
            case InstrumentState(name, state):
                if state in OPENED:
                    self._subscriptions.want([_ticker_channel(name)])
                elif state in GONE:
                    self._leave(_ticker_channel(name))
            case PlatformState():
                self._heed(control)
        return self._next()

    def nudge(self, now_us: int) -> list[bytes]:
        """Ask again for channels that were confirmed and never spoke, until they are given up."""
        given_up = len(self._silence.given_up)
        again = self._silence.overdue(now_us)
        if len(self._silence.given_up) > given_up:
            some = ", ".join(sorted(self._silence.given_up)[:3])
            self.last_error = f"{len(self._silence.given_up)} channels never spoke, such as {some}"
        self._subscriptions.renew(again)
        return self._next() if again else []

    def _leave(self, channel: str) -> None:
        self._subscriptions.leave(channel)
        self._silence.forget(channel)

    def _heed(self, state: PlatformState) -> None:
        """Maintenance ends connections, of which Deribit says so beforehand; a lock ends trading alone."""
        if state.locked or state.maintenance:
            what = "in maintenance" if state.maintenance else "locked"
            self.last_error = f"platform {what} {state.price_index[:20]}".rstrip()
        if state.maintenance is not None:
            self.leaving = state.maintenance

    def _failed(self, failure: Failure) -> list[bytes]:
        self.last_error = f"error {failure.code} {failure.message}"
        if failure.code == TOO_MANY_REQUESTS:
            self.retry_after_s = BACK_OFF_S
        elif failure.code in RETRYABLE:
            return self._retry(failure.id)
        elif failure.id == self._out_id or (failure.id is None and failure.code == INVALID_REQUEST):
            self._subscriptions.refuse(too_large=failure.code == INVALID_REQUEST)
        elif isinstance(failure.id, int):
            self._asked.pop(failure.id, None)
        return []

    def _retry(self, id: Id) -> list[bytes]:
        self._retries += 1
        if self._retries > RETRIES:
            self.retry_after_s = BACK_OFF_S
        elif isinstance(id, int) and id in self._asked:
            return [self._asked[id]]
        elif id == self._out_id or id is None:
            self._subscriptions.repeat()
        return []

    def _progress(self, answered: Id) -> None:
        if answered == self._out_id or (isinstance(answered, int) and self._asked.pop(answered, b"")):
            self._retries = self._unanswered = 0

    def _check_answers(self) -> None:
        """Heartbeats are the only clock here: a request that outlives a few of them will not be answered any more."""
        waiting = self._subscriptions.out is not None or bool(self._asked)
        self._unanswered = self._unanswered + 1 if waiting else 0
        if self._unanswered >= STUCK_HEARTBEATS:
            self.last_error = "a request was never answered"
            self.retry_after_s = 0.0

    def _next(self) -> list[bytes]:
        request = self._subscriptions.next()
        if request is None:
            return []
        if request.method == "subscribe":
            self._silence.asked(request.channels)
        self._out_id = self._last_id + 1
        return [self._request(request.method, {"channels": request.channels})]

    def _ask(self, method: str, params: dict[str, object]) -> bytes:
        request = self._request(method, params)
        self._asked[self._last_id] = request
        return request

    def _request(self, method: str, params: dict[str, object]) -> bytes:
        self._last_id += 1
        return msgspec.json.encode(
            {"jsonrpc": "2.0", "id": self._last_id, "method": f"public/{method}", "params": params}
        )


def _index_of(currency: str) -> str:
    return f"btc_{currency.lower()}" if currency in LINEAR else f"{currency.lower()}_usd"


def _index_channel(index: str) -> str:
    return f"deribit_price_index.{index}"


def _ticker_channel(name: str) -> str:
    return f"ticker.{name}.100ms"
