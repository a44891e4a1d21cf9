"""The pages beside the stream: a surface once, over plain HTTP."""

import http.client
from datetime import UTC, datetime
from ssl import SSLCertVerificationError
from typing import NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Raw, Struct

from kvd.client.address import Address
from kvd.client.errors import ClientError, RequestRefused
from kvd.client.refusals import read_error, turned_away, unreachable, untrusted
from kvd.surface import Surface
from kvd.wire import decode_smile

ANSWERS_WITHIN_S = 10.0


class SurfacePage(NamedTuple):
    """A surface, the body of the page it was read from, and at what instant it was so; empty: it is so now."""

    surface: Surface
    body: bytes
    at: str


class _Family(Struct):
    venue: str
    smiles: list[Raw]
    at: str = ""


class _Page(Struct):
    underlying: str
    surfaces: list[_Family]


_page = msgspec.json.Decoder(_Page)


def surface_page(
    address: Address, underlying: str, venue: str | None = None, at: datetime | None = None
) -> SurfacePage:
    """The surface of `underlying` as it is, or as it was at an instant.

    Raises RequestRefused if there is none or if several venues have one, Refused, Unreachable and ClientError.
    """
    query = {name: text for name, text in (("venue", venue), ("at", at and iso(at))) if text}
    body = _get(address, f"/v1/surface/{quote(underlying, safe='')}?{urlencode(query)}")
    try:
        page = _page.decode(body)
        found = [
            Surface(family.venue, page.underlying, tuple(map(decode_smile, family.smiles))) for family in page.surfaces
        ]
    except msgspec.DecodeError as error:
        raise ClientError(f"a surface that cannot be read ({error}): use the client of the same version") from None
    if len(found) != 1:
        there = ", ".join(surface.venue for surface in found) or "none"
        raise RequestRefused(
            "which_venue", f"venues with a surface of {underlying}: {there}; name one of them as venue"
        )
    return SurfacePage(found[0], body, page.surfaces[0].at)


def iso(instant: datetime) -> str:
    """An instant as kvd writes it. Raises ClientError if it does not say its time zone."""
    if instant.tzinfo is None:
        raise ClientError(f"{instant} may be any time zone's: give it tzinfo, such as datetime.UTC")
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _get(address: Address, target: str) -> bytes:
    place = address.host, address.port
    connection = http.client.HTTPConnection(*place, timeout=ANSWERS_WITHIN_S)
    if address.secure:
        connection = http.client.HTTPSConnection(*place, timeout=ANSWERS_WITHIN_S, context=address.ssl)
    try:
        connection.request("GET", address.prefix + target, headers=address.headers)
        response = connection.getresponse()
        body = response.read()
    except SSLCertVerificationError as error:
        raise untrusted(address, error) from None
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(address, str(error) or type(error).__name__) from None
    finally:
        connection.close()
    if response.status == 200:
        return body
    code, message = read_error(body)
    if code and response.status not in (401, 403):
        raise RequestRefused(code, message)
    raise turned_away(address, response.status, message)
