"""What a subscriber may ask, read from its frames; every refusal says the mend."""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from kvd.quotes import LockOf
from kvd.sinks.topics import complaint
from kvd.wire import Coding, covers

_EXAMPLE = '{"op":"subscribe","topics":["surface.deribit.BTC"]}'
_LOCK_EXAMPLE = (
    '{"op":"lock","venue":"deribit","underlying":"BTC","expiry":"2026-12-25","of":"atm_vol","value":0.55,"sd":0.002,'
    '"for_s":3600}'
)
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
LONGEST = 200
_UNLOCK_EXAMPLE = '{"op":"unlock","id":"..."}'
A = TypeVar("A", "Request", "LockRequest", "UnlockRequest")
Seq = Annotated[int, Meta(ge=0)]


class RequestError(Exception):
    """A request that cannot be served; `code` is a short stable slug, the message says the mend."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Request(Struct, frozen=True):
    """``subscribe`` and ``unsubscribe`` name topics, ``ping`` does not. Unknown fields are ignored.

    `from_seq` says how far in `epoch` a subscriber who comes back has heard each topic.
    """

    op: Literal["subscribe", "unsubscribe", "ping", "lock", "unlock"]
    topics: list[str] = []
    epoch: str | None = None
    from_seq: dict[str, Seq] | None = None


class LockRequest(Struct, frozen=True):
    """``lock``: hold one parameter of a smile, or its vol at `strike`, to `value` with standard deviation `sd`.

    `expiry` is as in topics. The end is either `until`, ISO 8601 in UTC, or `for_s` seconds from now.
    """

    venue: str
    underlying: str
    expiry: str
    of: LockOf
    value: float
    sd: float
    strike: float | None = None
    until: str | None = None
    for_s: float | None = None


class UnlockRequest(Struct, frozen=True):
    """``unlock``: release the lock `id`."""

    id: str


def read(frame: str | bytes, coding: Coding = "json") -> Request | LockRequest | UnlockRequest:
    """The request in a frame. Raises RequestError, and nothing else, whatever the frame holds."""
    if coding == "json" and isinstance(frame, bytes):
        raise RequestError("bad_frame", f"send text frames, not binary ones, such as {_EXAMPLE}")
    if coding == "msgpack" and isinstance(frame, str):
        raise RequestError("bad_frame", f"send binary frames, not text, of MessagePack that says such as {_EXAMPLE}")
    try:
        request = _decode(frame, Request)
    except msgspec.ValidationError as error:
        raise RequestError("bad_request", f"{_why(error)}; send such as {_EXAMPLE}") from None
    except UNREADABLE as error:
        code, name = ("bad_json", "JSON") if coding == "json" else ("bad_msgpack", "MessagePack")
        raise RequestError(code, f"not {name} ({_why(error)}); send such as {_EXAMPLE}") from None
    if request.op == "lock":
        return _act(frame, LockRequest, _LOCK_EXAMPLE)
    if request.op == "unlock":
        return _act(frame, UnlockRequest, _UNLOCK_EXAMPLE)
    if request.op != "ping" and not request.topics:
        raise RequestError("bad_request", f'"{request.op}" needs "topics", a list of names; send such as {_EXAMPLE}')
    return request


def _decode(frame: str | bytes, kind: type[A]) -> A:
    """A text frame is JSON, a binary one MessagePack."""
    if isinstance(frame, str):
        return msgspec.json.decode(frame, type=kind)
    return msgspec.msgpack.decode(frame, type=kind)


def _act(frame: str | bytes, kind: type[A], example: str) -> A:
    try:
        return _decode(frame, kind)
    except UNREADABLE as error:  # what `Request` leaves out it has not looked into
        raise RequestError("bad_lock", f"{_why(error)}; send such as {example}") from None


def _why(error: Exception) -> str:
    """What a library says of a frame, and no more of the frame than that takes."""
    return str(error)[:LONGEST]


def refuse_bad_topics(topics: list[str]) -> None:
    """Raise RequestError at the first pattern that can match nothing."""
    for pattern in topics:
        why = complaint(pattern)
        if why is not None:
            raise RequestError("bad_topic", why)


def refuse_bad_resume(request: Request) -> None:
    """Raise RequestError if what is to be taken up again is not among what is subscribed to."""
    if request.from_seq is None:
        return
    if request.epoch is None:
        raise RequestError("bad_request", '"from_seq" needs the "epoch" in which its numbers were heard')
    patterns = set(request.topics)
    for topic in request.from_seq:
        if "*" in topic or complaint(topic) is not None:
            raise RequestError(
                "bad_request", f'"from_seq" has {topic[:128]!r}: name topics as they were heard, without *'
            )
        if not covers(patterns, topic):
            mend = 'add it to "topics", or leave it out'
            raise RequestError("bad_request", f'"from_seq" has {topic[:128]!r}, which "topics" does not match: {mend}')


class Bucket:
    """A token bucket: `per_s` messages a second, and `at_once` of them without a pause, by default a second's worth."""

    def __init__(self, per_s: float, now_s: float, at_once: float | None = None) -> None:
        self._per_s = per_s
        self._most = self._tokens = max(1.0, per_s if at_once is None else at_once)
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one token if there is one."""
        self._tokens = min(self._most, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
