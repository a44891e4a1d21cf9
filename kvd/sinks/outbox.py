"""What one subscriber has still to be sent: a conflating weir in front of a socket that may not drain.

Nothing is encoded before it is written, so what a stalled subscriber holds is the socket's buffers (`SOCKET_BYTES` in
the transport and one message more, beside the kernel's own) and one slot for each smile that it listens to.
"""

import asyncio
from collections import Counter
from struct import Struct

import orjson

from kvd.latest import Latest
from kvd.wire import Encoder, Message

SOCKET_BYTES = 256 * 1024
_TEXT = 0x81  # a final frame of text, RFC 6455 section 5.2
_SHORT, _LONG = Struct("!BBH"), Struct("!BBQ")


class Tally:
    """What all outboxes of a publisher have written, by kind of message, and what conflation has cost."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.sent_bytes = 0
        self.overwrites = 0


class Outbox:
    """The newest unread message of each key, in the order of writing, and the numbers of what was written last.

    A slot holds a message, the topic (a str) of a snapshot that is taken when it is written, or an answer's bytes.
    """

    def __init__(self, transport: asyncio.WriteTransport, encoder: Encoder, tally: Tally) -> None:
        self._transport = transport
        self._encoder = encoder
        self._tally = tally
        self._unread: Latest[object, Message | str | bytes] = Latest()
        self._sent_seq: dict[str, int] = {}
        self._written_bytes = 0
        self._appended = 0

    def __len__(self) -> int:
        return len(self._unread)

    @property
    def drained_bytes(self) -> int:
        """How much of what was written has left the process."""
        return self._written_bytes - self._transport.get_write_buffer_size()

    @property
    def drained(self) -> bool:
        """Nothing waits, neither here nor in the transport."""
        return not self._unread and not self._transport.get_write_buffer_size()

    def put(self, message: Message) -> None:
        """Put a message in its slot; an unread older one of the same smile is lost, and counted."""
        self._tally.overwrites += self._unread.put(message.key, message)

    def put_snapshot(self, topic: str) -> None:
        """Have the topic's snapshot written after all that waits now: every ack promises its own."""
        self._append(topic)

    def put_answer(self, answer: dict[str, object]) -> None:
        """Have an answer written after all that waits now; answers do not replace each other."""
        self._append(orjson.dumps(answer))

    def flush(self) -> None:
        """Write what fits into the transport's buffer; the rest stays in its slots."""
        room = SOCKET_BYTES - self._transport.get_write_buffer_size()
        if room <= 0 or not self._unread:
            return
        parts: list[bytes] = []
        for key, waiting in self._unread.take().items():
            if room > 0:
                room -= self._write(waiting, parts)
            else:
                self._unread.put(key, waiting)
        data = b"".join(parts)
        self._written_bytes += len(data)
        self._tally.sent_bytes += len(data)
        self._transport.write(data)

    def _append(self, waiting: str | bytes) -> None:
        """Put what nothing replaces into a slot of its own. A client is not read while such slots wait."""
        self._appended += 1
        self._unread.put(self._appended, waiting)

    def _write(self, waiting: Message | str | bytes, parts: list[bytes]) -> int:
        """Append what waits to `parts` as frames, a gap before it if something was lost; returns its size in bytes."""
        if isinstance(waiting, bytes):
            return self._frame("answer", waiting, parts)
        if isinstance(waiting, str):
            self._sent_seq[waiting] = self._encoder.seq(waiting)
            return self._frame("snapshot", self._encoder.snapshot(waiting), parts)
        size = 0
        last = self._sent_seq.get(waiting.topic)
        if last is not None and last >= waiting.seq:
            return 0  # a snapshot written since has it already
        if last is not None and last != waiting.prev_seq:
            size = self._frame("gap", self._gap(waiting, last), parts)
        self._sent_seq[waiting.topic] = waiting.seq
        return size + self._frame(waiting.kind, waiting.payload, parts)

    def _gap(self, message: Message, last: int) -> bytes:
        numbers = {"topic": message.topic, "from_seq": last + 1, "to_seq": message.prev_seq}
        return orjson.dumps({"type": "gap", **numbers, "epoch": self._encoder.epoch, "reason": "slow"})

    def _frame(self, kind: str, payload: bytes, parts: list[bytes]) -> int:
        self._tally.sent[kind] += 1
        parts.append(frame_head(len(payload)))
        parts.append(payload)
        return len(payload)


def frame_head(length: int) -> bytes:
    """The head of an unmasked, unfragmented WebSocket text frame of `length` bytes."""
    if length < 126:
        return bytes((_TEXT, length))
    return _SHORT.pack(_TEXT, 126, length) if length < 65536 else _LONG.pack(_TEXT, 127, length)
