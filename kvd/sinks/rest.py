"""The pages under /v1: what the stream says, asked for once."""

from urllib.parse import unquote

import orjson

from kvd.sinks.answers import JSON, Page, Sources, refusal
from kvd.wire import Encoder

Query = dict[str, list[str]]  # as `urllib.parse.parse_qs` gives it: names and the values of each, at least one
SURFACE = "/v1/surface/"
ROUTES = f"{SURFACE}{{underlying}}"


def page(path: str, query: Query, sources: Sources) -> Page | None:
    """The page at `path`; None if there is none under /v1."""
    if path.startswith(SURFACE):
        return _surface(unquote(path.removeprefix(SURFACE)), query, sources.encoder)
    return None


def _surface(underlying: str, query: Query, encoder: Encoder) -> Page:
    every = encoder.surfaces()
    venue = query["venue"][0] if "venue" in query else None
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
