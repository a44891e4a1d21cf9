"""One message of one topic: its numbers and, once somebody asks for it, its bytes."""

import orjson

from kvd.wire.body import Kind, trim
from kvd.wire.coding import Coding, recode


class Message:
    """One message of one topic. `key` names the slot in which a newer message of the same smile replaces it; `body` is
    the JSON of what it says.
    """

    __slots__ = ("_epoch", "_packed", "_payload", "body", "key", "kind", "prev_seq", "seq", "topic")

    def __init__(self, kind: Kind, key: tuple[str, int | str], seq: int, epoch: str, body: bytes) -> None:
        self.kind = kind
        self.key = key
        self.topic = key[0]
        self.seq = seq
        self.prev_seq = seq - 1
        self._epoch = epoch
        self.body = body
        self._payload: bytes | None = None
        self._packed: bytes | None = None

    @property
    def payload(self) -> bytes:
        """The JSON text: encoded when first asked for, then shared by everybody who asks."""
        if self._payload is None:
            name, content = ("status", "status") if self.kind == "status" else ("update", "smile")
            envelope = {
                "type": name,
                "topic": self.topic,
                "seq": self.seq,
                "prev_seq": self.prev_seq,
                "epoch": self._epoch,
                content: orjson.Fragment(self.body),
            }
            self._payload = trim(orjson.dumps(envelope))
        return self._payload

    def encoded(self, coding: Coding) -> bytes:
        """The message in a coding: what is not JSON is made of it when first asked for, and shared as well."""
        if coding == "json":
            return self.payload
        if self._packed is None:
            self._packed = recode(self.payload, coding)
        return self._packed
