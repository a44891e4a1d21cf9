"""The newest surface of an underlying, or the one of an earlier minute."""

import orjson

from kvd.sinks.answers import Page, Sources, answer
from kvd.sinks.history import MINUTE_US, Family, History
from kvd.sinks.rest.asked import Query, Refused, families, instant, perhaps
from kvd.wire import Encoder, iso


def surface(underlying: str, query: Query, sources: Sources) -> Page:
    """Whole smiles as in the topic ``surface``, by venue."""
    at_us = instant(query, "at")
    found = families(sources.encoder, underlying, perhaps(query, "venue"))
    if at_us is None:
        surfaces = [_newest(family, sources.encoder) for family in found]
    else:
        surfaces = _earlier(found, at_us, sources.history)
    return answer({"underlying": underlying, "epoch": sources.encoder.epoch, "surfaces": surfaces})


def _newest(family: Family, encoder: Encoder) -> dict[str, object]:
    bodies = [orjson.Fragment(body) for body in encoder.surfaces()[family]]
    return {"venue": family[0], "seq": encoder.seq(f"surface.{family[0]}.{family[1]}"), "smiles": bodies}


def _earlier(found: list[Family], at_us: int, history: History) -> list[dict[str, object]]:
    """What was kept at or before `at_us`. Raises Refused, saying what there is, where nothing was."""
    kept = [(family, one) for family in found if (one := history.at(family, at_us)) is not None]
    if not kept:
        spans = [span for family in found if (span := history.span(family)) is not None]
        there = f"from {iso(min(spans)[0])} on" if spans else "of no minute: see publish.history_h"
        raise Refused(404, "no_history", f"nothing is kept of that instant or before; surfaces are kept {there}")
    return [
        {
            "venue": venue,
            "seq": one.seq,
            "at": iso(one.instant_us),
            "resolution_s": MINUTE_US // 1_000_000,
            "smiles": orjson.Fragment(one.smiles),
        }
        for (venue, _), one in kept
    ]
