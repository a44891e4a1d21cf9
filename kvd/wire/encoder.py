"""Topics, numbering and envelopes around the bodies of `kvd.wire.body`."""

from collections.abc import Iterator, Mapping

import orjson

from kvd.surface import SurfaceUpdate
from kvd.wire.body import Kind, Record, encode_smile, encode_withdrawn, iso

Family = tuple[str, str]  # venue, underlying
KINDS: tuple[Kind, ...] = ("surface", "smile", "atm")


class Message:
    """One message of one topic. `key` names the slot in which a newer message of the same smile replaces it."""

    __slots__ = ("_epoch", "_payload", "_record", "key", "kind", "prev_seq", "seq", "topic")

    def __init__(self, kind: Kind, key: tuple[str, int | str], seq: int, epoch: str, record: Record) -> None:
        self.kind = kind
        self.key = key
        self.topic = key[0]
        self.seq = seq
        self.prev_seq = seq - 1
        self._epoch = epoch
        self._record = record
        self._payload: bytes | None = None

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
                content: orjson.Fragment(self._record.body(self.kind)),
            }
            self._payload = orjson.dumps(envelope)
        return self._payload


class Encoder:
    """Numbers the messages of every topic and remembers the newest of each smile for snapshots.

    `epoch` is new at every start of a daemon and fixed for a replay: sequence numbers count within it, from 1.
    """

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self._seq: dict[str, int] = {}
        self._newest: dict[Family, dict[int, Record]] = {}
        self._names: dict[Family, dict[str, int]] = {}
        self._status: dict[str, Record] = {}

    def encode(self, update: SurfaceUpdate) -> tuple[Message, ...]:
        """Three messages (surface, smile, atm) for every smile that moved or left.

        Raises ValueError naming the field if a number is not finite; then nothing is numbered or remembered.
        """
        family = (update.venue, update.underlying)
        changed = [(smile.expiry_us, encode_smile(smile)) for smile in update.smiles]
        newest = self._newest.setdefault(family, {})
        messages: list[Message] = []
        for expiry_us, record in changed:
            newest[expiry_us] = record
            messages += self._messages(family, expiry_us, record)
        for expiry_us in update.withdrawn:
            newest.pop(expiry_us, None)
            messages += self._messages(family, expiry_us, encode_withdrawn(update, expiry_us))
            del self._names[family][self._name(family, expiry_us)]
        return tuple(messages)

    def status(self, record: Mapping[str, object]) -> Message:
        """One message of the topic ``status``. Records of the same `venue` replace each other."""
        venue = str(record.get("venue", ""))
        self._status[venue] = body = Record(None, orjson.dumps(dict(record)))
        return Message("status", ("status", venue), self._number("status"), self.epoch, body)

    def topics(self) -> Iterator[str]:
        """Every topic that has something to say now."""
        for (venue, underlying), names in self._names.items():
            if names:
                yield f"surface.{venue}.{underlying}"
                yield f"atm.{venue}.{underlying}"
                yield from (f"smile.{venue}.{underlying}.{name}" for name in names)
        if self._status:
            yield "status"

    def seq(self, topic: str) -> int:
        """The number of the newest message of `topic`; 0 before the first."""
        return self._seq.get(topic, 0)

    def snapshot(self, topic: str) -> bytes:
        """The newest whole smile of every expiry of `topic`, with the topic's current seq, as a message."""
        name = "status" if topic == "status" else "smiles"
        bodies = [orjson.Fragment(body) for body in self._bodies(topic)]
        head = {"type": "snapshot", "topic": topic, "seq": self.seq(topic), "epoch": self.epoch}
        return orjson.dumps({**head, name: bodies})

    def surfaces(self) -> dict[Family, list[bytes]]:
        """The newest bodies of the `surface` topics by (venue, underlying), nearest expiry first."""
        return {
            family: [records[expiry_us].whole for expiry_us in sorted(records)]
            for family, records in self._newest.items()
            if records
        }

    def _bodies(self, topic: str) -> list[bytes]:
        if topic == "status":
            return [record.whole for record in self._status.values()]
        stem, venue, underlying, *name = topic.split(".")
        kind = KINDS[KINDS.index(stem)]
        records = self._newest.get((venue, underlying), {})
        expiries = [self._names[venue, underlying].get(name[0], 0)] if name else sorted(records)
        return [records[expiry_us].body(kind) for expiry_us in expiries if expiry_us in records]

    def _messages(self, family: Family, expiry_us: int, record: Record) -> Iterator[Message]:
        stem = f"{family[0]}.{family[1]}"
        for kind in KINDS:
            topic = f"smile.{stem}.{self._name(family, expiry_us)}" if kind == "smile" else f"{kind}.{stem}"
            yield Message(kind, (topic, expiry_us), self._number(topic), self.epoch, record)

    def _number(self, topic: str) -> int:
        seq = self._seq[topic] = self._seq.get(topic, 0) + 1
        return seq

    def _name(self, family: Family, expiry_us: int) -> str:
        """The expiry's part of the topic: its date, or its minute where another expiry came first on that date."""
        names = self._names.setdefault(family, {})
        minute = iso(expiry_us)[:16]
        date = minute[:10]
        if minute in names or names.setdefault(date, expiry_us) != expiry_us:
            names[minute] = expiry_us
            return minute
        return date
