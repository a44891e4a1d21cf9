"""A chain of lines: each holds a digest of itself and of the line before it, so that any change of one shows.

A line is one JSON object, ``{"number", "time", "prev", "kind", "content", "digest"}``: `prev` is the SHA-256 of the
line before, without its line break (64 zeros for the first), and `digest` that of the line's own bytes up to it. A
crash can leave a torn line behind; the line after it is of kind ``repaired`` and says how long it was and its SHA-256.

The digests are no signature: whoever may write the file can cut its end off, or write it anew from a line on. Only a
head, the SHA-256 of a line, that was kept elsewhere tells.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

REPAIRED = "repaired"
_END = re.compile(rb',"digest":"([0-9a-f]{64})"}\Z')


class Head(NamedTuple):
    """The newest line: its number, counted from 1, and its SHA-256."""

    number: int
    digest: str


BEGINNING = Head(0, "0" * 64)


class Change(NamedTuple):
    """Where a chain breaks: the line of the file, counted from 1, and what is wrong, as the end of "line 7 ..."."""

    line: int
    why: str


class Verdict(NamedTuple):
    """What a chain came to: its head, the lines of the file that were torn and said to be, and where it breaks, if it
    does. `found` is the line with the digest that was asked for.
    """

    head: Head
    torn: tuple[int, ...]
    change: Change | None
    found: int | None


def link(head: Head, time: str, kind: str, content: object) -> tuple[bytes, Head]:
    """The line that follows `head`, without a line break, and the head that it is."""
    fields = {"number": head.number + 1, "time": time, "prev": head.digest, "kind": kind, "content": content}
    body = orjson.dumps(fields)[:-1]
    line = body + b',"digest":"' + sha256(body).hexdigest().encode() + b'"}'
    return line, Head(head.number + 1, sha256(line).hexdigest())


def torn(rest: bytes) -> dict[str, object]:
    """What a ``repaired`` line says of the bytes between the line before it and itself."""
    return {"bytes": len(rest), "sha256": sha256(rest).hexdigest()}


class Reader:
    """Goes through a chain line by line: `head` is the newest line that follows, `rest` what has come since that is no
    line and may be torn, `change` where the chain breaks, `torn` the torn lines that were accounted for.
    """

    def __init__(self) -> None:
        self.head = BEGINNING
        self.rest = bytearray()
        self.ended = True  # the newest line has its line break
        self.torn: list[int] = []
        self.change: Change | None = None
        self._place = 0
        self._rest_at: list[int] = []

    def read(self, raw: bytes) -> None:
        """Take the next line of the file, with its line break."""
        self._place += 1
        line = raw.removesuffix(b"\n")
        fields = _fields(line)
        if fields is None:
            self.rest += raw
            self._rest_at.append(self._place)
            return
        why = _complaint(line, fields, self.head)
        if why is not None:
            self.change = Change(self._place, why)
        elif self.rest and not _accounts(fields, bytes(self.rest)):
            self.change = Change(self._rest_at[0], "is no line of the log: it was changed or inserted")
        elif fields.get("kind") == REPAIRED and not self.rest:
            self.change = Change(self._place, "tells of a torn line before it, which was removed")
        else:
            self.head = Head(self.head.number + 1, sha256(line).hexdigest())
            self.torn += self._rest_at
            self.rest, self._rest_at, self.ended = bytearray(), [], raw != line

    def end(self) -> None:
        """There are no more lines."""
        if self.rest:
            why = "is torn: cut off, or left by a crash, of which kvd takes note when it starts anew"
            self.change = Change(self._rest_at[0], why)
        elif not self._place:
            self.change = Change(1, "is not there: the file is empty")
        elif not self.ended:
            self.change = Change(self._place, "has no line break: its end was cut off, or it is just being written")


def verify(lines: Iterable[bytes], digest: str | None = None) -> Verdict:
    """Go through the `lines` of a log, with their line breaks, to the first that does not follow.

    With `digest`, a head that was kept elsewhere, the line must be there, too: a tail that was cut off is found by
    nothing else.
    """
    reader, found = Reader(), None
    for raw in lines:
        reader.read(raw)
        if reader.change is not None:
            break
        if not reader.rest and reader.head.digest == digest:
            found = reader.head.number
    else:
        reader.end()
        if reader.change is None and digest is not None and found is None:
            why = "is the last, and none has the digest that was asked for: lines were cut off, or written anew"
            reader.change = Change(reader.head.number + len(reader.torn), why)
    return Verdict(reader.head, tuple(reader.torn), reader.change, found)


def _fields(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line, if it is one. No beginning of an object is."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) else None


def _complaint(line: bytes, fields: dict[str, Any], head: Head) -> str | None:
    """Why a line does not follow `head`, as the end of a sentence; None if it does."""
    end = _END.search(line)
    if end is None or sha256(line[: end.start()]).hexdigest().encode() != end[1]:
        return "was changed: its own digest does not fit"
    number = fields.get("number")
    if number != head.number + 1:
        return f"has the number {number} where {head.number + 1} belongs: lines were removed, inserted or moved"
    if fields.get("prev") != head.digest:
        return "does not follow the line before it: that one was changed, or this one is from elsewhere"
    return None


def _accounts(fields: dict[str, Any], rest: bytes) -> bool:
    """Whether a line says that `rest`, which stands before it, is a torn line."""
    return fields.get("kind") == REPAIRED and fields.get("content") == torn(rest)
