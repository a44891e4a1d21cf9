"""What kvd sends, read: the envelope of every message, and the bodies in it, decoded when somebody looks at them."""

from datetime import datetime

from msgspec import Raw, Struct

from kvd.surface import Smile, State
from kvd.wire import decode_smile, reader


class Frame(Struct, frozen=True):
    """The envelope of any message; what a kind of message does not have keeps its default."""

    type: str
    topic: str = ""
    seq: int = 0
    prev_seq: int | None = None
    epoch: str = ""
    smile: Raw = Raw()
    smiles: tuple[Raw, ...] = ()
    status: Raw = Raw()
    from_seq: int = 0
    to_seq: int = 0
    reason: str = ""
    op: str = ""
    resumed: tuple[str, ...] = ()
    id: str = ""
    until: datetime | None = None
    code: str = ""
    message: str = ""


class _Head(Struct):
    venue: str
    underlying: str
    expiry: str
    state: State
    publish_time: str


class Body:
    """One smile as it came, of a `surface`, `smile` or `atm` topic; whole it is decoded once, whoever asks.

    `expiry` and `publish_time` are the texts of the protocol, whose order is that of the instants.
    """

    __slots__ = ("_smile", "expiry", "publish_time", "raw", "state", "underlying", "venue")

    def __init__(self, raw: Raw) -> None:
        head = _head(raw)
        self.raw = raw
        self.venue = head.venue
        self.underlying = head.underlying
        self.expiry = head.expiry
        self.state = head.state
        self.publish_time = head.publish_time
        self._smile: Smile | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Which smile it is."""
        return self.venue, self.underlying, self.expiry

    @property
    def smile(self) -> Smile:
        """The smile."""
        if self._smile is None:
            self._smile = decode_smile(self.raw)
        return self._smile

    def same(self, other: "Body | None") -> bool:
        """Whether the two say the same, to the byte."""
        return other is not None and bytes(self.raw) == bytes(other.raw)


_frame, _head = reader(Frame), reader(_Head)


def read(text: str | bytes) -> tuple[Frame, tuple[Body, ...]]:
    """A message and its bodies. Raises msgspec.DecodeError for what no kvd sends."""
    frame = _frame(text)
    if memoryview(frame.smile).nbytes:
        return frame, (Body(frame.smile),)
    # a snapshot's text is not kept alive by the one smile of it that nothing has replaced
    return frame, tuple(Body(raw.copy()) for raw in frame.smiles)
