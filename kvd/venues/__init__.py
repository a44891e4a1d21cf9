"""One exchange a file: what to subscribe to, how to answer, how to read its frames. No socket lives here.

A venue is sans-I/O: bytes in, events out; no clock, no loop. It is a module with `NAME` and a `Session` class as below.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from kvd.quotes import Event, Refusal

INTERRUPTED = "feed interrupted"
"""The reason of every Gap. A tape has no room for another one, and a replay must say what was said live."""


class Reading(NamedTuple):
    """What one frame said: events to pass on, parts refused, and a message that may want an answer (see `reply`).

    ``lasting`` is not empty if later frames are read by this one. It names what the frame stands for, such as
    ``option BTC``: the newest of each name is what a tape that begins later lacks.
    """

    events: tuple[Event, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    control: object | None = None
    lasting: str = ""


class Quota(NamedTuple):
    """How often a kind of request may be sent: at most `burst` at once, `rate_per_s` in the long run."""

    rate_per_s: float
    burst: int


class VenueSession(Protocol):
    """One connection's side of a venue's protocol. Made anew for each connection."""

    venue: str
    """The module's NAME."""
    retry_after_s: float | None
    """Not None once the connection is of no more use: close it, and come back no sooner than this."""
    last_error: str
    leaving: bool
    """The venue has announced that it will soon end this connection: open the next one while this one still speaks."""

    @property
    def quotas(self) -> Mapping[str, Quota]:
        """How often each kind of request may be sent, by the names that `quota_of` gives."""

    @property
    def canary(self) -> str | None:
        """Name of the index whose silence means that the feed is dead; None: any event proves it alive."""

    @property
    def channels_wanted(self) -> int:
        """How many channels the session means to be subscribed to."""

    @property
    def channels_acked(self) -> int:
        """How many the venue has confirmed."""

    @property
    def channels_silent(self) -> int:
        """How many of those have not said what the venue says at once on subscribing, long after it was due."""

    @property
    def subscribed(self) -> bool:
        """Whether every request so far has been answered and none is to follow."""

    def subscribe(self) -> list[bytes]:
        """The requests to send after connecting."""

    def parse(self, frame: bytes | str, receive_us: int) -> Reading:
        """Read one frame. Raises `BadFrame`, and nothing else, on anything that the protocol does not allow."""

    def reply(self, control: object) -> list[bytes]:
        """The requests to send in answer to a `Reading.control`."""

    def nudge(self, now_us: int) -> list[bytes]:
        """The requests due at `now_us`, on the clock that stamps frames, because of what has not been said."""

    def quota_of(self, request: bytes) -> str | None:
        """The name of the quota that a request of this session falls under; None: send it at once."""


class Venue(Protocol):
    """The module itself."""

    NAME: str

    @property
    def Session(self) -> Callable[..., VenueSession]:  # noqa: N802
        """The class: takes the venue's settings and the heartbeat interval in seconds."""
