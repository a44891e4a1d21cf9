"""Everyone who listens: handing out messages, writing them a slice at a time, and cutting who does not drain.

Who listens to the same is sent the same bytes. They go straight to a socket that took all before them, and are all that
a delivery there touches: among a thousand subscribers nothing else of theirs is in the processor's caches. Only where
something waits do messages take their slots in the outbox.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

import structlog

from kvd.sinks.frames import Bundle
from kvd.sinks.held import reset
from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally
from kvd.sinks.requests import Bucket
from kvd.sinks.subscriptions import Group, Subscriptions
from kvd.sinks.tokens import Holder
from kvd.wire import Coding, Message

TICK_S = 0.05
SURVEYS = 10  # of all sockets, within the time after which one is silent or stalled
SLICE, SLICE_BYTES = 48, 2**21  # written in one turn of the event loop: about half a millisecond
log = structlog.get_logger()


class Session:
    """One subscriber: its socket, what waits for it, and how it has been draining (loop time in s, bytes).

    `is_open` says whether frames may still be written to `transport`; `holder` is whose token it came with; `sent_seq`
    is the outbox's.
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
        self.sent_seq = outbox.sent_seq
        self.bucket = bucket
        self.holder = holder
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self.written_s = self.progress_s = 0.0
        self.progress_bytes = 0


class Delivery:
    """A bundle on its way to those who listened when it was handed out; the first `done` of them have it."""

    __slots__ = ("bundle", "done", "sessions")

    def __init__(self, bundle: Bundle, sessions: tuple[Session, ...]) -> None:
        self.bundle = bundle
        self.sessions = sessions
        self.done = 0


