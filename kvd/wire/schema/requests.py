"""What a client may send. Unknown fields are ignored."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from kvd.quotes import LockOf
from kvd.wire.schema import fields
from kvd.wire.schema.fields import Positive


class Subscribe(Struct):
    """Ask for topics: answered by ack_subscribe and a snapshot of each, or by an error."""

    op: Literal["subscribe"]
    topics: fields.Topics
    epoch: Annotated[str | UnsetType, Meta(description="The epoch of the numbers in from_seq.")] = UNSET
    from_seq: Annotated[
        dict[str, Annotated[int, Meta(ge=0)]] | UnsetType,
        Meta(
            description="By topic, the last seq that the client has: where kvd still has all that came after it, that "
            "follows as updates instead of a snapshot, else a gap and the snapshot."
        ),
    ] = UNSET


class Unsubscribe(Struct):
    """End subscriptions, named by the words that began them: answered by ack_unsubscribe or by an error."""

    op: Literal["unsubscribe"]
    topics: fields.Topics


class Ping(Struct):
    """Ask whether kvd is there: answered by ack_ping."""

    op: Literal["ping"]


class Lock(Struct):
    """Hold a smile to a parameter, or to a vol at a strike, for a while: answered by ack_lock or by an error. It wants
    a token with the scope lock. Either until or for_s says how long.
    """

    op: Literal["lock"]
    venue: fields.Venue
    underlying: fields.Underlying
    expiry: fields.ExpiryName
    of: Annotated[LockOf, Meta(description="Which parameter is held; vol is the vol at strike.")]
    value: Annotated[float, Meta(description="What it is held to, as the smile says it: vols are decimals.")]
    sd: Annotated[
        Positive, Meta(description="How firmly: the standard deviation of the observation that it counts as.")
    ]
    strike: Annotated[Positive | UnsetType, Meta(description="In the quote currency; where of is vol.")] = UNSET
    until: Annotated[datetime, Meta(tz=True, description="When to release it, ISO 8601.")] | UnsetType = UNSET
    for_s: Annotated[Positive | UnsetType, Meta(description="After how many seconds to release it.")] = UNSET


class Unlock(Struct):
    """Release what a lock holds: answered by ack_unlock or by an error. It wants a token with the scope lock."""

    op: Literal["unlock"]
    id: Annotated[str, Meta(min_length=1, description="The id of the lock, from its ack or from a smile's locked.")]


REQUESTS: dict[str, type[Struct]] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "ping": Ping,
    "lock": Lock,
    "unlock": Unlock,
}
