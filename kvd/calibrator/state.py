"""The posterior as bytes: everything that later updates follow from, beside the settings.

Records are written as MessagePack, positions instead of names, and arrays as (dtype, shape, order of axes, bytes): what
is read has the memory layout of what was written, on which the last digits of a product of matrices depend. Reading is
typed: whatever is not such a state raises `StateError`.
"""

import hashlib
import math
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from kvd.calibrator.records import BookState
from kvd.calibrator.shapes import misfits
from kvd.config import Settings
from kvd.config.settings import keys
from kvd.core.measurement import TENOR_EDGES_D
from kvd.core.residual import KNOTS
from kvd.quotes import Lock

VERSION = 1
SECTIONS = ("calibrator", "forward", "calendar", "dynamics", "regimes", "measurement", "watch", "limits")
FOLLOWED = ("venues", "deribit.currencies")

Array = NDArray[Any]


class StateError(Exception):
    """Bytes that are not a state of this layout. The message says where, as far as that is known."""


class CalibratorState(NamedTuple):
    """One record for each venue and underlying, in the order in which they were first heard of."""

    books: list[BookState]

    @property
    def locks(self) -> list[Lock]:
        """The locks that stand: who takes the state up must answer for them, or release them."""
        return [lock for book in self.books for lock in book.hand.locks]


def encode(state: CalibratorState) -> bytes:
    """The bytes of a state."""
    return _ENCODER.encode(state)


def decode(encoded: bytes) -> CalibratorState:
    """The state that `encode` made these bytes of. Raises StateError on any others; arrays are read-only."""
    try:
        state = _DECODER.decode(encoded)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise StateError(str(error)) from None
    for book in state.books:
        for misfit in misfits(book):
            raise StateError(f"{book.venue} {book.underlying}: {misfit}")
    return state


def settings_of(settings: Settings) -> dict[str, Any]:
    """Every setting that must be the same where a state is taken up, by its dotted name, as JSON would have it."""
    return {
        name: [*key.value] if isinstance(key.value, tuple) else key.value
        for name, key in keys(settings).items()
        if name in FOLLOWED or name.partition(".")[0] in SECTIONS
    }


def _written(array: object) -> tuple[str, tuple[int, ...], list[int], bytes]:
    if not isinstance(array, np.ndarray):
        raise NotImplementedError(f"a state holds no {type(array).__name__}")
    dtype, strides, axes = _dtype(array.dtype.type), array.strides, list(range(array.ndim))
    if not array.flags.c_contiguous:
        axes.sort(key=lambda axis: -abs(strides[axis]))
        array = array.transpose(axes)
    return dtype.str, array.shape, axes, array.astype(dtype, copy=False).tobytes()


def _read(kind: Any, written: Any) -> Array:
    """The array of the annotated `kind` that was `written`; raises ValueError if it is none."""
    match written:
        case [str(dtype), [*shape], [*axes], bytes(content)]:
            wanted = _dtype(_element(kind))
            if dtype != wanted.str:
                raise ValueError(f"an array of {dtype}, not of {wanted.str}")
            if sorted(axes) != list(range(len(shape))) or not all(isinstance(n, int) and n >= 0 for n in shape):
                raise ValueError("an array of no shape")
            if math.prod(shape) * wanted.itemsize != len(content):
                raise ValueError(f"an array of {len(content)} bytes, not of shape {shape}")
            return np.frombuffer(content, wanted).reshape(shape).transpose(np.argsort(axes))
    raise ValueError("not an array")


@cache
def _dtype(element: type) -> np.dtype[Any]:
    return np.dtype(element).newbyteorder("<")


def _element(kind: Any) -> type:
    """The type of the elements of an annotated array."""
    element: type = get_args(get_args(kind)[1])[0]
    return element


def described(kind: Any) -> Any:
    """What a type is made of, as JSON: names of fields and of plain types."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is np.ndarray:
        return _dtype(_element(kind)).str
    if parts:
        return ["or" if origin in (Union, UnionType) else str(origin), *map(described, parts)]
    if isinstance(kind, type) and (hasattr(kind, "_fields") or issubclass(kind, Struct)):
        return {kind.__name__: [[name, described(part)] for name, part in get_type_hints(kind).items()]}
    return kind.__name__ if isinstance(kind, type) else repr(kind)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_written)
_DECODER = msgspec.msgpack.Decoder(CalibratorState, dec_hook=_read)
_MADE_OF = [described(CalibratorState), KNOTS.tolist(), TENOR_EDGES_D.tolist()]
FINGERPRINT = hashlib.sha256(msgspec.json.encode(_MADE_OF)).hexdigest()[:16]
LAYOUT = f"{VERSION}-{FINGERPRINT}"
"""The version of the layout, raised by hand whenever anything in a state comes to be or to mean something else, and the
fingerprint of its fields, the knots of residual curves and the tenor buckets.
"""
