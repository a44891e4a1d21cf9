"""Everyone who listens: handing out messages, writing them a slice at a time, and cutting who does not drain."""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from kvd.sinks.outbox import Outbox
from kvd.sinks.requests import Bucket
from kvd.sinks.tokens import Holder
from kvd.sinks.topics import Subscriptions
from kvd.wire import Message

TICK_S = 0.05
SLICE = 64  # sockets written between two turns of the event loop: about half a millisecond
log = structlog.get_logger()


class Session:
    """One subscriber: its socket, what waits for it, and how it has been draining (loop time in s, bytes).

    `is_open` says whether frames may still be written to `transport`; `holder` is whose token it came with.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        is_open: Callable[[], bool],
        outbox: Outbox,
        bucket: Bucket,
        holder: Holder,
    ) -> None:
        self.transport = transport
        self.is_open = is_open
        self.outbox = outbox
        self.bucket = bucket
        self.holder = holder
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self.written_s = self.progress_s = 0.0
        self.progress_bytes = 0


class Audience:
    """The sessions and what they listen to. Nothing here waits but the two tasks `write_out` and `look_after`."""

    def __init__(self, stalled_after_s: float) -> None:
        self.sessions: set[Session] = set()
        self.subscriptions: Subscriptions[Session] = Subscriptions()
        self.cut: Counter[str] = Counter()
        self._stalled_after_s = stalled_after_s
        self._now_s = asyncio.get_running_loop().time
        self._unwritten: set[Session] = set()
        self._undrained: set[Session] = set()
        self._work = asyncio.Event()

    def join(self, session: Session) -> None:
        """A subscriber has come."""
        session.written_s = self._now_s()
        self.sessions.add(session)
        session.holder.clients += 1

    def leave(self, session: Session) -> None:
        """A subscriber is gone."""
        self.subscriptions.forget(session)
        session.holder.clients -= 1
        for sessions in (self.sessions, self._unwritten, self._undrained):
            sessions.discard(session)

    def hand_out(self, messages: tuple[Message, ...]) -> None:
        """Put messages into the outboxes of their listeners; they are written in the next turns of the loop."""
        self.settle()
        for message in messages:
            listeners = self.subscriptions.listeners(message.topic)
            for session in listeners:
                session.outbox.put(message)
            self._unwritten |= listeners
        if self._unwritten:
            self._work.set()

    def settle(self) -> None:
        """Write what an earlier `hand_out` has left, so that only a socket that does not drain conflates."""
        while self._unwritten:
            self.flush(self._unwritten.pop())

    def flush(self, session: Session) -> None:
        """Write what the session's socket takes, and watch a socket that does not take it all."""
        if not session.is_open():
            return
        session.outbox.flush()
        session.written_s = self._now_s()
        if session.outbox:
            session.caught_up.clear()
        if not session.outbox.drained and session not in self._undrained:
            self._undrained.add(session)
            session.progress_s, session.progress_bytes = session.written_s, session.outbox.drained_bytes

    async def write_out(self) -> None:
        """Write outboxes for ever, a slice at a time, so that a large audience does not hold up the feed."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._unwritten:
                for _ in range(min(SLICE, len(self._unwritten))):
                    self.flush(self._unwritten.pop())
                await asyncio.sleep(0)

    async def look_after(self, heartbeat_s: float, heartbeat: Callable[[], dict[str, object]]) -> None:
        """For ever: go on writing to sockets that were full, cut those that stay so, and break silences."""
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._now_s()
            for session in tuple(self._undrained):
                self._press(session, now_s)
            silent = [s for s in self.sessions - self._undrained if now_s - s.written_s >= heartbeat_s]
            for session in silent:
                session.outbox.put_answer(heartbeat())
                self.flush(session)

    def _press(self, session: Session, now_s: float) -> None:
        drained_bytes = session.outbox.drained_bytes
        if drained_bytes > session.progress_bytes:
            session.progress_bytes, session.progress_s = drained_bytes, now_s
        elif now_s - session.progress_s >= self._stalled_after_s:
            self.cut["stalled"] += 1
            log.warning("client.cut", reason="stalled", code=1013, unread=len(session.outbox))
            session.transport.abort()
        self.flush(session)
        gone = not session.is_open()
        if gone or not session.outbox:
            session.caught_up.set()
        if gone or session.outbox.drained:
            self._undrained.discard(session)
