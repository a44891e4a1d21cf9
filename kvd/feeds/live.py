"""One venue's socket, for ever: connect, subscribe, stamp, parse, answer, notice silence, come back."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.uri import parse_uri

from kvd.config import Feed
from kvd.feeds.clock import ArrivalClock
from kvd.feeds.pace import Pacer, backoff_s
from kvd.quotes import BadFrame, Event, ForwardQuote, Gap
from kvd.venues import INTERRUPTED, Reading, Venue, VenueSession

MAX_FRAME_BYTES = 16 * 1024 * 1024  # a listing of every linear option is a few MB
MAX_WAITING_FRAMES = 256
CLOSE_TIMEOUT_S = 1.0
LONGEST_RETRY_AFTER_S = 3600.0
LOOKS = 10  # at the canary's age, in the time after which it counts as dead

log = structlog.get_logger()


class FeedStatistics(NamedTuple):
    """What the feed has done so far. ``last_data_age_s`` is None before the first data.

    ``connected`` speaks of the socket; ``flowing`` of the data: the canary has spoken and no outage has begun since.
    """

    frames: int
    bytes: int
    bad_frames: int
    refusals: dict[str, int]
    gaps: int
    reconnects: int
    connected: bool
    flowing: bool
    last_data_age_s: float | None
    channels_wanted: int
    channels_acked: int
    last_error: str


class Lost(Exception):
    """This connection, or this attempt at one, is over; the message says why. Wait ``retry_after_s`` at least."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class LiveFeed:
    """Keeps one connection to a venue and hands every event to `put`, every raw frame to `record` before it is read.

    An outage begins when the connection is lost or the canary falls silent, and ends when the canary speaks again: that
    is one `Gap`, and one log line at either end, however many attempts it takes. Who cuts the stream by arrival time
    must read the same `clock`.
    """

    def __init__(
        self,
        venue: Venue,
        venue_settings: Any,
        settings: Feed,
        put: Callable[[Event], object],
        record: Callable[[bytes, int], object] | None = None,
        record_gap: Callable[[], object] | None = None,
        clock: ArrivalClock | None = None,
    ) -> None:
        parse_uri(venue_settings.url)  # a bad address would otherwise be retried for ever
        self._venue = venue
        self._venue_settings = venue_settings
        self._settings = settings
        self._put = put
        self._record = record
        self._record_gap = record_gap
        self._clock = clock or ArrivalClock()
        self._session = self._new_session()
        self._pacer = Pacer(self._session.quotas)
        self._to_send = asyncio.Event()
        self._refusals: Counter[str] = Counter()
        self._frames = self._bytes = self._bad_frames = self._gaps = self._attempts = 0
        self._connected = False
        self._flowing = False  # between the canary's first word and an outage
        self._heard_at_s: float | None = None  # the canary, monotonic
        self._lived_s = 0.0  # how long the last connection lasted
        self._last_us = 0
        self._said = ""
        self._last_error = ""

    def statistics(self) -> FeedStatistics:
        """The counts so far, since the feed was made."""
        return FeedStatistics(
            frames=self._frames,
            bytes=self._bytes,
            bad_frames=self._bad_frames,
            refusals=dict(self._refusals),
            gaps=self._gaps,
            reconnects=max(0, self._attempts - 1),
            connected=self._connected,
            flowing=self._flowing,
            last_data_age_s=None if self._heard_at_s is None else time.monotonic() - self._heard_at_s,
            channels_wanted=self._session.channels_wanted,
            channels_acked=self._session.channels_acked,
            last_error=self._session.last_error or self._last_error,
        )

    async def run(self) -> NoReturn:
        """Keep the feed alive until cancelled. Anything but a lost connection is an error of ours and is raised."""
        failures = 0
        while True:
            retry_after_s = self._lived_s = 0.0
            try:
                await self._connect_once()
            except* Lost as group:
                lost = group.exceptions[0]
                assert isinstance(lost, Lost)
                retry_after_s = lost.retry_after_s
                self._interrupted(str(lost))
            if self._lived_s >= self._settings.settled_after_s:
                failures = 0
            wait_s = backoff_s(
                failures, self._settings.reconnect_first_s, self._settings.reconnect_cap_s, random.random()
            )
            failures += 1
            await asyncio.sleep(max(wait_s, min(retry_after_s, LONGEST_RETRY_AFTER_S)))

    async def _connect_once(self) -> None:
        self._attempts += 1
        socket = await self._open()
        self._connected = True
        opened_at_s = time.monotonic()
        try:
            self._session = self._new_session()
            self._pacer.clear()
            self._queue(self._session.subscribe())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(socket))
                tasks.create_task(self._watch(socket))
                tasks.create_task(self._receive(socket))
        finally:
            self._connected = False
            self._lived_s = time.monotonic() - opened_at_s
            await socket.close(1001)

    async def _open(self) -> ClientConnection:
        try:
            return await connect(
                self._venue_settings.url,
                compression=None,
                close_timeout=CLOSE_TIMEOUT_S,
                open_timeout=max(1.0, self._settings.stale_after_s),
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_WAITING_FRAMES,
            )
        except InvalidStatus as error:
            status, after = error.response.status_code, error.response.headers.get("Retry-After", "")
            unsaid_s = self._settings.reconnect_cap_s if after or status in (418, 429) else 0.0
            raise Lost(f"HTTP {status}", float(after) if after.isdecimal() else unsaid_s) from None
        except (OSError, WebSocketException) as error:
            raise Lost(f"cannot connect: {error}"[:200]) from None

    async def _receive(self, socket: ClientConnection) -> NoReturn:
        session = self._session
        while True:
            try:
                frame = await socket.recv(decode=False)
            except ConnectionClosed as error:
                raise Lost(f"connection closed: {error}"[:200], session.retry_after_s or 0.0) from None
            receive_us = self._last_us = self._clock.now_us()
            self._frames += 1
            self._bytes += len(frame)
            if self._record is not None:
                self._record(frame, receive_us)
            try:
                reading = session.parse(frame, receive_us)
            except BadFrame as error:
                self._bad_frames += 1
                self._last_error = f"bad frame: {error}"
                continue
            self._pass_on(session, reading)

    def _pass_on(self, session: VenueSession, reading: Reading) -> None:
        for event in reading.events:
            if session.canary is None or (isinstance(event, ForwardQuote) and event.name == session.canary):
                self._heard()
            self._put(event)
        for refusal in reading.refusals:
            self._refusals[refusal.reason] += 1
        if reading.control is not None:
            self._queue(session.reply(reading.control))
            if session.retry_after_s is not None:
                raise Lost(session.last_error, session.retry_after_s)

    def _queue(self, requests: list[bytes]) -> None:
        for request in requests:
            self._pacer.add(request, self._session.quota_of(request))
        if requests:
            self._to_send.set()

    async def _send(self, socket: ClientConnection) -> None:
        try:
            while True:
                self._to_send.clear()
                for request in self._pacer.due(time.monotonic()):
                    await socket.send(request, text=True)
                wait_s = self._pacer.wait_s(time.monotonic())
                try:
                    async with asyncio.timeout(wait_s):
                        await self._to_send.wait()
                except TimeoutError:
                    continue
        except ConnectionClosed:
            return  # the receiver says so

    async def _watch(self, socket: ClientConnection) -> NoReturn:
        """Look at the canary's age a few times per limit, and call it dead at the last look before the limit."""
        limit_s = self._settings.stale_after_s
        look_s = limit_s / LOOKS
        opened_at_s = looked_at_s = time.monotonic()
        while True:
            await asyncio.sleep(look_s)
            now_s = time.monotonic()
            late = now_s - looked_at_s > 2 * look_s  # it was us who slept: give the frames a chance to be read
            looked_at_s = now_s
            if not late and now_s + look_s - max(opened_at_s, self._heard_at_s or 0.0) > limit_s:
                socket.transport.abort()
                raise Lost("stale")

    def _heard(self) -> None:
        self._heard_at_s = time.monotonic()
        if not self._flowing:
            self._flowing = True
            self._say("feed.connected", attempts=self._attempts)

    def _interrupted(self, reason: str) -> None:
        self._last_error = reason
        self._say("feed.stale" if reason == "stale" else "feed.lost", reason=reason, frames=self._frames)
        if self._flowing:
            self._flowing = False
            self._gaps += 1
            if self._record_gap is not None:
                self._record_gap()
            self._put(Gap(self._venue.NAME, self._last_us, INTERRUPTED))

    def _say(self, event: str, **facts: object) -> None:
        """Log a change of state, once: further failures of the same outage are not news."""
        news = event == "feed.connected" or self._said in ("", "feed.connected")
        if news:
            log.info(event, venue=self._venue.NAME, url=self._venue_settings.url, **facts)
            self._said = event

    def _new_session(self) -> VenueSession:
        return self._venue.Session(self._venue_settings, self._settings.heartbeat_s)
