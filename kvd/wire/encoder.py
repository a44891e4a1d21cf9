"""Topics, numbering and envelopes around the bodies of `kvd.wire.body`."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import orjson

from kvd.surface import SurfaceUpdate
from kvd.wire.body import Kind, Record, encode_withdrawn, trim
from kvd.wire.coding import Coding, recode
from kvd.wire.message import Message
from kvd.wire.moved import EVERYTHING, Moved
from kvd.wire.naming import Family, Naming
from kvd.wire.newest import FAST, Newest
from kvd.wire.ring import Entry, Ring

KINDS: tuple[Kind, ...] = ("surface", "smile", "atm")
Lost = Literal["new_epoch", "too_old", "unknown_seq"]


class EncoderState(NamedTuple):
    """The numbers of the newest messages by topic, and the names of `smile` topics by family and expiry (us).

    What was sent is not in it: every smile counts as not sent yet, and nobody can take up a topic where it was left.
    """

    seq: dict[str, int]
    names: list[tuple[Family, dict[int, str]]]


class Encoder:
    """Numbers the messages of every topic and remembers the newest of each smile for snapshots, and in `ring` what was
    sent lately for those who come back; without one, nobody can take up a topic where it was left.

    `epoch` is new at every start of a daemon and fixed for a replay: sequence numbers count within it, from 1. A smile
    that has not `moved` enough since it was sent is not sent, and is in no snapshot: who comes late sees what all see.
    """

    def __init__(self, epoch: str, ring: Ring | None = None, moved: Moved = EVERYTHING) -> None:
        self.epoch = epoch
        self.ring = Ring(0, 0) if ring is None else ring
        self._seq: dict[str, int] = {}
        self._newest = Newest(moved)
        self._naming = Naming()
        self._status: dict[str, bytes] = {}

    @property
    def unmoved(self) -> Mapping[str, int]:
        """How many smiles were not sent for not having moved, by kind: `smile` (as of `surface` topics) and `atm`."""
        return self._newest.unmoved

    def encode(self, update: SurfaceUpdate) -> tuple[Message, ...]:
        """Three messages (surface, smile, atm) for every smile that moved or left.

        Raises ValueError naming the field if a number is not finite; then nothing is numbered or remembered.
        """
        family = (update.venue, update.underlying)
        messages: list[Message] = []
        for sent in self._newest.take(family, update.smiles):
            messages += self._send(update, sent.expiry_us, sent.record, sent.kinds)
        for expiry_us in update.withdrawn:
            self._newest.forget(family, expiry_us)
            messages += self._send(update, expiry_us, encode_withdrawn(update, expiry_us), KINDS)
            self._naming.forget(family, expiry_us)
        return tuple(messages)

    def status(self, record: Mapping[str, object]) -> Message:
        """One message of the topic ``status``. Records of the same `venue` replace each other."""
        venue = str(record.get("venue", ""))
        self._status[venue] = body = trim(orjson.dumps(dict(record)))
        self.ring.put(Entry(None, ("status",), body, body))
        return Message("status", ("status", venue), self._number("status"), self.epoch, body)

    def state(self) -> EncoderState:
        """What the numbering goes on from."""
        return EncoderState(self._seq.copy(), self._naming.state())

    def restore(self, state: EncoderState) -> None:
        """Go on numbering and naming from `state`, whatever the epoch."""
        self._seq = state.seq.copy()
        self._naming.restore(state.names)

    def topics(self) -> Iterator[str]:
        """Every topic that has something to say now."""
        yield from self._naming
        if self._status:
            yield "status"

    def expiry_us(self, topic: str) -> int | None:
        """The expiry whose `smile` topic this is; None if there is none now."""
        return self._naming.expiry_us(topic)

    def seq(self, topic: str) -> int:
        """The number of the newest message of `topic`; 0 before the first."""
        return self._seq.get(topic, 0)

    def lost(self, topic: str, seq: int, epoch: str) -> Lost | None:
        """Why the messages of `topic` after `seq` of `epoch` cannot be had; None if they can."""
        if epoch != self.epoch:
            return "new_epoch"
        missed = self.seq(topic) - seq
        if missed < 0:
            return "unknown_seq"
        return "too_old" if missed > self.ring.count(topic) else None

    def since(self, topic: str, seq: int) -> Iterator[Message]:
        """The messages of `topic` after `seq` where they are not `lost`, oldest first, built anew."""
        kind = _kind(topic)
        for entry in self.ring.newest(topic, self.seq(topic) - seq):
            seq += 1
            yield Message(kind, (topic, ""), seq, self.epoch, entry.small if kind == "atm" else entry.whole)

    def snapshot(self, topic: str, coding: Coding = "json") -> bytes:
        """The newest whole smile of every expiry of `topic`, with the topic's current seq, as a message."""
        name = "status" if topic == "status" else "smiles"
        bodies = [orjson.Fragment(body) for body in self._bodies(topic)]
        head = {"type": "snapshot", "topic": topic, "seq": self.seq(topic), "epoch": self.epoch}
        return recode(orjson.dumps({**head, name: bodies}), coding)

    def surfaces(self) -> dict[Family, list[bytes]]:
        """The newest bodies of the `surface` topics by (venue, underlying), nearest expiry first."""
        return {family: [record.whole for record in self._newest.of(family)] for family in self._newest.families()}

    def _bodies(self, topic: str) -> list[bytes]:
        if topic == "status":
            return list(self._status.values())
        kind, venue, underlying = topic.split(".")[:3]
        if kind != "smile":
            records = self._newest.of((venue, underlying))
            return [record.small if kind == "atm" else record.whole for record in records]
        alone = self._newest.get((venue, underlying), self._naming.expiry_us(topic) or 0)
        return [alone.whole] if alone else []

    def _send(
        self, update: SurfaceUpdate, expiry_us: int, record: Record, kinds: tuple[Kind, ...]
    ) -> Iterator[Message]:
        every = self._naming.of((update.venue, update.underlying), expiry_us)
        topics = every if kinds == KINDS else tuple(getattr(every, kind) for kind in kinds)
        whole = b"" if kinds == FAST else record.whole
        small = record.small if "atm" in kinds else b""
        self.ring.put(Entry(update.publish_us, topics, whole, small))
        for kind, topic in zip(kinds, topics, strict=True):
            body = record.small if kind == "atm" else record.whole
            yield Message(kind, (topic, expiry_us), self._number(topic), self.epoch, body)

    def _number(self, topic: str) -> int:
        seq = self._seq[topic] = self._seq.get(topic, 0) + 1
        return seq


def _kind(topic: str) -> Kind:
    stem = topic.partition(".")[0]
    return "status" if stem == "status" else KINDS[KINDS.index(stem)]
