"""What kvd sends on the stream: acks and errors, snapshots, updates, gaps, heartbeats and status."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from kvd.wire.schema import bodies, fields
from kvd.wire.schema.fields import instant

ERRORS = {
    "bad_frame": "a frame of the wrong kind for the coding: text for JSON, binary for MessagePack",
    "bad_json": "a frame that is not JSON",
    "bad_msgpack": "a frame that is not MessagePack",
    "bad_request": "not a request, or a field of it is missing or wrong",
    "bad_topic": "a pattern that can match no topic",
    "not_subscribed": "unsubscribe from what was not subscribed to by these words",
    "too_many_subscriptions": "more patterns than a client may have",
    "too_many_messages": "more requests a second than a client may send; this one was ignored",
    "forbidden": "lock or unlock without a token whose scopes have lock",
    "bad_lock": "a lock that cannot be, or an unlock of what is not locked",
    "no_audit": "a lock where no audit log is kept, which every lock needs",
}
ErrorCode = Annotated[
    str,
    Meta(
        description="; ".join(f"{code}: {why}" for code, why in ERRORS.items()) + ".",
        extra_json_schema={"enum": list(ERRORS)},
    ),
]
Said = Annotated[str, Meta(min_length=1, description="What is wrong and how to mend it, for people.")]


class AckSubscribe(Struct):
    """A subscription begins: one snapshot follows for each topic that matches now and is not resumed."""

    type: Literal["ack"]
    op: Literal["subscribe"]
    topics: Annotated[list[str], Meta(description="The patterns, sorted.")]
    matching: Annotated[int, Meta(ge=0, description="The number of topics that exist now; 0 is no error.")]
    resumed: Annotated[
        list[fields.AnyTopic] | UnsetType,
        Meta(description="The topics whose missed messages follow as updates, without a snapshot."),
    ] = UNSET


class AckUnsubscribe(Struct):
    """A subscription has ended."""

    type: Literal["ack"]
    op: Literal["unsubscribe"]
    topics: Annotated[list[str], Meta(description="The patterns, sorted.")]


class AckPing(Struct):
    """kvd is there."""

    type: Literal["ack"]
    op: Literal["ping"]


class AckLock(Struct):
    """A lock was accepted and is in the audit log; the next update of the smile says what it did."""

    type: Literal["ack"]
    op: Literal["lock"]
    id: Annotated[str, Meta(min_length=1, description="Its name, for unlock.")]
    until: Annotated[datetime, instant("When it is released.")]


class AckUnlock(Struct):
    """A lock was released."""

    type: Literal["ack"]
    op: Literal["unlock"]
    id: Annotated[str, Meta(min_length=1, description="The lock's name.")]


class SmileSnapshot(Struct):
    """The newest whole smile of every expiry of a surface or smile topic. Replace what you hold of the topic."""

    type: Literal["snapshot"]
    topic: fields.SurfaceOrSmileTopic
    seq: fields.NewestSeq
    epoch: fields.Epoch
    smiles: Annotated[list[bodies.Smile], Meta(description="Nearest expiry first.")]


class AtmSnapshot(Struct):
    """The newest record of every expiry of an atm topic. Replace what you hold of the topic."""

    type: Literal["snapshot"]
    topic: fields.AtmTopic
    seq: fields.NewestSeq
    epoch: fields.Epoch
    smiles: Annotated[list[bodies.Atm], Meta(description="Nearest expiry first.")]


class StatusSnapshot(Struct):
    """The newest record of every feed."""

    type: Literal["snapshot"]
    topic: Literal["status"]
    seq: fields.NewestSeq
    epoch: fields.Epoch
    status: Annotated[list[bodies.FeedStatus], Meta(description="One record a venue.")]


class SmileUpdate(Struct):
    """A new smile of one expiry in a surface or smile topic, always whole."""

    type: Literal["update"]
    topic: fields.SurfaceOrSmileTopic
    seq: fields.Seq
    prev_seq: fields.PrevSeq
    epoch: fields.Epoch
    smile: Annotated[bodies.Smile, Meta(description="It replaces what you hold of its expiry.")]


class AtmUpdate(Struct):
    """A new record of one expiry in an atm topic."""

    type: Literal["update"]
    topic: fields.AtmTopic
    seq: fields.Seq
    prev_seq: fields.PrevSeq
    epoch: fields.Epoch
    smile: Annotated[bodies.Atm, Meta(description="It replaces what you hold of its expiry.")]


class Withdrawal(Struct):
    """An expiry left; told once in its surface, smile and atm topics."""

    type: Literal["update"]
    topic: fields.AnyTopic
    seq: fields.Seq
    prev_seq: fields.PrevSeq
    epoch: fields.Epoch
    smile: Annotated[bodies.Withdrawn, Meta(description="Forget what you hold of its expiry.")]


class Status(Struct):
    """A feed came or went."""

    type: Literal["status"]
    topic: Literal["status"]
    seq: fields.Seq
    prev_seq: fields.PrevSeq
    epoch: fields.Epoch
    status: Annotated[bodies.FeedStatus, Meta(description="It replaces the older record of its venue.")]


class Gap(Struct):
    """Messages of a topic that this client will not get. The newest of each smile concerned follows, or a snapshot."""

    type: Literal["gap"]
    topic: fields.AnyTopic
    from_seq: Annotated[int, Meta(ge=1, description="The first number that is missing.")]
    to_seq: Annotated[int, Meta(ge=0, description="The last number that is missing.")]
    epoch: fields.Epoch
    reason: Annotated[
        Literal["slow", "new_epoch", "too_old", "unknown_seq"],
        Meta(
            description="slow: the client read too slowly; new_epoch: kvd was started anew; too_old: more was missed "
            "than kvd keeps; unknown_seq: the number to resume from is none of this epoch's."
        ),
    ]


class Heartbeat(Struct):
    """kvd is there, after a while in which it had nothing to send."""

    type: Literal["heartbeat"]
    epoch: fields.Epoch
    time: Annotated[datetime, instant("When it was sent, by kvd's clock.")]


class Error(Struct):
    """A request that was refused. It does not end the connection."""

    type: Literal["error"]
    code: ErrorCode
    message: Said


ANSWERS: dict[str, type[Struct]] = {
    "subscribe": AckSubscribe,
    "unsubscribe": AckUnsubscribe,
    "ping": AckPing,
    "lock": AckLock,
    "unlock": AckUnlock,
}
MESSAGES: tuple[type[Struct], ...] = (
    *ANSWERS.values(),
    Error,
    SmileSnapshot,
    AtmSnapshot,
    StatusSnapshot,
    SmileUpdate,
    AtmUpdate,
    Withdrawal,
    Status,
    Gap,
    Heartbeat,
)
