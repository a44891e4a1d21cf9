"""What one subscriber has still to be sent: a conflating weir in front of a socket that may not drain.

Nothing is encoded before it is written, so what a stalled subscriber holds is the socket's buffers (`SOCKET_BYTES` in
the transport and one message more, beside the kernel's own) and one slot for each smile that it listens to. Who comes
back has one slot for each topic taken up again, a cursor into what was sent lately: it writes what the socket takes.
"""

import asyncio
from collections import Counter
from typing import NamedTuple

from kvd.latest import Latest
from kvd.sinks.frames import Bundle, frame_head
from kvd.wire import Coding, Encoder, Message
from kvd.wire.coding import encode

SOCKET_BYTES = 256 * 1024


class Cursor(NamedTuple):
    """A topic that is being taken up again: what comes after `seq` is yet to be written."""

    topic: str
    seq: int


class Restart(NamedTuple):
    """A topic that cannot be taken up after `seq`: a gap that says why, and a snapshot."""

    topic: str
    seq: int
    reason: str


Waiting = Message | Cursor | Restart | str | bytes


class Tally:
    """What all outboxes of a publisher have written, by kind of message, and what conflation has cost.

    `resumed` counts topics taken up again, `gaps` those who heard of a gap by its reason.
    """

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.sent_bytes = 0
        self.overwrites = 0
        self.resumed = 0
        self.gaps: Counter[str] = Counter()

    def add(self, bundle: Bundle, times: int) -> None:
        """`bundle` has been written `times`, past the outboxes."""
        self.sent_bytes += len(bundle.data) * times
        for kind, count in bundle.kinds.items():
            self.sent[kind] += count * times


