"""The trader's hand on the daemon: the locks that stand, set and released by request, and released when they are due.

An act counts once it stands in the audit log. A lock waits for that and is refused if it cannot be; a release, by
request or in time, is never held up: its line is written as soon as that is possible. Locks end with the daemon, or go
on with the next one where there is a checkpoint (`kvd.app.restart`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from secrets import token_hex
from typing import NamedTuple

import msgspec
import structlog

from kvd.app import locks
from kvd.app.journal import Journal
from kvd.config import Locks
from kvd.quotes import Event, Lock, Unlock
from kvd.sinks.audit import AuditError
from kvd.sinks.requests import Bucket, LockRequest, RequestError, UnlockRequest
from kvd.surface import SurfaceUpdate
from kvd.wire import Encoder, iso

REFUSALS_PER_S, REFUSALS_AT_ONCE = 0.1, 20.0  # of one author that get a line of their own; more are counted
log = structlog.get_logger()


class Statistics(NamedTuple):
    """How many locks stand, and how many acts there were: ``lock``, ``unlock``, ``released``, ``refused``."""

    standing: int
    acts: dict[str, int]


class Hand:
    """Sets locks and releases them: `put` takes the events to the calibrator, `now_us` is the daemon's clock."""

    def __init__(
        self,
        settings: Locks,
        journal: Journal,
        encoder: Encoder,
        put: Callable[[Event], object],
        now_us: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._encoder = encoder
        self._put = put
        self._now_us = now_us
        self._standing: dict[str, Lock] = {}
        self._setting = 0  # locks that wait for the audit log
        self._forwards: dict[tuple[str, str, int], float] = {}
        self._acts: Counter[str] = Counter()
        self._refusals: dict[str, Bucket] = {}
        self._unlisted: Counter[str] = Counter()  # refusals by author that have no line of their own yet
        self._changed = asyncio.Event()
        self.acted: Callable[[], object] = lambda: None  # told of every lock that begins or ends to stand

    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(len(self._standing), dict(self._acts))

    def ending(self) -> dict[str, object]:
        """What the audit log is told at the end: the locks that stood till then, and refusals without a line."""
        return {"locks": sorted(self._standing), "refused_unlisted": dict(self._unlisted)}

    def locks(self) -> tuple[Lock, ...]:
        """Those that stand."""
        return tuple(self._standing.values())

    def go_on(self, kept: Iterable[Lock], since: str) -> tuple[Lock, ...]:
        """Let the locks `kept` in a checkpoint of `since` stand again, and return them: those that were due meanwhile
        are released, and all where there is no audit log.
        """
        now_us, kept = self._now_us(), tuple(kept)
        standing = tuple(lock for lock in kept if self._journal.is_kept and lock.until_us > now_us)
        for lock in kept:
            if lock not in standing:
                self._released(lock)
        self._standing = {lock.id: lock for lock in standing}
        if kept:
            self._journal.note("restored", {"checkpoint": since, "locks": [locks.content(lock) for lock in standing]})
        return standing

    def heed(self, update: SurfaceUpdate) -> None:
        """Take note of what there is to lock."""
        for smile in update.smiles:
            self._forwards[update.venue, update.underlying, smile.expiry_us] = smile.forward.value
        for expiry_us in update.withdrawn:
            self._forwards.pop((update.venue, update.underlying, expiry_us), None)

    async def lock(self, asked: LockRequest, author: str) -> Lock:
        """Let a lock stand, and return it. Raises RequestError."""
        now_us = self._now_us()
        lock = locks.read(asked, token_hex(4), author, self._settings, self._encoder, self._forwards, now_us)
        if len(self._standing) + self._setting >= self._settings.most:
            mend = f"release one of {', '.join(self._standing)}" if self._standing else "wait for those being set"
            raise RequestError("bad_lock", f"{self._settings.most} locks stand (lock.most): {mend}")
        self._setting += 1
        try:
            await self._journal.record("lock", locks.content(lock))
        except AuditError as error:
            raise RequestError("no_audit", f"no lock stands without a line in the audit log ({error})") from None
        finally:
            self._setting -= 1
        self._standing[lock.id] = lock
        self._put(msgspec.structs.replace(lock, receive_us=self._now_us()))
        self._changed.set()
        self._acts["lock"] += 1
        self.acted()
        log.info("lock.set", **locks.content(lock))
        return lock

    async def unlock(self, asked: UnlockRequest, author: str) -> None:
        """Release a lock, whoever set it. Raises RequestError."""
        lock = self._standing.pop(asked.id, None)
        if lock is None:
            there = ", ".join(f"{lock.id} of {lock.author}" for lock in self._standing.values()) or "none"
            raise RequestError("bad_lock", f"no lock {asked.id[:32]!r} stands; there are {there}")
        said = {"id": lock.id, "author": author, "set_by": lock.author}
        try:
            await self._journal.record("unlock", said)
        except AuditError:
            self._journal.note("unlock", said)
        finally:
            self._put(Unlock(lock.id, lock.venue, lock.underlying, self._now_us()))
            self._stands_no_more(lock, "unlock", author)

    def refused(self, author: str, code: str, message: str) -> None:
        """Have a refusal counted, and put on record: all of them, but not each in a line of its own."""
        self._acts["refused"] += 1
        now_s = self._now_us() / 1e6
        bucket = self._refusals.setdefault(author, Bucket(REFUSALS_PER_S, now_s, REFUSALS_AT_ONCE))
        if not bucket.take(now_s):
            self._unlisted[author] += 1
            return
        said: dict[str, object] = {"author": author, "code": code, "message": message[:300]}
        more = self._unlisted.pop(author, 0)
        self._journal.note("refused", said | ({"unlisted_before": more} if more else {}))

    async def release(self) -> None:
        """Release every lock when it is due, for ever."""
        while True:
            self._changed.clear()
            now_us = self._now_us()
            for lock in [lock for lock in self._standing.values() if lock.until_us <= now_us]:
                del self._standing[lock.id]
                self._released(lock)
                self._put(Unlock(lock.id, lock.venue, lock.underlying, self._now_us()))
            next_us = min((lock.until_us for lock in self._standing.values()), default=None)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if next_us is None else (next_us - now_us) / 1e6):
                    await self._changed.wait()

    def _released(self, lock: Lock) -> None:
        self._journal.note("released", {"id": lock.id, "set_by": lock.author, "until": iso(lock.until_us)})
        self._stands_no_more(lock, "released", lock.author)

    def _stands_no_more(self, lock: Lock, act: str, author: str) -> None:
        self._acts[act] += 1
        self.acted()
        log.info("lock.released", id=lock.id, act=act, author=author)
