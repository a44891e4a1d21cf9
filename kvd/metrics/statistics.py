"""What may be observed: any record with these fields will do, so that no room need know another's."""

from collections.abc import Mapping
from typing import Protocol


class FeedStatistics(Protocol):
    """A feed of one venue, counted since the start."""

    @property
    def frames(self) -> int:
        """Frames received."""

    @property
    def bytes(self) -> int:
        """Bytes received in frames."""

    @property
    def bad_frames(self) -> int:
        """Frames that were not what the venue's protocol allows."""

    @property
    def refusals(self) -> Mapping[str, int]:
        """Frames or parts of frames deliberately not used, by reason."""

    @property
    def gaps(self) -> int:
        """Interruptions of the stream."""

    @property
    def reconnects(self) -> int:
        """Attempts to come back."""

    @property
    def handovers(self) -> int:
        """Those of them that took over from a connection which still spoke."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""

    @property
    def last_data_age_s(self) -> float | None:
        """Age of the newest data, heartbeats excluded; None before the first."""

    @property
    def channels_wanted(self) -> int:
        """Channels that should be subscribed."""

    @property
    def channels_acked(self) -> int:
        """Channels that the venue has confirmed."""

    @property
    def channels_silent(self) -> int:
        """Those of them that never said what they had to say at once."""

    @property
    def clock_skew_s(self) -> float | None:
        """By how much our clock is ahead of the venue's; None before the first data."""


class InboxStatistics(Protocol):
    """The weir in front of the calibrator."""

    @property
    def conflated(self) -> int:
        """Events replaced by a newer one of the same instrument within a batch: by design."""

    @property
    def overwrites(self) -> int:
        """Events lost because the calibrator fell behind: overload."""

    def __len__(self) -> int:
        """Events that wait for the calibrator now."""


class TokenStatistics(Protocol):
    """The holder of one token, over all its connections."""

    @property
    def clients(self) -> int:
        """Connections now."""

    @property
    def messages(self) -> int:
        """Messages and pages asked for."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Requests refused, by code."""


class HandStatistics(Protocol):
    """What traders hold the smiles to."""

    @property
    def standing(self) -> int:
        """Locks that stand now."""

    @property
    def acts(self) -> Mapping[str, int]:
        """Locks set, released by hand or in time, and refused."""


class AuditStatistics(Protocol):
    """The audit log."""

    @property
    def lines(self) -> int:
        """Lines in it, those of earlier runs included."""

    @property
    def failures(self) -> int:
        """How often writing to it failed."""

    @property
    def failing(self) -> bool:
        """Whether it fails now."""

    @property
    def lost(self) -> int:
        """Lines given up because too many waited."""


class RecorderStatistics(Protocol):
    """What writes a venue's frames to tapes."""

    @property
    def frames(self) -> int:
        """Frames written."""

    @property
    def bytes(self) -> int:
        """Bytes written, as they lie on disk."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames that are on no tape, by reason."""

    @property
    def failures(self) -> int:
        """How often writing failed."""

    @property
    def why(self) -> str:
        """Why it fails now; empty if it does not."""

    @property
    def queue_bytes(self) -> int:
        """What waits for the disk."""

    @property
    def tape_bytes(self) -> int:
        """Size of the tape being written."""


class PublisherStatistics(Protocol):
    """The stream's subscribers."""

    @property
    def clients(self) -> int:
        """Subscribers connected now."""

    @property
    def subscriptions(self) -> int:
        """Patterns that they are subscribed to."""

    @property
    def sent(self) -> Mapping[str, int]:
        """Messages written, by kind."""

    @property
    def sent_bytes(self) -> int:
        """Bytes written."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in this process for sockets to take them."""

    @property
    def held_bytes(self) -> int:
        """The most that one subscriber holds: in its outbox, in the transport, and in the kernel."""

    @property
    def overwrites(self) -> int:
        """Unread messages replaced by newer ones of the same smile in a slow subscriber's outbox."""

    @property
    def cut(self) -> Mapping[str, int]:
        """Subscribers cut, by reason."""

    @property
    def errors(self) -> Mapping[str, int]:
        """Requests refused, by code."""

    @property
    def tokens(self) -> Mapping[str, TokenStatistics]:
        """What was done with each token, by the name of its holder."""

    @property
    def gaps(self) -> Mapping[str, int]:
        """Gaps that subscribers were told of, by reason."""

    @property
    def resumed(self) -> int:
        """Topics that subscribers who came back took up where they had left them."""

    @property
    def unmoved(self) -> Mapping[str, int]:
        """Smiles not sent for not having moved, by kind."""

    @property
    def ring_bytes(self) -> int:
        """What is kept of the stream for who comes back."""

    @property
    def ring_s(self) -> float:
        """How far back that goes."""
