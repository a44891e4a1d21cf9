"""An underlying's numbers at constant maturities."""

from functools import lru_cache

from kvd.sinks.answers import Page, answer
from kvd.sinks.rest.asked import Query, families, perhaps
from kvd.surface import Surface, Tenor
from kvd.wire import Encoder, decode_smile, iso


def tenors(underlying: str, query: Query, encoder: Encoder) -> Page:
    """Constant maturities and the variance index, by venue."""
    newest = encoder.surfaces()
    found = families(encoder, underlying, perhaps(query, "venue"))
    surfaces = [_numbers(*family, tuple(newest[family])) for family in found]
    return answer({"underlying": underlying, "epoch": encoder.epoch, "surfaces": surfaces})


@lru_cache(maxsize=16)
def _numbers(venue: str, underlying: str, bodies: tuple[bytes, ...]) -> dict[str, object]:
    """What one surface comes to; it takes two milliseconds, once for whoever asks before the surface moves."""
    surface = Surface(venue, underlying, tuple(map(decode_smile, bodies)))
    index = surface.variance_index()
    return {
        "venue": venue,
        "publish_time": iso(surface.publish_us),
        "tenors": [_told(tenor) for tenor in surface.tenors()],
        **({"variance_index": index._asdict()} if index else {}),
    }


def _told(tenor: Tenor) -> dict[str, object]:
    fields = {name: value for name, value in tenor._asdict().items() if value is not None}
    return {"days": fields.pop("days"), "expiry": iso(fields.pop("expiry_us")), **fields}
