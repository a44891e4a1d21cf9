"""What is said to what a subscriber asks: every request is answered by an ack or an error, in order."""

import asyncio
from collections import Counter

from kvd.config import Publish
from kvd.sinks.audience import Audience, Session
from kvd.sinks.requests import Request, RequestError, read, refuse_bad_resume, refuse_bad_topics
from kvd.sinks.topics import covers
from kvd.wire import Encoder


class Conversation:
    """Answers the frames of all sessions; `errors` counts refusals by code."""

    def __init__(self, settings: Publish, encoder: Encoder, audience: Audience, errors: Counter[str]) -> None:
        self._settings = settings
        self._encoder = encoder
        self._audience = audience
        self._errors = errors
        self._now_s = asyncio.get_running_loop().time

    def answer(self, session: Session, frame: str | bytes) -> None:
        """Do what a frame asks, or say why not."""
        try:
            if not session.bucket.take(self._now_s()):
                limit = f"{self._settings.max_messages_per_s:g} messages a second"
                raise RequestError("too_many_messages", f"more than {limit}: this one was ignored, send it again later")
            self._do(session, read(frame))
        except RequestError as error:
            self._errors[error.code] += 1
            session.outbox.put_answer({"type": "error", "code": error.code, "message": str(error)})
        self._audience.flush(session)

    def _do(self, session: Session, request: Request) -> None:
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
