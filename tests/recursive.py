"""Two things held against each other to the bottom: every attribute, item and number, and how arrays lie in memory."""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np


def differences(left: Any, right: Any, path: str = "", leaving_out: frozenset[str] = frozenset()) -> Iterator[str]:
    """Where they differ, as paths such as ``._books['deribit', 'BTC']._joint.P``, in order; those `leaving_out` are
    named by class and attribute.
    """
    if type(left) is not type(right):
        yield f"{path}: {type(left).__name__} and {type(right).__name__}"
    elif isinstance(left, np.ndarray):
        yield from _of_arrays(left, right, path)
    elif isinstance(left, float):
        if struct.pack("<d", left) != struct.pack("<d", right):
            yield f"{path}: {left} and {right}"
    elif (parts := _parts(left)) is not None:
        others = _parts(right) or {}
        left_out = {name for name in parts if f"{type(left).__name__}{name}" in leaving_out}
        if [*parts] != [*others]:
            yield f"{path}: of {[*parts]} and of {[*others]}"
        for name in parts.keys() & others.keys() - left_out:
            yield from differences(parts[name], others[name], path + name, leaving_out)
    elif left != right:
        yield f"{path}: {left} and {right}"


def _of_arrays(left: Any, right: Any, path: str) -> Iterator[str]:
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        yield f"{path}: {left.dtype}{left.shape} and {right.dtype}{right.shape}"
    elif left.tobytes() != right.tobytes():
        yield f"{path}: other numbers"
    elif left.size and [s for s, n in zip(left.strides, left.shape, strict=True) if n > 1] != [
        s for s, n in zip(right.strides, right.shape, strict=True) if n > 1
    ]:
        yield f"{path}: strides {left.strides} and {right.strides}"


def _parts(thing: Any) -> dict[str, Any] | None:
    """What a thing consists of, as one would write it; None if of nothing."""
    if isinstance(thing, dict):
        return {f"[{key}]": value for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        names = [f".{name}" for name in getattr(thing, "_fields", ())] or [f"[{i}]" for i in range(len(thing))]
        return dict(zip(names, thing, strict=True))
    if isinstance(thing, msgspec.Struct):
        return {f".{name}": getattr(thing, name) for name in thing.__struct_fields__}
    return {f".{name}": value for name, value in vars(thing).items()} if hasattr(thing, "__dict__") else None
