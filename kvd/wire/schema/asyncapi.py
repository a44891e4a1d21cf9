"""The AsyncAPI 3 document of the stream, made of the described types (https://www.asyncapi.com/docs/reference)."""

import re

from msgspec import Struct

from kvd import __version__
from kvd.wire.schema import examples
from kvd.wire.schema.components import Json, reference, schemas, words
from kvd.wire.schema.messages import ANSWERS, MESSAGES, Error
from kvd.wire.schema.requests import REQUESTS

STREAM = "/v1/stream"
ABOUT = """\
Volatility smiles, calibrated from an exchange's option quotes, as they change. A client opens a websocket, subscribes
to topics, gets a snapshot of each, and then whole smiles, numbered. Topics: surface.{venue}.{underlying},
smile.{venue}.{underlying}.{expiry}, atm.{venue}.{underlying} and status; in a subscription * stands for any one part.
Numbers are finite or absent, never null; vols are decimals (0.55 is 55 %); times are ISO 8601, UTC, with microseconds.
New fields may appear: ignore those you do not know. docs/protocol.md says the same at length.
"""
CODINGS = ["kvd.v1.json", "kvd.v1.msgpack"]
SECURITY: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of KVD_PUBLISH_TOKENS as 'Authorization: Bearer ...'. Locks want the scope lock.",
    },
    "offered": {
        "type": "httpApiKey",
        "name": "Sec-WebSocket-Protocol",
        "in": "header",
        "description": "The token as an offered sub-protocol, 'bearer.TOKEN': browsers cannot set headers.",
    },
}
SENDS = {
    "sendSnapshot": ("The newest of everything in a topic", r"Snapshot$"),
    "sendUpdate": ("What changed in a topic, a smile a message", r"Update$|^Withdrawal$"),
    "sendStatus": ("What became of a feed", r"^Status$"),
    "sendGap": ("Which messages this client has missed", r"^Gap$"),
    "sendHeartbeat": ("A sign of life after a silence", r"^Heartbeat$"),
}


def asyncapi() -> Json:
    """The document, as a JSON object. It is the same at every call."""
    types = (*REQUESTS.values(), *MESSAGES)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:kvd:stream:v1",
        "info": {
            "title": "kvd stream",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"plain": _server("ws"), "tls": _server("wss")},
        "channels": {"stream": _channel(types)},
        "operations": _operations(),
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in types},
            "schemas": schemas(types),
            "securitySchemes": SECURITY,
        },
    }


def _server(protocol: str) -> Json:
    return {
        "host": "{host}:{port}",
        "protocol": protocol,
        "description": "Wherever kvd listens: publish.host and publish.port.",
        "variables": {
            "host": {"default": "127.0.0.1", "description": "On loopback alone unless configured otherwise."},
            "port": {"default": "8765", "description": "One port for stream and pages."},
        },
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in SECURITY],
    }


def _channel(types: tuple[type[Struct], ...]) -> Json:
    headers = {
        "type": "object",
        "properties": {
            "Sec-WebSocket-Protocol": {
                "type": "string",
                "enum": CODINGS,
                "description": "kvd.v1.json, or none: JSON in text frames. kvd.v1.msgpack: the same objects as "
                "MessagePack in binary frames, both ways.",
            }
        },
    }
    return {
        "address": STREAM,
        "title": "The stream",
        "description": "One websocket carries requests and answers, and the messages of all topics subscribed to.",
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in types},
        "bindings": {"ws": {"method": "GET", "headers": headers, "bindingVersion": "0.1.0"}},
    }


def _message(kind: type[Struct]) -> Json:
    name, text = kind.__name__, words(kind)
    return {
        "name": name,
        "title": re.sub(r"(?<=.)(?=[A-Z])", " ", name).capitalize(),
        "summary": text,
        "payload": reference(kind),
        "examples": [{"name": name, "summary": text, "payload": examples.STREAM[name]}],
    }


def _operations() -> Json:
    """What kvd receives, each with what it may be answered by, and what it sends by itself."""
    asked = {
        op: {
            "action": "receive",
            **_on_the_stream(kind),
            "title": op.capitalize(),
            "summary": words(kind),
            "reply": _on_the_stream(ANSWERS[op], Error),
        }
        for op, kind in REQUESTS.items()
    }
    told = {
        name: {
            "action": "send",
            **_on_the_stream(*(kind for kind in MESSAGES if re.search(pattern, kind.__name__))),
            "title": name.removeprefix("send"),
            "summary": f"{summary}.",
        }
        for name, (summary, pattern) in SENDS.items()
    }
    return {**asked, **told}


def _on_the_stream(*kinds: type[Struct]) -> Json:
    messages = [{"$ref": f"#/channels/stream/messages/{kind.__name__}"} for kind in kinds]
    return {"channel": {"$ref": "#/channels/stream"}, "messages": messages}
