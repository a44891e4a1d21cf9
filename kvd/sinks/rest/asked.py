"""What a request for a page under /v1 asks, read from its address; every refusal says the mend."""

from datetime import UTC, datetime, timedelta

from kvd.sinks.answers import refusal
from kvd.sinks.history import Family
from kvd.wire import Encoder, iso

Query = dict[str, list[str]]  # as `urllib.parse.parse_qs` gives it: names and the values of each, at least one

LEAST, GREATEST = 1e-12, 1e15  # of a strike, so that no ratio to a forward leaves the numbers there are
LONGEST = 64  # of a stranger's word that is said again in an answer
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """A page that cannot be had; `page` is what is answered instead."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.page = refusal(status, code, message)


def perhaps(query: Query, name: str) -> str | None:
    """The value of `name`, the first if there are several, or None."""
    return query[name][0] if name in query else None


def needed(query: Query, name: str, such_as: str) -> str:
    """The value of `name`. Raises Refused where it is missing."""
    value = perhaps(query, name)
    if not value:
        raise Refused(400, "bad_query", f"say {name}=, such as {such_as}")
    return value


def instant(query: Query, name: str) -> int | None:
    """The instant that `name` says in ISO 8601, UTC unless it says otherwise, in microseconds; None where it is not
    there.
    """
    value = perhaps(query, name)
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value.replace(" ", "+"))  # a plus sign in an address means a space
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        such = f"{name}={iso(0)[:16]}Z"
        raise Refused(400, "bad_query", f"{value[:LONGEST]!r} is no instant: write {name} as in {such}") from None


def positives(query: Query, name: str, most: int) -> list[float]:
    """The numbers from `LEAST` to `GREATEST` that `name` says, at least one and at most `most`."""
    needed(query, name, f"{name}=65000; it may be said up to {most} times")
    if len(query[name]) > most:
        raise Refused(400, "bad_query", f"{name} was said {len(query[name])} times: say it up to {most} times")
    return [_positive(name, value) for value in query[name]]


def families(encoder: Encoder, underlying: str, venue: str | None) -> list[Family]:
    """The venues, of all or of `venue` alone, that have a surface of `underlying`. Raises Refused naming what there is
    where there is none.
    """
    every = sorted(encoder.surfaces())
    found = [family for family in every if family[1] == underlying and venue in (None, family[0])]
    if not found:
        there = ", ".join(f"{name} of {at}" for at, name in every) or "none yet: see /readyz?verbose"
        wanted = underlying[:LONGEST] if venue is None else f"{underlying[:LONGEST]} of {venue[:LONGEST]}"
        raise Refused(404, "no_surface", f"there is no surface of {wanted!r}; there are {there}")
    return found


def _positive(name: str, value: str) -> float:
    try:
        number = float(value.replace(" ", "+"))
    except ValueError:
        number = 0.0
    if not LEAST <= number <= GREATEST:
        raise Refused(400, "bad_query", f"{name}={value[:LONGEST]} is no number from {LEAST:g} to {GREATEST:g}")
    return number
