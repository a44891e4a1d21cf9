"""What a page is: a status, a content type and a body; and what pages look at."""

from collections.abc import Callable
from typing import NamedTuple

import orjson

from kvd.wire import Encoder

TEXT, JSON = "text/plain; charset=utf-8", "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Page(NamedTuple):
    """An answer over plain HTTP."""

    status: int
    content_type: str
    body: bytes


class Sources(NamedTuple):
    """Where the pages look: `ready` names what is missing (nothing missing is ready), with a sentence each."""

    encoder: Encoder
    ready: Callable[[], dict[str, str]]
    render_metrics: Callable[[], bytes]


def refusal(status: int, code: str, message: str) -> Page:
    """An error page, in the shape of the stream's own errors."""
    return Page(status, JSON, orjson.dumps({"type": "error", "code": code, "message": message}))
