"""A subscriber that keeps to docs/protocol.md and to nothing else: what it holds, and what it may complain of."""

from typing import Any

import msgspec


class _Head(msgspec.Struct):
    expiry: str
    state: str


class _Message(msgspec.Struct):
    type: str
    topic: str = ""
    epoch: str = ""
    seq: int = 0
    prev_seq: int = 0
    from_seq: int = 0
    to_seq: int = 0
    reason: str = ""
    resumed: list[str] | None = None
    smile: msgspec.Raw = msgspec.Raw()
    smiles: list[msgspec.Raw] = []
    status: msgspec.Raw = msgspec.Raw()


class _Status(msgspec.Struct):
    venue: str


_message, _head = msgspec.json.Decoder(_Message), msgspec.json.Decoder(_Head)
_status, _raws = msgspec.json.Decoder(_Status), msgspec.json.Decoder(list[msgspec.Raw])


def take_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """First byte and payload of every whole server frame in `data`, and what is left (RFC 6455 section 5.2)."""
    found, at = [], 0
    while len(data) - at >= 2:
        length, body = data[at + 1], at + 2
        if length >= 126:
            body += 2 if length == 126 else 8
            length = int.from_bytes(data[at + 2 : body])
        if len(data) < body + length:
            break
        found.append((data[at], data[body : body + length]))
        at = body + length
    return found, data[at:]


class Subscriber:
    """Holds the bytes of every smile by topic and expiry (of a status by venue), and checks
    that the numbers chain or a gap says why not."""

    def __init__(self) -> None:
        self.epoch = ""
        self.seq: dict[str, int] = {}
        self.held: dict[str, dict[str, bytes]] = {}
        self.heard: list[str] = []  # types of messages, gaps by their reason,
        self.heard_on: dict[str, list[str]] = {}  # and those of each topic
        self.resumed: list[str] = []

    def hear(self, payload: bytes) -> None:
        """One frame."""
        message = _message.decode(payload)
        self.heard.append(message.reason or message.type)
        self.heard_on.setdefault(message.topic, []).append(self.heard[-1])
        if message.epoch and message.epoch != self.epoch:
            self.epoch, self.seq, self.held = message.epoch, {}, {}
        getattr(self, f"_{message.type}")(message)

    def subscribe(self, *topics: str) -> dict[str, Any]:
        """The request with which it begins, or comes back."""
        again = {"epoch": self.epoch, "from_seq": dict(self.seq)} if self.seq else {}
        return {"op": "subscribe", "topics": list(topics), **again}

    def _ack(self, message: _Message) -> None:
        self.resumed += message.resumed or []

    def _heartbeat(self, message: _Message) -> None:
        pass

    def _snapshot(self, message: _Message) -> None:
        self.seq[message.topic] = message.seq
        if message.topic == "status":
            said = _raws.decode(message.status)
            self.held[message.topic] = {_status.decode(one).venue: bytes(one) for one in said}
        else:
            self.held[message.topic] = {_head.decode(body).expiry: bytes(body) for body in message.smiles}

    def _gap(self, message: _Message) -> None:
        known = self.seq.pop(message.topic, 0)
        if message.reason in ("slow", "too_old"):
            assert message.from_seq == known + 1 <= message.to_seq
        else:
            assert message.from_seq == 1
        if message.reason == "slow":
            self.seq[message.topic] = message.to_seq

    def _status(self, message: _Message) -> None:
        self._follow(message)
        self.held.setdefault(message.topic, {})[_status.decode(message.status).venue] = bytes(message.status)

    def _follow(self, message: _Message) -> None:
        assert message.prev_seq == self.seq.get(message.topic, 0)
        assert message.seq == message.prev_seq + 1
        self.seq[message.topic] = message.seq

    def _update(self, message: _Message) -> None:
        self._follow(message)
        head, held = _head.decode(message.smile), self.held.setdefault(message.topic, {})
        if head.state == "withdrawn":
            held.pop(head.expiry, None)  # who was slow may never have seen it
        else:
            held[head.expiry] = bytes(message.smile)
