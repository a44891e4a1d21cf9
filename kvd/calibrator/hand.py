"""The trader's hand: what locks and limits make of the smiles that are shown.

The filter never hears of either. What the market alone would show of a slice is conditioned on what is claimed of it,
its locks and the limits that it would break (`kvd.core.condition`), and the surface that comes of it made free of
arbitrage like any other. Where no such surface is near, the claims pull less far: the numbers claimed are moved back
towards the market's, and nearer again when it is time to see whether more is possible.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import limits
from kvd.calibrator.limits import LIMIT_SD
from kvd.config import Limits
from kvd.core import condition
from kvd.core.condition import Claims, Slice
from kvd.core.dynamics import Dynamics
from kvd.core.svi import CURVATURE, LEVEL, SKEW
from kvd.quotes import Event, Lock, LockOf, Unlock
from kvd.surface import Locked, Parameters, Smile

Floats = NDArray[np.float64]

ACTS = Lock, Unlock
LEAST_SD = 1e-5  # no claim is taken to be more certain, or what is left of a covariance would be rounding
MOVED_SDS, MOVED = 0.1, 1e-5  # what is shown of a locked vol is shown again once it has moved by that part of the sd
SHARES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the way from the market's number to the one claimed
STEPS = len(SHARES) - 1
STRIDE = 2  # steps back at a time: every attempt costs a projection that fails
HELD_TO = 0.75  # a claim that a projection leaves less of its pull is moved back, too
RETRY_US = 10_000_000
LIMITED: tuple[LockOf, ...] = ("atm_vol", "skew", "curvature")


class Touched(NamedTuple):
    """One slice as the hand would have it, what is published as holding it there, and since when that is as near as
    can be, or None. Of its `claims` (m,), the numbers as the `market` has them and as they came out (`wanted`).
    """

    slice: Slice
    locked: tuple[Locked, ...]
    short_since_us: int | None
    claims: Claims
    market: Floats
    wanted: Floats

    def is_short(self, x: Floats, u: Floats) -> bool:
        """Whether the slice as it may be shown, `x` (5,) and `u` (M,), leaves a claim too little of its pull."""
        got, _ = condition.numbers(x, u, self.slice.tau, self.claims)
        away, pull = np.abs(got - self.wanted), np.abs(self.wanted - self.market)
        return bool((away > np.maximum(3 * self.claims.sd, (1 - HELD_TO) * pull)).any())


class Reach(NamedTuple):
    """How many of the `STEPS` towards what is claimed of an expiry are taken, when and with what `stride` that was last
    changed, and since when there is need to ask.
    """

    steps: int
    tried_us: int
    since_us: int
    stride: int = STRIDE


FULL = Reach(STEPS, 0, 0)


class HandState(NamedTuple):
    """The locks, what was shown of locked vols, how far each expiry's claims are followed, and who is to be shown."""

    locks: list[Lock]
    said: dict[str, float]
    reach: dict[int, Reach]
    news: set[int]
    underway: set[int]


