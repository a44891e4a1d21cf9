"""The two codings of the stream, by the sub-protocol agreed on: JSON text, and the same objects as MessagePack."""

from typing import Literal

import msgspec
import orjson

Coding = Literal["json", "msgpack"]
SUBPROTOCOLS: dict[str, Coding] = {"kvd.v1.json": "json", "kvd.v1.msgpack": "msgpack"}


def encode(said: dict[str, object], coding: Coding) -> bytes:
    """An object in a coding."""
    return orjson.dumps(said) if coding == "json" else msgspec.msgpack.encode(said)


def recode(said: bytes, coding: Coding) -> bytes:
    """What is JSON, in a coding."""
    return said if coding == "json" else msgspec.msgpack.encode(orjson.loads(said))
