"""The form of a checkpoint: a line for people, a line of JSON that says what follows, and the payload.

    kvd checkpoint 1
    {"version":"0.1.0","layout":"...",...,"payload_bytes":81234,"sha256":"..."}
    ...

`sha256` is that of everything else: both lines without that field, and the payload.
"""

import re
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

FORMAT = 1
MOST_BYTES = 1 << 28
_FIRST = re.compile(rb"kvd checkpoint (\d{1,9})")
_DIGEST = re.compile(rb',"sha256":"([0-9a-f]{64})"}\Z')

Kind = Literal["corrupt", "unknown"]


class UnfitError(Exception):
    """A checkpoint that must not be taken up. The message says why, as the end of "it ...".

    `kind` is ``corrupt``, or ``unknown`` for one that is whole and of another version or of other settings.
    """

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Heard(Struct, frozen=True, forbid_unknown_fields=True):
    """How far a venue had been heard: the newest arrival and the newest instant of its own, and what it lists: the
    expiries by underlying, as in topics.
    """

    receive_us: int
    exchange_us: int
    underlyings: dict[str, tuple[str, ...]]


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint says of itself. `layout` and `settings` tell payloads apart that look alike and are not: of
    another version's records, or learnt under other settings. `epoch` is that of its run, `written_us` when its state
    was taken.
    """

    version: str
    layout: str
    settings: dict[str, Any]
    epoch: str
    written_us: int
    venues: dict[str, Heard]
    locks: int
    payload_bytes: int = 0


class Checkpoint(NamedTuple):
    """A whole checkpoint."""

    header: Header
    payload: bytes


def pack(header: Header, payload: bytes) -> bytes:
    """The bytes of a checkpoint; `payload_bytes` of `header` is filled in."""
    head = msgspec.json.encode(msgspec.structs.replace(header, payload_bytes=len(payload)))[:-1]
    first = b"kvd checkpoint %d\n" % FORMAT
    digest = _digest(first + head, payload)
    return b"".join((first, head, b',"sha256":"', digest, b'"}\n', payload))


def unpack(data: bytes) -> Checkpoint:
    """The checkpoint in `data`. Raises UnfitError."""
    first, _, rest = data.partition(b"\n")
    head, _, payload = rest.partition(b"\n")
    known = _FIRST.fullmatch(first)
    if known is None:
        raise UnfitError("corrupt", "does not begin as a checkpoint does")
    if int(known[1]) != FORMAT:
        raise UnfitError("unknown", f"is of format {int(known[1])}, and this version of kvd reads {FORMAT}")
    end = _DIGEST.search(head)
    if end is None:
        raise UnfitError("corrupt", "is torn: it ends before its digest")
    told = head[: end.start()]
    if _digest(first + b"\n" + told, payload) != end[1]:
        raise UnfitError("corrupt", "was torn or changed: its digest does not fit")
    try:
        header = msgspec.json.decode(told + b"}", type=Header)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnfitError("unknown", f"has a header that this version of kvd does not read: {error}") from None
    return Checkpoint(header, payload)


def _digest(head: bytes, payload: bytes) -> bytes:
    digest = sha256(head)
    digest.update(payload)
    return digest.hexdigest().encode()