class Audience:
    """The sessions and what they listen to. Nothing here waits but the two tasks `write_out` and `look_after`."""

    def __init__(self, stalled_after_s: float, tally: Tally) -> None:
        self.sessions: set[Session] = set()
        self.subscriptions: Subscriptions[Session, Coding] = Subscriptions(lambda session: session.outbox.coding)
        self.cut: Counter[str] = Counter()
        self._stalled_after_s = stalled_after_s
        self._tally = tally
        self._now_s = asyncio.get_running_loop().time
        self._deliveries: deque[Delivery] = deque()
        self._underway: set[object] = set()  # the keys of the messages in them
        self._undrained: set[Session] = set()  # who is not in it has an empty outbox
        self._work = asyncio.Event()
        self._closed = False

    def join(self, session: Session) -> None:
        """A subscriber has come."""
        session.written_s = self._now_s()
        self.sessions.add(session)
        session.holder.clients += 1

    def leave(self, session: Session) -> None:
        """A subscriber is gone."""
        self.subscriptions.forget(session)
        session.holder.clients -= 1
        self.sessions.discard(session)
        self._undrained.discard(session)

    def hand_out(self, messages: tuple[Message, ...]) -> None:
        """Have messages written to their listeners in the next turns of the loop.

        Should a smile come again before it is with everybody, all is written at once: only a socket that does not drain
        conflates.
        """
        if self._closed:
            return
        if not self._underway.isdisjoint(message.key for message in messages):
            self.settle()
        heard: dict[Group[Session, Coding], list[Message]] = {}
        for message in messages:
            for group in self.subscriptions.groups(message.topic):
                heard.setdefault(group, []).append(message)
        bundles: dict[tuple[Coding, tuple[Message, ...]], Bundle] = {}
        for group, its in heard.items():
            same = (group.kind, tuple(its))
            bundle = bundles[same] = bundles.get(same) or Bundle(same[1], group.kind)
            self._deliveries.append(Delivery(bundle, group.clients))
        if heard:
            self._underway.update(message.key for message in messages)
            self._work.set()

    def settle(self) -> None:
        """Write what is on its way to anybody."""
        while self._deliveries:
            self._write_slice()

    def settle_one(self, session: Session) -> None:
        """Write what is on its way to `session`, as it must be before an answer."""
        for delivery in self._deliveries:
            others = tuple(other for other in delivery.sessions[delivery.done :] if other is not session)
            if len(others) < len(delivery.sessions) - delivery.done:
                self._deliver(delivery.bundle, (session,))
                delivery.sessions, delivery.done = others, 0

    def close(self) -> None:
        """Write what is on its way, and nothing that is handed out later."""
        self.settle()
        self._closed = True

    async def caught_up(self, within_s: float) -> None:
        """Wait until no message waits for anybody whose socket still takes some, for `within_s` at most."""
        until_s = self._now_s() + within_s
        while any(session.outbox for session in self._undrained) and self._now_s() < until_s:  # noqa: ASYNC110 sockets
            await asyncio.sleep(TICK_S)

    def flush(self, session: Session) -> None:
        """Write what the session's socket takes, and watch a socket that does not take it all."""
        if not session.is_open():
            return
        session.outbox.flush()
        session.written_s = self._now_s()
        if session.outbox:
            session.caught_up.clear()
        if not session.outbox.drained:
            self._watch(session)

    async def write_out(self) -> None:
        """Write for ever, a slice at a time, so that a large audience does not hold up the feed."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._deliveries:
                self._write_slice()
                await asyncio.sleep(0)

    async def look_after(self, heartbeat_s: float, heartbeat: Callable[[], dict[str, object]]) -> None:
        """For ever: go on writing to sockets that were full, cut those that stay so, and break silences."""
        every_s = min(heartbeat_s, self._stalled_after_s) / SURVEYS
        surveyed_s = self._now_s()
        while True:
            await asyncio.sleep(min(TICK_S, every_s))
            for some in _slices(self._undrained, SLICE_BYTES // SOCKET_BYTES):
                for session in some:
                    self._press(session, self._now_s())
                await asyncio.sleep(0)
            now_s = self._now_s()
            if now_s - surveyed_s >= every_s:
                surveyed_s = now_s
                for some in _slices(self.sessions, SLICE):
                    self._survey(some, now_s - heartbeat_s, heartbeat)
                    await asyncio.sleep(0)

    def _write_slice(self) -> None:
        sockets, room = SLICE, SLICE_BYTES
        while self._deliveries and sockets > 0 and room > 0:
            delivery = self._deliveries[0]
            size = len(delivery.bundle.data)
            part = delivery.sessions[delivery.done : delivery.done + min(sockets, room // size + 1)]
            self._deliver(delivery.bundle, part)
            delivery.done += len(part)
            if delivery.done == len(delivery.sessions):
                self._deliveries.popleft()
            sockets, room = sockets - len(part), room - len(part) * size
        if not self._deliveries:
            self._underway.clear()

    def _deliver(self, bundle: Bundle, sessions: Sequence[Session]) -> None:
        """Write `bundle` to sockets that take it and whose numbers it continues; else it waits in the outbox."""
        data, after, upto, undrained, now_s = bundle.data, bundle.after, bundle.upto, self._undrained, self._now_s()
        limit_bytes, written = SOCKET_BYTES - len(data), 0
        for session in sessions:
            transport, sent_seq = session.transport, session.sent_seq
            if session not in undrained and transport.get_write_buffer_size() <= limit_bytes:
                for topic, seq in after:
                    if sent_seq.get(topic, seq) != seq:
                        break
                else:
                    try:
                        transport.write(data)
                    except RuntimeError:
                        continue  # it was closed for writing behind a closing frame, and is about to leave
                    sent_seq.update(upto)
                    session.written_s = now_s
                    written += 1
                    continue
            for message in bundle.messages:
                session.outbox.put(message)
            self.flush(session)
        if written:
            self._tally.add(bundle, written)

    def _survey(
        self, sessions: Sequence[Session], silent_since_s: float, heartbeat: Callable[[], dict[str, object]]
    ) -> None:
        """Watch the sockets that have not taken all, and break the silences of the others."""
        for session in sessions:
            if session in self._undrained or session not in self.sessions:
                continue
            if session.transport.get_write_buffer_size():
                self._watch(session)
            elif session.written_s <= silent_since_s:
                session.outbox.put_answer(heartbeat())
                self.flush(session)

    def _watch(self, session: Session) -> None:
        if session not in self._undrained:
            self._undrained.add(session)
            session.progress_s, session.progress_bytes = self._now_s(), session.outbox.drained_bytes

    def _press(self, session: Session, now_s: float) -> None:
        if session not in self._undrained:
            return  # it has left meanwhile
        drained_bytes = session.outbox.drained_bytes
        if drained_bytes > session.progress_bytes:
            session.progress_bytes, session.progress_s = drained_bytes, now_s
        elif now_s - session.progress_s >= self._stalled_after_s:
            self.cut["stalled"] += 1
            log.warning("client.cut", reason="stalled", code=1013, unread=len(session.outbox))
            reset(session.transport)
        self.flush(session)
        gone = not session.is_open()
        if gone or not session.outbox:
            session.caught_up.set()
        if gone or session.outbox.drained:
            self._undrained.discard(session)


def _slices(sessions: set[Session], size: int) -> Iterator[tuple[Session, ...]]:
    """Who is in there now, so many at a time."""
    listed = tuple(sessions)
    return (listed[first : first + size] for first in range(0, len(listed), size))
