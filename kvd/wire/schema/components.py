"""Described types -> the schemas of a document: JSON Schema in the words that draft 7 and 2020-12 have in common."""

from collections.abc import Iterable
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct

Json = dict[str, Any]
_PLACE = "#/components/schemas/{name}"


def schemas(types: Iterable[type[Struct]]) -> Json:
    """The schemas of `types` and of all that they are made of, by name."""
    _, found = msgspec.json.schema_components(types, ref_template=_PLACE)
    return {name: _plain(schema) for name, schema in sorted(found.items())}


def reference(kind: type[Struct]) -> Json:
    """Where the schema of `kind` stands."""
    return {"$ref": _PLACE.format(name=kind.__name__)}


def words(kind: type[Struct]) -> str:
    """What the type says of itself, on one line."""
    return " ".join(cleandoc(kind.__doc__ or "").split())


def _plain(schema: Any) -> Any:
    """A schema without line breaks, and without anything beside a `$ref`, which draft 7 would not see."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(part) for name, part in schema.items()}
    if isinstance(plain.get("description"), str):
        plain["description"] = " ".join(plain["description"].split())
    if "$ref" in plain and len(plain) > 1:
        plain["allOf"] = [{"$ref": plain.pop("$ref")}]
    return plain
