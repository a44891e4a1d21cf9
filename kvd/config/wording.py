"""Settings in words: a value as kvd.toml writes it, what a type allows, and the nearest name to a misspelt one."""

import difflib
import json
from collections.abc import Collection
from typing import Any

from msgspec import inspect


def text(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(text, value))}]"
    return str(value)


def allowed(kind: inspect.Type) -> str:
    """What a type allows, as the end of "it must be ..."."""
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(text, values))}"
        case inspect.VarTupleType(item_type=item, min_length=least):
            return f"a list of {'at least one value' if least else 'values'}, each {allowed(item)}"
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)} values: {'; '.join(map(allowed, items))}"
        case inspect.IntType():
            return f"a whole number{_limits(kind)}"
        case inspect.FloatType():
            return f"a finite number{_limits(kind)}"
        case inspect.StrType(pattern=str(pattern)):
            return f"text that matches {pattern}"
        case inspect.StrType(min_length=least):
            return "text that is not empty" if least else "text"
    raise TypeError(f"a setting of type {kind} has no words for what it allows")


def nearest(name: str, known: Collection[str]) -> str:
    """The mend for an unknown `name`: the known ones with the same last part or nearest to it in the same section."""
    section, _, key = name.rpartition(".")
    same_key = [other for other in known if other.rpartition(".")[2] == key]
    siblings = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == section}
    near = same_key or [siblings[match] for match in difflib.get_close_matches(key, siblings, n=1, cutoff=0.7)]
    return f"did you mean {' or '.join(near)}?" if near else "`kvd check` lists every setting"


def _limits(kind: inspect.IntType | inspect.FloatType) -> str:
    limits = [("above", kind.gt), ("of at least", kind.ge), ("below", kind.lt), ("of at most", kind.le)]
    words = " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)
    return f" {words}" if words else ""
