"""The pages that share the stream's port: functions from what is known now to a status, a content type and a body."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from kvd.wire import Encoder

STREAM = "/v1/stream"
PROBES = ("/livez", "/readyz")
ROUTES = f"{STREAM} (a websocket), /v1/surface/{{underlying}}, /metrics, /livez, /readyz"
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Page(NamedTuple):
    """An answer over plain HTTP."""

    status: int
    content_type: str
    body: bytes


class Call(NamedTuple):
    """What matters of an HTTP request; `target` is path and query."""

    method: str
    target: str


class Sources(NamedTuple):
    """Where the pages look: `ready` names what is missing (nothing missing is ready), with a sentence each."""

    encoder: Encoder
    ready: Callable[[], dict[str, str]]
    render_metrics: Callable[[], bytes]


def answer(call: Call, sources: Sources) -> Page | None:
    """What a request gets of whoever may read: a page, a refusal, or None where it asks for the stream."""
    try:
        url = urlsplit(call.target)
        query = parse_qs(url.query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        return refusal(400, "bad_url", f"the address cannot be read; there are {ROUTES}")
    if call.method != "GET":
        return refusal(405, "bad_method", "use GET: nothing here can be changed over HTTP")
    if url.path == STREAM:
        return None
    return _page(url.path, query, sources)


def _page(path: str, query: dict[str, list[str]], sources: Sources) -> Page:
    if path == "/livez":
        return Page(200, TEXT, b"alive\n")
    if path == "/readyz":
        return _readiness(sources.ready(), "verbose" in query)
    if path == "/metrics":
        return Page(200, METRICS, sources.render_metrics())
    if path.startswith("/v1/surface/"):
        venue = query["venue"][0] if "venue" in query else None
        return _surface(unquote(path.removeprefix("/v1/surface/")), venue, sources.encoder)
    return refusal(404, "not_found", f"there is no {path[:128]!r}; there are {ROUTES}")


def refusal(status: int, code: str, message: str) -> Page:
    """An error page, in the shape of the stream's own errors."""
    return Page(status, JSON, orjson.dumps({"type": "error", "code": code, "message": message}))


def _readiness(missing: dict[str, str], verbose: bool) -> Page:
    status, word = (503, "not ready") if missing else (200, "ready")
    lines = [word, *(f"missing {name}: {why}" for name, why in missing.items() if verbose)]
    return Page(status, TEXT, "".join(f"{line}\n" for line in lines).encode())


def _surface(underlying: str, venue: str | None, encoder: Encoder) -> Page:
    every = encoder.surfaces()
    found = {
        family: bodies for family, bodies in every.items() if family[1] == underlying and venue in (None, family[0])
    }
    if not found:
        there = ", ".join(f"{name} of {at}" for at, name in sorted(every)) or "none yet: see /readyz?verbose"
        wanted = underlying[:64] if venue is None else f"{underlying[:64]} of {venue[:64]}"
        return refusal(404, "no_surface", f"there is no surface of {wanted!r}; there are {there}")
    surfaces = [
        {"venue": at, "seq": encoder.seq(f"surface.{at}.{name}"), "smiles": [orjson.Fragment(body) for body in bodies]}
        for (at, name), bodies in found.items()
    ]
    return Page(200, JSON, orjson.dumps({"underlying": underlying, "epoch": encoder.epoch, "surfaces": surfaces}))
