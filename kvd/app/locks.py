"""What a lock may be: a request read against what is published, and refused with the mend where it makes no sense."""

from collections.abc import Mapping
from datetime import datetime

from kvd.config import Locks
from kvd.quotes import Lock, LockOf
from kvd.sinks.requests import LockRequest, RequestError
from kvd.wire import Encoder, iso

VALUES: dict[LockOf, tuple[float, float]] = {  # what lies outside is a slip of the hand: a vol in percent, a sign
    "atm_vol": (0.01, 5.0),
    "vol": (0.01, 5.0),
    "skew": (-2.0, 2.0),
    "curvature": (0.001, 10.0),
    "put_wing": (0.0, 5.0),
    "call_wing": (0.0, 5.0),
}
LEAST_SD, MOST_SD = 1e-5, 1.0
STRIKE_FACTOR = 10.0
SECOND_US = 1_000_000
Forwards = Mapping[tuple[str, str, int], float]  # by venue, underlying and expiry (us)


def read(
    asked: LockRequest, id_: str, author: str, settings: Locks, encoder: Encoder, forwards: Forwards, now_us: int
) -> Lock:
    """The lock that is asked for. Raises RequestError ``bad_lock``."""
    expiry_us = _expiry(asked, encoder)
    _check_numbers(asked)
    if asked.strike is not None:
        _check_strike(asked.strike, forwards.get((asked.venue, asked.underlying, expiry_us)))
    until_us = _until(asked, settings, now_us)
    if until_us >= expiry_us:
        raise _bad(f"the expiry settles at {iso(expiry_us)}: let the lock end before")
    return Lock(
        id=id_,
        venue=asked.venue,
        underlying=asked.underlying,
        expiry_us=expiry_us,
        of=asked.of,
        strike=asked.strike,
        value=asked.value,
        sd=asked.sd,
        author=author,
        until_us=until_us,
        receive_us=now_us,
    )


def content(lock: Lock) -> dict[str, object]:
    """A lock as the audit log holds it."""
    fields = {
        "id": lock.id,
        "author": lock.author,
        "venue": lock.venue,
        "underlying": lock.underlying,
        "expiry": iso(lock.expiry_us),
        "of": lock.of,
        "strike": lock.strike,
        "value": lock.value,
        "sd": lock.sd,
        "until": iso(lock.until_us),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _bad(message: str) -> RequestError:
    return RequestError("bad_lock", message)


def _expiry(asked: LockRequest, encoder: Encoder) -> int:
    expiry_us = encoder.expiry_us(f"smile.{asked.venue}.{asked.underlying}.{asked.expiry}")
    if expiry_us is not None:
        return expiry_us
    family = f"{asked.venue}.{asked.underlying}"
    names = [topic.removeprefix("smile.").split(".") for topic in encoder.topics() if topic.startswith("smile.")]
    there = sorted({expiry for venue, underlying, expiry in names if f"{venue}.{underlying}" == family})
    if there:
        raise _bad(f"{family[:64]} has no expiry {asked.expiry[:32]!r}; there are {', '.join(there)}")
    families = sorted({f"{underlying} of {venue}" for venue, underlying, _ in names})
    raise _bad(f"there is no smile of {family[:64]!r}; there are {', '.join(families) or 'none yet'}")


def _check_numbers(asked: LockRequest) -> None:
    low, high = VALUES[asked.of]
    if not low < asked.value < high:
        unit = "; vols are decimals, 0.55 is 55 %" if asked.of in ("vol", "atm_vol") else ""
        raise _bad(f'"value" {asked.value:g} is no {asked.of}: choose one between {low:g} and {high:g}{unit}')
    if not LEAST_SD <= asked.sd <= MOST_SD:
        raise _bad(f'"sd" {asked.sd:g} is out of range: it says how firm the lock is, from {LEAST_SD:g} to {MOST_SD:g}')
    if (asked.of == "vol") != (asked.strike is not None):
        mend = 'a vol is locked at a strike: add "strike"' if asked.of == "vol" else 'leave out "strike"'
        raise _bad(f'"of" is {asked.of}: {mend}, or let "of" be {"vol" if asked.strike is not None else "atm_vol"}')


def _check_strike(strike: float, forward: float | None) -> None:
    if forward is None or not forward / STRIKE_FACTOR <= strike <= forward * STRIKE_FACTOR:
        near = (
            "" if forward is None else f": the forward is {forward:g}, and a strike lies within a factor of ten of it"
        )
        raise _bad(f'"strike" {strike:g} is no strike of this expiry{near}')


def _until(asked: LockRequest, settings: Locks, now_us: int) -> int:
    if (asked.until is None) == (asked.for_s is None):
        raise _bad('say when the lock ends: either "until", such as 2026-12-25T08:00:00Z, or "for_s", in seconds')
    longest_s = settings.longest_h * 3600
    if asked.for_s is not None:
        if not 0 < asked.for_s <= longest_s:
            raise _bad(f'"for_s" {asked.for_s:g} is out of range: above 0 and at most {longest_s:g} (lock.longest_h)')
        return now_us + round(asked.for_s * SECOND_US)
    try:
        until = datetime.fromisoformat(asked.until or "")
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        raise _bad(f'"until" {(asked.until or "")[:32]!r} is no time: write it in UTC, such as 2026-12-25T08:00:00Z')
    until_us = round(until.timestamp() * SECOND_US)
    if not now_us < until_us <= now_us + longest_s * SECOND_US:
        limit = f"at most {settings.longest_h:g} hours ahead (lock.longest_h)"
        raise _bad(f'"until" {iso(until_us)} is out of range: after now, {iso(now_us)}, and {limit}')
    return until_us
