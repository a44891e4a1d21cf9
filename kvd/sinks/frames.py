"""Messages as what goes over a socket, built once for everybody who is sent the same."""

from collections import Counter
from functools import cached_property
from struct import Struct

from kvd.wire import Coding, Message

_FIRST: dict[Coding, int] = {"json": 0x81, "msgpack": 0x82}  # of a final frame, text or binary, RFC 6455 section 5.2
_SHORT, _LONG = Struct("!BBH"), Struct("!BBQ")


class Bundle:
    """What one batch says to those who listen to the same in the same coding: messages, in the order of writing.

    `after` and `upto` hold, by topic, the seq before the first of its messages and that of the last.
    """

    def __init__(self, messages: tuple[Message, ...], coding: Coding = "json") -> None:
        self.messages = messages
        self._coding = coding
        self.upto = {message.topic: message.seq for message in messages}
        self.after = tuple({message.topic: message.prev_seq for message in reversed(messages)}.items())
        self.kinds = Counter(message.kind for message in messages)

    @cached_property
    def data(self) -> bytes:
        """Their frames."""
        payloads = [message.encoded(self._coding) for message in self.messages]
        return b"".join(part for each in payloads for part in (frame_head(len(each), self._coding), each))


def frame_head(length: int, coding: Coding = "json") -> bytes:
    """The head of an unmasked, unfragmented WebSocket frame of `length` bytes, text or binary."""
    first = _FIRST[coding]
    if length < 126:
        return bytes((first, length))
    return _SHORT.pack(first, 126, length) if length < 65536 else _LONG.pack(first, 127, length)