class Hand:
    """The locks on one underlying and the limits in force, and how far they could be followed.

    `news` holds the expiries to be shown again for a lock or an unlock, `underway` those that a limit on their speed
    holds back.
    """

    def __init__(self, settings: Limits, dynamics: Dynamics) -> None:
        self._limits, self._dynamics = settings, dynamics
        self._limited = limits.in_force(settings)
        self._bounds = np.concatenate(limits.bounds(settings)).tolist()
        self._locks: dict[str, Lock] = {}
        self._said: dict[str, float] = {}  # the vol that was shown at a locked strike
        self._reach: dict[int, Reach] = {}
        self.news: set[int] = set()
        self.underway: set[int] = set()

    def state(self) -> HandState:
        """What it holds now."""
        said, reach, news, underway = self._said, self._reach, self.news, self.underway
        return HandState([*self._locks.values()], said.copy(), reach.copy(), news.copy(), underway.copy())

    def restore(self, state: HandState) -> None:
        """Hold what it held then."""
        locks, self._said, self._reach, self.news, self.underway = state
        self._locks = {lock.id: lock for lock in locks}

    @property
    def idle(self) -> bool:
        """Whether the market's surface is shown as it is, for all the hand knows."""
        return not (self._locks or self._limited or self.news)

    def hear(self, events: Iterable[Event]) -> None:
        """Take the locks and unlocks among `events`; a lock replaces another of the same id."""
        for event in events:
            if isinstance(event, ACTS):
                self._release(event.id)
                if isinstance(event, Lock):
                    self._locks[event.id] = event
                    self._changed(event.expiry_us)

    def expire(self, now_us: int) -> None:
        """Drop the locks on expiries whose instant has come, and whatever else is known of these."""
        if self.idle:
            return
        for lock in [lock for lock in self._locks.values() if lock.expiry_us <= now_us]:
            self._release(lock.id)
        self.news = {e for e in self.news if e > now_us}
        self.underway = {e for e in self.underway if e > now_us}
        for expiry_us in [e for e in self._reach if e <= now_us]:
            del self._reach[expiry_us]

    def _release(self, id_: str) -> None:
        lock = self._locks.pop(id_, None)
        self._said.pop(id_, None)
        if lock is not None:
            self._changed(lock.expiry_us)

    def _changed(self, expiry_us: int) -> None:
        self.news.add(expiry_us)
        self._reach.pop(expiry_us, None)  # what is claimed now may be within reach

    def locks(self, expiry_us: int) -> list[Lock]:
        """The locks on an expiry."""
        return [lock for lock in self._locks.values() if lock.expiry_us == expiry_us]

    def begin(self, now_us: int) -> None:
        """Go one step nearer to the claims that could not be followed, where it is time to try; nothing is `underway`
        until it is touched.
        """
        self.underway.clear()
        self._reach = {e: reach for e, reach in self._reach.items() if reach.steps < STEPS}
        for expiry_us, reach in self._reach.items():
            if now_us - reach.tried_us >= RETRY_US:
                self._reach[expiry_us] = reach._replace(steps=reach.steps + 1, tried_us=now_us, stride=1)

    def moved_back(self, expiry_us: int, now_us: int) -> bool:
        """Move the claims on an expiry back by a step; False if they are back at the market's numbers already."""
        reach = self._reach.get(expiry_us) or Reach(STEPS, now_us, now_us)
        if not reach.steps:
            return False
        self._reach[expiry_us] = reach._replace(steps=max(reach.steps - reach.stride, 0), tried_us=now_us)
        return True

    def leaves(self, x: Floats, expiry_us: int, last: Smile | None, publish_us: int) -> bool:
        """Whether nothing is claimed of an expiry, of which `last` was shown, with the market at `x` (5,)."""
        return not self.locks(expiry_us) and not (self._limited and _broken(x, *self._within(last, publish_us), ()))

    def touch(self, market: Slice, expiry_us: int, forward: float, last: Smile | None, publish_us: int) -> Touched:
        """The slice of an expiry, of which `last` was shown, as the hand would have it."""
        locked, reach = [_of_lock(lock) for lock in self.locks(expiry_us)], self._reach.get(expiry_us, FULL)
        touched = self._followed(market, locked, forward, reach)
        if self._limited:
            low, high = self._within(last, publish_us)
            while broken := _broken(touched.slice.x, low, high, locked):
                if any(limit.value not in self._bounds for limit in broken):
                    self.underway.add(expiry_us)
                locked += broken
                touched = self._followed(market, locked, forward, reach)
        return touched

    def _within(self, last: Smile | None, publish_us: int) -> tuple[Floats, Floats]:
        """The least and the greatest ATM vol, skew and curvature that may be shown after `last`, (3,) each."""
        return limits.bounds(self._limits) if last is None else limits.reachable(self._limits, last, publish_us)

    def _followed(self, market: Slice, locked: Sequence[Locked], forward: float, reach: Reach) -> Touched:
        """The slice held to what it is `locked` to, as far as that is within `reach`."""
        claims = _claims(locked, forward)
        found, _ = condition.numbers(market.x, market.u, market.tau, claims)
        told = tuple(lock._replace(market=value) for lock, value in zip(locked, found.tolist(), strict=True))
        since_us = reach.since_us if reach.steps < STEPS else None
        if not locked or not reach.steps:
            return Touched(market, told, since_us, claims, found, found)
        claims = claims._replace(value=found + SHARES[reach.steps] * (claims.value - found))
        after = condition.condition(condition.loosened(market, claims, self._dynamics), claims)
        wanted, _ = condition.numbers(after.x, after.u, after.tau, claims)
        return Touched(after, told, since_us, claims, found, wanted)

    def stirred(self, now: Mapping[int, tuple[float, float]], shown: Mapping[int, Smile]) -> set[int]:
        """The expiries that must be shown again whatever the market does: for news, because a limit holds them back, or
        because the vol at a locked strike is another by `now`, today's forward and time to expiry of each that is
        `shown`.
        """
        moved = {
            lock.expiry_us
            for lock in self._locks.values()
            if lock.expiry_us in shown and lock.id in self._said and self._has_moved(lock, now, shown)
        }
        return (self.news | self.underway | moved) & shown.keys()

    def _has_moved(self, lock: Lock, now: Mapping[int, tuple[float, float]], shown: Mapping[int, Smile]) -> bool:
        smile, (forward, tau) = shown[lock.expiry_us], now[lock.expiry_us]
        read = smile._replace(tau=tau, forward=smile.forward._replace(value=forward))
        return abs(float(read.vol(lock.strike or 1.0)) - self._said[lock.id]) > max(MOVED_SDS * lock.sd, MOVED)

    def told(self, smile: Smile) -> None:
        """Remember what was shown of the locked vols of an expiry."""
        for lock in self._locks.values():
            if lock.expiry_us == smile.expiry_us and lock.strike is not None:
                self._said[lock.id] = float(smile.vol(lock.strike))


def _of_lock(lock: Lock) -> Locked:
    return Locked(lock.id, lock.of, lock.strike, lock.value, lock.sd, lock.author, lock.until_us, math.nan)


def _broken(x: Floats, low: Floats, high: Floats, already: Sequence[Locked]) -> list[Locked]:
    """The limits from `low` to `high` (3,) that a slice at `x` (5,) breaks, as what it is to be held to; those that it
    is `already` held to are not among them.
    """
    values = np.array((np.exp(x[LEVEL]), x[SKEW], np.exp(x[CURVATURE])))
    held = {lock.of for lock in already if not lock.id}
    nearest = np.clip(values, low, high)
    return [
        Locked("", of, None, bound, LIMIT_SD, "limits", None, math.nan)
        for of, value, bound in zip(LIMITED, values.tolist(), nearest.tolist(), strict=True)
        if of not in held and abs(value - bound) > limits.HARDLY
    ]


def _claims(locked: Sequence[Locked], forward: float) -> Claims:
    names = (*Parameters._fields, "vol")
    return Claims(
        np.array([names.index(lock.of) for lock in locked], dtype=np.intp),
        np.array([0.0 if lock.strike is None else math.log(lock.strike / forward) for lock in locked]),
        np.array([lock.value for lock in locked]),
        np.array([max(lock.sd, LEAST_SD) for lock in locked]),
    )
