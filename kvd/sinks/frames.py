"""Messages as what goes over a socket, built once for everybody who is sent the same."""

from collections import Counter
from functools import cached_property
from struct import Struct

from kvd.wire import Message

_TEXT = 0x81  # a final frame of text, RFC 6455 section 5.2
_SHORT, _LONG = Struct("!BBH"), Struct("!BBQ")


class Bundle:
    """What one batch says to those who listen to the same: messages, in the order of writing.

    `after` and `upto` hold, by topic, the seq before the first of its messages and that of the last.
    """

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self.upto = {message.topic: message.seq for message in messages}
        self.after = tuple({message.topic: message.prev_seq for message in reversed(messages)}.items())
        self.kinds = Counter(message.kind for message in messages)

    @cached_property
    def data(self) -> bytes:
        """Their frames."""
        return b"".join(part for m in self.messages for part in (frame_head(len(m.payload)), m.payload))


def frame_head(length: int) -> bytes:
    """The head of an unmasked, unfragmented WebSocket text frame of `length` bytes."""
    if length < 126:
        return bytes((_TEXT, length))
    return _SHORT.pack(_TEXT, 126, length) if length < 65536 else _LONG.pack(_TEXT, 127, length)
