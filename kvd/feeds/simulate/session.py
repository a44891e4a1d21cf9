"""One client's side of the exchange's JSON-RPC, without any socket: text in, frames out, time as an argument.

What Deribit does and a client must live with: acks list channels in an order of their own and leave unknown ones out;
a subscribe of too many channels is refused without an ``id``; spent credits cost the session; heartbeats must be
answered.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

VERSION = "1.2.26"
TEST_REQUEST = orjson.dumps({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}})
HEARTBEAT = orjson.dumps({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "heartbeat"}})


class Limits(NamedTuple):
    """What a client may do. Credits are those of Deribit: a pool, a refill a second, and a price for each request.

    ``listings`` is the pool of ``get_instruments``, refilled by `listings_per_s`.
    """

    chunk_channels: int = 500
    subscribe_credits: float = 3_000.0
    subscribe_pool: float = 30_000.0
    request_credits: float = 500.0
    request_pool: float = 50_000.0
    refill_per_s: float = 10_000.0
    listings: float = 5.0
    listings_per_s: float = 1.0
    least_heartbeat_s: float = 10.0


DERIBIT_LIMITS = Limits()


class Reply(NamedTuple):
    """What is to be sent, which channels came and went, and whether the session ends after it."""

    frames: tuple[bytes, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    ends: bool = False


class _Refused(Exception):
    """A request answered with an error; `ends` when it costs the session, `anonymous` when the answer has no id."""

    def __init__(self, code: int, message: str, *, data: Any = None, ends: bool = False, anonymous: bool = False):
        super().__init__(message)
        self.code, self.message, self.data, self.ends, self.anonymous = code, message, data, ends, anonymous


class _Credits:
    """A pool that refills steadily."""

    def __init__(self, pool: float, refill_per_s: float) -> None:
        self.pool, self.refill_per_s, self.left, self.at_s = pool, refill_per_s, pool, 0.0

    def spend(self, cost: float, now_s: float) -> None:
        self.left = min(self.pool, self.left + self.refill_per_s * max(now_s - self.at_s, 0.0))
        self.at_s = now_s
        if self.left < cost:
            raise _Refused(10028, "too_many_requests", ends=True)
        self.left -= cost


class Session:
    """One client: its subscriptions, its credits, its heartbeat.

    `known` says whether a channel exists; `instruments` answers ``get_instruments`` for a currency, a kind (or None)
    and whether expired.
    """

    def __init__(
        self,
        limits: Limits,
        known: Callable[[str], bool],
        instruments: Callable[[str, str | None, bool], list[dict[str, Any]]],
    ) -> None:
        self.channels: set[str] = set()
        self._limits, self._known, self._instruments = limits, known, instruments
        self._subscribes = _Credits(limits.subscribe_pool, limits.refill_per_s)
        self._requests = _Credits(limits.request_pool, limits.refill_per_s)
        self._listings = _Credits(limits.listings, limits.listings_per_s)
        self._heartbeat_s: float | None = None
        self._beat_due_s = 0.0
        self._unanswered = False

    def receive(self, text: str | bytes, now_us: int, now_s: float) -> Reply:
        """Answer one frame. `now_us` is the exchange's time, `now_s` any steady clock."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return Reply((_answer(None, now_us, error={"code": -32700, "message": "Parse error"}),))
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return Reply((_answer(None, now_us, error={"code": -32600, "message": "Invalid Request"}),))
        before = frozenset(self.channels)
        params = request.get("params")
        try:
            result = self._result(request["method"], params if isinstance(params, dict) else {}, now_us, now_s)
        except _Refused as refused:
            error = {"code": refused.code, "message": refused.message}
            error |= {"data": refused.data} if refused.data else {}
            identity = None if refused.anonymous else request.get("id")
            return Reply((_answer(identity, now_us, error=error),), ends=refused.ends)
        added, removed = sorted(self.channels - before), sorted(before - self.channels)
        return Reply((_answer(request.get("id"), now_us, result=result),), tuple(added), tuple(removed))

    def beat(self, now_s: float) -> Reply:
        """The heartbeat due by `now_s`, if any; the session ends when the one before was never answered."""
        if self._heartbeat_s is None or now_s < self._beat_due_s:
            return Reply()
        if self._unanswered:
            self._heartbeat_s = None
            return Reply(ends=True)
        self._unanswered = True
        self._beat_due_s = now_s + self._heartbeat_s
        return Reply((HEARTBEAT, TEST_REQUEST))

    def _result(self, method: str, params: dict[str, Any], now_us: int, now_s: float) -> Any:
        if method == "public/subscribe":
            return self._subscribe(_channels(params), now_s)
        self._requests.spend(self._limits.request_credits, now_s)
        match method:
            case "public/unsubscribe":
                return self._unsubscribe(_channels(params))
            case "public/get_instruments":
                self._listings.spend(1.0, now_s)
                return self._instruments(
                    str(params.get("currency")), params.get("kind"), params.get("expired") in {True, "true"}
                )
            case "public/set_heartbeat":
                return self._set_heartbeat(params.get("interval"), now_s)
            case "public/disable_heartbeat":
                self._heartbeat_s = None
                return "ok"
            case "public/test" | "public/hello":
                self._unanswered = False
                return {"version": VERSION}
            case "public/get_time":
                return now_us // 1000
        raise _Refused(-32601, "Method not found")

    def _subscribe(self, channels: Sequence[str], now_s: float) -> list[str]:
        if len(channels) > self._limits.chunk_channels:
            raise _Refused(-32600, "Invalid Request", anonymous=True)
        self._subscribes.spend(self._limits.subscribe_credits, now_s)
        if any(channel.endswith(".raw") for channel in channels):
            raise _Refused(13778, "raw_subscriptions_not_available_for_unauthorized")
        known = sorted({channel for channel in channels if self._known(channel)}, reverse=True)
        self.channels.update(known)
        return known

    def _unsubscribe(self, channels: Sequence[str]) -> list[str]:
        gone = sorted(self.channels.intersection(channels), reverse=True)
        self.channels.difference_update(gone)
        return gone

    def _set_heartbeat(self, interval: Any, now_s: float) -> str:
        if not isinstance(interval, int | float) or interval < self._limits.least_heartbeat_s:
            reason = {"reason": f"must be at least {self._limits.least_heartbeat_s:g}", "param": "interval"}
            raise _Refused(-32602, "Invalid params", data=reason)
        self._heartbeat_s = float(interval)
        self._beat_due_s = now_s + self._heartbeat_s
        self._unanswered = False
        return "ok"


def _channels(params: dict[str, Any]) -> list[str]:
    channels = params.get("channels")
    if not isinstance(channels, list) or not all(isinstance(channel, str) for channel in channels):
        raise _Refused(-32602, "Invalid params", data={"reason": "must be an array of strings", "param": "channels"})
    return channels


def _answer(identity: Any, now_us: int, **content: Any) -> bytes:
    """A reply with its result or error, and the id of its request when that is known."""
    head = {"jsonrpc": "2.0"} | ({} if identity is None else {"id": identity})
    return orjson.dumps(head | content | {"usIn": now_us, "usOut": now_us, "usDiff": 0, "testnet": False})
