"""What a page is: a status, a content type and a body; and what pages look at."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import orjson

from kvd.quotes import Instrument
from kvd.sinks.history import History
from kvd.wire import Encoder

TEXT, JSON = "text/plain; charset=utf-8", "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"

Followed = Callable[[str | None, str | None], Iterable[tuple[Instrument, bool]]]
"""Venue and underlying, None for all of them -> the options that are followed, and whether the newest quote counts."""


class Page(NamedTuple):
    """An answer over plain HTTP."""

    status: int
    content_type: str
    body: bytes


class Trouble(NamedTuple):
    """What is amiss, in words, since when (us), and whether kvd is not ready for it."""

    name: str
    words: str
    unready: bool
    since_us: int


def nothing(_venue: str | None, _underlying: str | None) -> tuple[()]:
    """No option is followed."""
    return ()


class Sources(NamedTuple):
    """Where the pages look: `ready` says what is amiss; kvd is ready while nothing of it says otherwise."""

    encoder: Encoder
    ready: Callable[[], Iterable[Trouble]]
    render_metrics: Callable[[], bytes]
    followed: Followed = nothing
    history: History = History(0)


def answer(content: object) -> Page:
    """A page of JSON."""
    return Page(200, JSON, orjson.dumps(content))


def refusal(status: int, code: str, message: str) -> Page:
    """An error page, in the shape of the stream's own errors."""
    return Page(status, JSON, orjson.dumps({"type": "error", "code": code, "message": message}))