class Outbox:
    """The newest unread message of each key, in the order of writing, and the numbers of what was written last.

    A slot holds a message, the topic (a str) of a snapshot that is taken when it is written, an answer's bytes, a topic
    that is taken up again (`Cursor`) or one that cannot be (`Restart`).
    """

    def __init__(
        self, transport: asyncio.WriteTransport, encoder: Encoder, tally: Tally, coding: Coding = "json"
    ) -> None:
        self.coding = coding
        self._transport = transport
        self._encoder = encoder
        self._tally = tally
        self._unread: Latest[object, Waiting] = Latest()
        self._sent_seq: dict[str, int] = {}
        self._resuming: set[str] = set()
        self._written_bytes = 0
        self._appended = 0

    def __len__(self) -> int:
        return len(self._unread)

    @property
    def sent_seq(self) -> dict[str, int]:
        """By topic, the number that was written last: who writes past the outbox keeps it up to date."""
        return self._sent_seq

    @property
    def waiting_bytes(self) -> int:
        """What is in the slots, though others may hold the same: each body of a smile once, answers, and names."""
        sizes = (_size(waiting) for waiting in self._unread.values())
        return sum(dict(sizes).values())

    @property
    def drained_bytes(self) -> int:
        """How much of what was flushed has left the process: a number that grows by what leaves it."""
        return self._written_bytes - self._transport.get_write_buffer_size()

    @property
    def drained(self) -> bool:
        """Nothing waits, neither here nor in the transport."""
        return not self._unread and not self._transport.get_write_buffer_size()

    def put(self, message: Message) -> None:
        """Put a message in its slot; an unread older one of the same smile is lost, and counted.

        A topic that is being taken up again takes its messages from the ring, this one too.
        """
        if message.topic in self._resuming:
            return
        self._sent_seq.setdefault(message.topic, message.prev_seq)  # to lose the first of a new topic is a gap as well
        self._tally.overwrites += self._unread.put(message.key, message)

    def put_snapshot(self, topic: str) -> None:
        """Have the topic's snapshot written after all that waits now: every ack promises its own."""
        self._append(topic)

    def put_resumed(self, topic: str, seq: int) -> None:
        """Have what came on `topic` after `seq` written, after all that waits now, as the socket takes it."""
        self._tally.resumed += 1
        self._resuming.add(topic)
        self._append(Cursor(topic, seq))

    def put_restart(self, topic: str, seq: int, reason: str) -> None:
        """Have a gap after `seq` and then the topic's snapshot written, after all that waits now."""
        self._append(Restart(topic, seq, reason))

    def put_answer(self, answer: dict[str, object]) -> None:
        """Have an answer written after all that waits now; answers do not replace each other."""
        self._append(encode(answer, self.coding))

    def flush(self) -> None:
        """Write what fits into the transport's buffer; the rest stays in its slots."""
        room = SOCKET_BYTES - self._transport.get_write_buffer_size()
        if room <= 0 or not self._unread:
            return
        parts: list[bytes] = []
        unfinished: list[Cursor] = []
        for key, waiting in self._unread.take().items():
            if room <= 0:
                self._unread.put(key, waiting)
            elif isinstance(waiting, Cursor):
                room -= self._advance(waiting, room, parts, unfinished)
            else:
                room -= self._write(waiting, parts)
        for cursor in unfinished:  # behind the others, so that topics take turns
            self._append(cursor)
        data = b"".join(parts)
        self._written_bytes += len(data)
        self._tally.sent_bytes += len(data)
        self._transport.write(data)

    def _append(self, waiting: Cursor | Restart | str | bytes) -> None:
        """Put what nothing replaces into a slot of its own. A client is not read while such slots wait."""
        self._appended += 1
        self._unread.put(self._appended, waiting)

    def _write(self, waiting: Message | Restart | str | bytes, parts: list[bytes]) -> int:
        """Append what waits to `parts` as frames, a gap before it if something was lost; returns its size in bytes."""
        if isinstance(waiting, Message):
            return self._update(waiting, parts)
        if isinstance(waiting, bytes):
            return self._frame("answer", waiting, parts)
        if isinstance(waiting, str):
            self._sent_seq[waiting] = self._encoder.seq(waiting)
            return self._frame("snapshot", self._encoder.snapshot(waiting, self.coding), parts)
        topic, seq, reason = waiting
        size = self._gap(topic, seq + 1, self._encoder.seq(topic), reason, parts)
        return size + self._write(topic, parts)

    def _update(self, message: Message, parts: list[bytes]) -> int:
        size = 0
        last = self._sent_seq.get(message.topic)
        if last is not None and last >= message.seq:
            return 0  # a snapshot or a cursor written since has it already
        if last is not None and last != message.prev_seq:
            size = self._gap(message.topic, last + 1, message.prev_seq, "slow", parts)
        self._sent_seq[message.topic] = message.seq
        return size + self._frame(message.kind, message.encoded(self.coding), parts)

    def _advance(self, cursor: Cursor, room: int, parts: list[bytes], unfinished: list[Cursor]) -> int:
        """Write what follows the cursor as far as there is room; returns its size in bytes.

        A client that hears all this while it is sent the topic anyway goes on where that stands. One so slow that the
        ring has let go of what it is to hear next gets a gap and a snapshot.
        """
        topic, size = cursor.topic, 0
        seq = self._sent_seq[topic] = max(cursor.seq, self._sent_seq.get(topic, 0))
        if self._encoder.lost(topic, seq, self._encoder.epoch):
            self._resuming.discard(topic)
            return self._write(Restart(topic, seq, "too_old"), parts)
        for message in self._encoder.since(topic, seq):
            if size >= room:
                unfinished.append(Cursor(topic, self._sent_seq[topic]))
                return size
            size += self._update(message, parts)
        self._resuming.discard(topic)
        return size

    def _gap(self, topic: str, from_seq: int, to_seq: int, reason: str, parts: list[bytes]) -> int:
        self._tally.gaps[reason] += 1
        numbers = {"topic": topic, "from_seq": from_seq, "to_seq": to_seq}
        gap = {"type": "gap", **numbers, "epoch": self._encoder.epoch, "reason": reason}
        return self._frame("gap", encode(gap, self.coding), parts)

    def _frame(self, kind: str, payload: bytes, parts: list[bytes]) -> int:
        self._tally.sent[kind] += 1
        parts.append(frame_head(len(payload), self.coding))
        parts.append(payload)
        return len(payload)


def _size(waiting: Waiting) -> tuple[int, int]:
    """What is held for a slot, by its identity, and its bytes. Two topics of one smile hold the same body."""
    content = waiting.body if isinstance(waiting, Message) else waiting
    return id(content), len(content if isinstance(content, str | bytes) else content.topic)
