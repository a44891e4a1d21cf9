"""What is said to what a subscriber asks: every request is answered by an ack or an error, in order."""

import asyncio
from collections import Counter
from typing import Protocol

from kvd.config import Publish
from kvd.quotes import Lock
from kvd.sinks.audience import Audience, Session
from kvd.sinks.requests import (
    LockRequest,
    Request,
    RequestError,
    UnlockRequest,
    read,
    refuse_bad_resume,
    refuse_bad_topics,
)
from kvd.wire import Encoder, covers, iso

ACTS = frozenset({"forbidden", "bad_lock", "no_audit"})  # codes of the refusals that the desk is told of
TOO_MANY = "too_many_messages"
PAUSE_S = 0.01  # in which a client that sends too much is not heard: its frames wait in its own buffers


class Desk(Protocol):
    """Where locks are set and released. Both may wait, until the act stands in the audit log."""

    async def lock(self, asked: LockRequest, author: str) -> Lock:
        """Let a lock stand, and return it. Raises RequestError."""

    async def unlock(self, asked: UnlockRequest, author: str) -> None:
        """Release a lock. Raises RequestError."""

    def refused(self, author: str, code: str, message: str) -> None:
        """Be told of a lock or an unlock that was refused."""


class Conversation:
    """Answers the frames of all sessions; `errors` counts refusals by code. Without a `desk` nobody may lock."""

    def __init__(
        self, settings: Publish, encoder: Encoder, audience: Audience, errors: Counter[str], desk: Desk | None = None
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._audience = audience
        self._errors = errors
        self._desk = desk
        self._now_s = asyncio.get_running_loop().time

    async def answer(self, session: Session, frame: str | bytes) -> None:
        """Do what a frame asks, or say why not. Who has sent too much is not heard for a moment."""
        too_many = False
        try:
            self._ration(session)
            request = read(frame, session.outbox.coding)
            if isinstance(request, Request):
                self._do(session, request)
            else:
                await self._act(session, request)
        except RequestError as error:
            self._refuse(session, error)
            too_many = error.code == TOO_MANY
        self._audience.flush(session)
        if too_many:
            await asyncio.sleep(PAUSE_S)

    def _ration(self, session: Session) -> None:
        """Raise RequestError if the connection, or its token over all connections, has sent too much."""
        now_s = self._now_s()
        if not session.bucket.take(now_s):
            limit = f"{self._settings.max_messages_per_s:g} messages a second"
        elif not session.holder.take(now_s):
            limit = f"{self._settings.max_messages_per_s_per_token:g} messages a second of this token"
        else:
            return
        raise RequestError(TOO_MANY, f"more than {limit}: this one was ignored, send it again later")

    def _refuse(self, session: Session, error: RequestError) -> None:
        self._errors[error.code] += 1
        session.holder.refused[error.code] += 1
        if self._desk is not None and error.code in ACTS:
            self._desk.refused(session.holder.name, error.code, str(error))
        session.outbox.put_answer({"type": "error", "code": error.code, "message": str(error)})

    async def _act(self, session: Session, request: LockRequest | UnlockRequest) -> None:
        if self._desk is None:
            raise RequestError("forbidden", "nobody may lock here: this kvd serves what was recorded")
        if not session.holder.may_lock:
            name = session.holder.name
            mend = f"give {name} the scope read+lock" if name else "let there be a token NAME:read+lock:TOKEN"
            raise RequestError("forbidden", f"this takes a token with the scope lock: {mend} in KVD_PUBLISH_TOKENS")
        if isinstance(request, LockRequest):
            lock = await self._desk.lock(request, session.holder.name)
            session.outbox.put_answer({"type": "ack", "op": "lock", "id": lock.id, "until": iso(lock.until_us)})
        else:
            await self._desk.unlock(request, session.holder.name)
            session.outbox.put_answer({"type": "ack", "op": "unlock", "id": request.id})

    def _do(self, session: Session, request: Request) -> None:
        self._audience.settle_one(session)
        topics = sorted(set(request.topics))
        if request.op == "subscribe":
            self._subscribe(session, request, topics)
        elif request.op == "unsubscribe":
            unknown = set(topics) - self._audience.subscriptions.of(session)
            if unknown:
                raise RequestError(
                    "not_subscribed", f"not subscribed to {min(unknown)[:128]!r}: name it as when subscribing"
                )
            self._audience.subscriptions.remove(session, topics)
            session.outbox.put_answer({"type": "ack", "op": "unsubscribe", "topics": topics})
        else:
            session.outbox.put_answer({"type": "ack", "op": "ping"})

    def _subscribe(self, session: Session, request: Request, topics: list[str]) -> None:
        refuse_bad_topics(topics)
        refuse_bad_resume(request)
        limit = self._settings.max_subscriptions
        if len(self._audience.subscriptions.of(session).union(topics)) > limit:
            raise RequestError("too_many_subscriptions", f"more than {limit} topics: unsubscribe from some, or use *")
        self._audience.subscriptions.add(session, topics)
        patterns = set(topics)
        known = [topic for topic in self._encoder.topics() if covers(patterns, topic)]
        ack = {"type": "ack", "op": "subscribe", "topics": topics, "matching": len(known)}
        heard = request.from_seq or {}
        lost = {topic: self._encoder.lost(topic, seq, request.epoch or "") for topic, seq in heard.items()}
        if request.from_seq is not None:
            ack["resumed"] = [topic for topic, why in lost.items() if why is None]
        session.outbox.put_answer(ack)
        for topic in known:
            if topic not in heard:
                session.outbox.put_snapshot(topic)
        for topic, why in lost.items():
            if why is None:
                session.outbox.put_resumed(topic, heard[topic])
            else:
                session.outbox.put_restart(topic, heard[topic] if why == "too_old" else 0, why)
