"""The pages under /v1: what the stream says, asked for once.

A page reads what was last sent, so it agrees with the stream; and its work is bounded, for the stream waits meanwhile.
"""

from functools import cache
from urllib.parse import unquote

import orjson

from kvd.sinks.answers import JSON, Page, Sources
from kvd.sinks.rest.asked import Query, Refused
from kvd.sinks.rest.instruments import instruments
from kvd.sinks.rest.surfaces import surface
from kvd.sinks.rest.tenors import tenors
from kvd.sinks.rest.vols import vol
from kvd.wire.schema import asyncapi, openapi

SURFACE, TENORS = "/v1/surface/", "/v1/tenors/"
VOL, INSTRUMENTS = "/v1/vol", "/v1/instruments"
ASYNCAPI, OPENAPI = "/v1/asyncapi.json", "/v1/openapi.json"
ROUTES = f"{SURFACE}{{underlying}}, {VOL}, {TENORS}{{underlying}}, {INSTRUMENTS}, {ASYNCAPI}, {OPENAPI}"
MOST_FIELDS = 128  # in the query of an address: a hundred strikes, and what else there is to say

__all__ = ["MOST_FIELDS", "ROUTES", "page"]


def page(path: str, query: Query, sources: Sources) -> Page | None:
    """The page at `path`; None if there is none under /v1."""
    try:
        if path.startswith(SURFACE):
            return surface(unquote(path.removeprefix(SURFACE)), query, sources)
        if path.startswith(TENORS):
            return tenors(unquote(path.removeprefix(TENORS)), query, sources.encoder)
        if path == VOL:
            return vol(query, sources.encoder)
        if path == INSTRUMENTS:
            return instruments(query, sources.followed)
    except Refused as refused:
        return refused.page
    return _document(path) if path in (ASYNCAPI, OPENAPI) else None


@cache
def _document(path: str) -> Page:
    return Page(200, JSON, orjson.dumps(asyncapi() if path == ASYNCAPI else openapi()))
