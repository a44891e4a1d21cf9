"""What a subscriber may ask, read from its frames; every refusal says the mend."""

from typing import Literal

import msgspec
from msgspec import Struct

from kvd.sinks.topics import complaint

_EXAMPLE = '{"op":"subscribe","topics":["surface.deribit.BTC"]}'


class RequestError(Exception):
    """A request that cannot be served; `code` is a short stable slug, the message says the mend."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Request(Struct, frozen=True):
    """``subscribe`` and ``unsubscribe`` name topics, ``ping`` does not. Unknown fields are ignored."""

    op: Literal["subscribe", "unsubscribe", "ping"]
    topics: list[str] = []


_request = msgspec.json.Decoder(Request)


def read(frame: str | bytes) -> Request:
    """The request in a frame. Raises RequestError, and nothing else, whatever the frame holds."""
    if isinstance(frame, bytes):
        raise RequestError("bad_frame", f"send text frames, not binary ones, such as {_EXAMPLE}")
    try:
        request = _request.decode(frame)
    except msgspec.ValidationError as error:
        raise RequestError("bad_request", f"{error}; send such as {_EXAMPLE}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RequestError("bad_json", f"not JSON ({error}); send such as {_EXAMPLE}") from None
    if request.op != "ping" and not request.topics:
        raise RequestError("bad_request", f'"{request.op}" needs "topics", a list of names; send such as {_EXAMPLE}')
    return request


def refuse_bad_topics(topics: list[str]) -> None:
    """Raise RequestError at the first pattern that can match nothing."""
    for pattern in topics:
        why = complaint(pattern)
        if why is not None:
            raise RequestError("bad_topic", why)


class Bucket:
    """A token bucket: `per_s` messages a second, a second's worth at once."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._tokens = max(1.0, per_s)
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one token if there is one."""
        self._tokens = min(max(1.0, self._per_s), self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
