"""The OpenAPI 3.1 document of the pages, made of the described types (https://spec.openapis.org/oas/v3.1.1.html)."""

from typing import NamedTuple

from msgspec import Struct

from kvd import __version__
from kvd.wire.schema import examples
from kvd.wire.schema.components import Json, reference, schemas, words
from kvd.wire.schema.fields import EXPIRY_NAME
from kvd.wire.schema.pages import PAGES, REFUSALS, InstrumentsPage, Refusal, SurfacePage, TenorsPage, VolPage

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
ABOUT = """\
What the stream says, asked for once; beside it metrics, probes and these documents. Numbers are finite or absent, never
null; vols are decimals (0.55 is 55 %); times are ISO 8601, UTC. New fields may appear: ignore those you do not know.
"""
EVERYWHERE = ("unauthorised", "too_many_messages")
UNDERLYING = "A family of options, such as BTC or BTC_USDC."


class Route(NamedTuple):
    """A page: what it says, what may be asked of it, and which refusals are its own. `answers` are bodies by status, a
    described type or words for a text of the content type `media` (empty: of no importance). A probe asks for no token.
    """

    name: str
    summary: str
    answers: dict[str, type[Struct] | str]
    parameters: tuple[Json, ...] = ()
    refusals: tuple[str, ...] = ()
    media: str = JSON
    probe: bool = False


def _parameter(name: str, description: str, **more: object) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}, **more}


_PATH = _parameter("underlying", UNDERLYING, **{"in": "path", "required": True, "example": "BTC"})
_VENUE = _parameter("venue", "One exchange instead of all, such as deribit.", example="deribit")
_STRIKES: Json = {
    "type": "array",
    "items": {"type": "number", "minimum": 1e-12, "maximum": 1e15},
    "minItems": 1,
    "maxItems": 100,
}
_AT = _parameter(
    "at",
    "An earlier instant, ISO 8601, UTC unless it says otherwise: the newest surface kept at or before it.",
    example="2026-07-02T12:00Z",
)
ROUTES = {
    "/v1/surface/{underlying}": Route(
        "surface",
        "The newest smiles of an underlying, or those of an earlier minute",
        {"200": SurfacePage},
        (_PATH, _VENUE, _AT),
        ("bad_url", "bad_query", "no_surface", "no_history"),
    ),
    "/v1/vol": Route(
        "vol",
        "The vol of a smile at strikes",
        {"200": VolPage},
        (
            _parameter("underlying", UNDERLYING, required=True, example="BTC"),
            _parameter(
                "expiry",
                "As topics name it: its date, or its minute if another expiry came first on that date.",
                required=True,
                schema={"type": "string", "pattern": f"^{EXPIRY_NAME}$"},
                example="2026-12-25",
            ),
            _parameter("strike", "In the quote currency; repeat it.", required=True, schema=_STRIKES, example=[65000]),
            _VENUE,
        ),
        ("bad_url", "bad_query", "no_surface", "no_expiry"),
    ),
    "/v1/tenors/{underlying}": Route(
        "tenors",
        "Constant maturities and the variance index",
        {"200": TenorsPage},
        (_PATH, _VENUE),
        ("bad_url", "no_surface"),
    ),
    "/v1/instruments": Route(
        "instruments",
        "Which options are followed",
        {"200": InstrumentsPage},
        (
            _parameter("underlying", f"{UNDERLYING} Without it, all.", example="BTC"),
            _VENUE,
            _parameter("after", "Go on after this one: what next said in the answer before."),
        ),
        ("bad_url", "bad_query"),
    ),
    "/v1/asyncapi.json": Route("asyncapi", "The AsyncAPI document of the stream", {"200": "An AsyncAPI 3 document."}),
    "/v1/openapi.json": Route("openapi", "This document", {"200": "An OpenAPI 3.1 document."}),
    "/metrics": Route(
        "metrics",
        "What Prometheus scrapes",
        {"200": "Metrics in the text format."},
        media="text/plain; version=0.0.4; charset=utf-8",
    ),
    "/livez": Route("livez", "Whether the process runs", {"200": "It does."}, media=TEXT, probe=True),
    "/readyz": Route(
        "readyz",
        "Whether every feed has data and there are smiles",
        {"200": "It is ready.", "503": "It is not."},
        (_parameter("verbose", "Name what is missing, a line each.", allowEmptyValue=True),),
        media=TEXT,
        probe=True,
    ),
    "/v1/stream": Route(
        "stream",
        "The stream, a websocket, which /v1/asyncapi.json describes",
        {"101": "The stream.", "426": "Not the handshake of a websocket."},
        refusals=("bad_origin", "full", "too_many_clients"),
        media="",
    ),
}


def openapi() -> Json:
    """The document, as a JSON object. It is the same at every call."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kvd pages",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {
                "url": "http://{host}:{port}",
                "description": "Wherever kvd listens: publish.host and publish.port.",
                "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "8765"}},
            }
        ],
        "security": [{}, {"bearer": []}],
        "paths": {path: {"get": _operation(route)} for path, route in ROUTES.items()},
        "components": {
            "schemas": schemas(PAGES),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of KVD_PUBLISH_TOKENS; nobody is asked for one where there are none.",
                }
            },
        },
    }


def _operation(route: Route) -> Json:
    answers = {status: _answer(body, route.media) for status, body in route.answers.items()}
    codes = [*route.refusals, *(() if route.probe else EVERYWHERE)]
    for status in sorted({REFUSALS[code][0] for code in codes}):
        told = [f"{code}: {REFUSALS[code][1]}" for code in codes if REFUSALS[code][0] == status]
        answers[str(status)] = _described("; ".join(told) + ".", JSON, {"schema": reference(Refusal)})
    operation: Json = {"operationId": route.name, "summary": route.summary, "responses": answers}
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    return operation | ({"security": []} if route.probe else {})


def _answer(body: type[Struct] | str, media: str) -> Json:
    if isinstance(body, str) and not media:
        return {"description": body}
    if isinstance(body, str):
        return _described(body, media, {"schema": {"type": "object" if media == JSON else "string"}})
    return _described(words(body), JSON, {"schema": reference(body), "example": examples.PAGES[body.__name__]})


def _described(description: str, media: str, content: Json) -> Json:
    return {"description": description, "content": {media: content}}
