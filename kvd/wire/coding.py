"""The two codings of the stream, by the sub-protocol agreed on: JSON text, and the same objects as MessagePack."""

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec
import orjson

T = TypeVar("T")
Coding = Literal["json", "msgpack"]
SUBPROTOCOLS: dict[str, Coding] = {"kvd.v1.json": "json", "kvd.v1.msgpack": "msgpack"}


def encode(said: dict[str, object], coding: Coding) -> bytes:
    """An object in a coding."""
    return orjson.dumps(said) if coding == "json" else msgspec.msgpack.encode(said)


def recode(said: bytes, coding: Coding) -> bytes:
    """What is JSON, in a coding."""
    return said if coding == "json" else msgspec.msgpack.encode(orjson.loads(said))


def reader(kind: type[T]) -> Callable[[bytes | str | msgspec.Raw], T]:
    """What reads JSON of a kind. It raises msgspec.DecodeError, and nothing else, whatever it is given."""
    decode = msgspec.json.Decoder(kind).decode

    def read(said: bytes | str | msgspec.Raw) -> T:
        try:
            return decode(said)
        except (UnicodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None

    return read
