"""The pages that share the stream's port: functions from what is known now to a status, a content type and a body."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from kvd.sinks import rest
from kvd.sinks.answers import METRICS, TEXT, Page, Sources, Trouble, refusal
from kvd.wire import iso

STREAM = "/v1/stream"
PROBES = ("/livez", "/readyz")
ROUTES = f"{STREAM} (a websocket), {rest.ROUTES}, /metrics, /livez, /readyz"


class Call(NamedTuple):
    """What matters of an HTTP request; `target` is path and query."""

    method: str
    target: str


def answer(call: Call, sources: Sources) -> Page | None:
    """What a request gets of whoever may read: a page, a refusal, or None where it asks for the stream."""
    try:
        url = urlsplit(call.target)
        query = parse_qs(url.query, keep_blank_values=True, max_num_fields=rest.MOST_FIELDS)
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
    found = rest.page(path, query, sources)
    return found or refusal(404, "not_found", f"there is no {path[:128]!r}; there are {ROUTES}")


def _readiness(troubles: Iterable[Trouble], verbose: bool) -> Page:
    troubles = tuple(troubles)
    status, word = (503, "not ready") if any(trouble.unready for trouble in troubles) else (200, "ready")
    lines = [word, *(_said(trouble) for trouble in troubles if verbose)]
    return Page(status, TEXT, "".join(f"{line}\n" for line in lines).encode())


def _said(trouble: Trouble) -> str:
    kind = "missing" if trouble.unready else "degraded"
    return f"{kind} {trouble.name}: {trouble.words}, since {iso(trouble.since_us)}"
