"""The feed: one connection at a time, or two while one takes over from the other."""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from websockets.uri import parse_uri

from kvd.config import Feed
from kvd.feeds.clock import ArrivalClock
from kvd.feeds.live.canary import Canary
from kvd.feeds.live.connection import Connection
from kvd.feeds.live.intake import Intake
from kvd.feeds.live.outage import Outage
from kvd.feeds.live.statistics import FeedStatistics
from kvd.feeds.pace import Pacer, backoff_s
from kvd.quotes import Event
from kvd.venues import Venue, VenueSession

LONGEST_RETRY_AFTER_S = 3600.0


class LiveFeed:
    """Keeps a connection to a venue and hands every event to `put`, every raw frame to `record` before it is read;
    `record_lasting` is told at once if it lasts (`kvd.venues.Reading`).

    Where the venue announces that it is about to end the connection, a second one is opened beside it, and takes over
    once it is whole. Both feed the stream meanwhile; if the first goes before the second is whole, that is an outage
    like any other (see `kvd.feeds.live.outage`). Who cuts the stream by arrival time must read the same `clock`.
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
        record_lasting: Callable[[str], object] | None = None,
    ) -> None:
        parse_uri(venue_settings.url)  # a bad address would otherwise be retried for ever
        self._venue = venue
        self._venue_settings = venue_settings
        self._settings = settings
        self._intake = Intake(clock or ArrivalClock(), put, record, record_lasting)
        self._outage = Outage(venue.NAME, venue_settings.url, put, record_gap)
        self._pacer = Pacer(self._new_session().quotas)
        self._news = asyncio.Event()
        self._dials = self._handovers = self._failures = 0
        self._heard_at_s: float | None = None
        self._skew_s: float | None = None
        self._current = self._new_connection()

    def statistics(self) -> FeedStatistics:
        """The counts so far, since the feed was made."""
        session, intake = self._current.session, self._intake
        return FeedStatistics(
            frames=intake.frames,
            bytes=intake.bytes,
            bad_frames=intake.bad_frames,
            refusals=dict(intake.refusals),
            gaps=self._outage.gaps,
            reconnects=max(0, self._dials - 1),
            handovers=self._handovers,
            connected=self._current.open,
            flowing=self._outage.flowing,
            last_data_age_s=None if self._heard_at_s is None else time.monotonic() - self._heard_at_s,
            clock_skew_s=self._skew_s,
            channels_wanted=session.channels_wanted,
            channels_acked=session.channels_acked,
            channels_silent=session.channels_silent,
            last_error=intake.last_error,
        )

    async def run(self) -> NoReturn:
        """Keep the feed alive until cancelled. Anything but a lost connection is an error of ours and is raised."""
        async with asyncio.TaskGroup() as tasks:
            current = self._current = self._dial(tasks)
            while True:
                await self._until(partial(_ending, current))
                if current.lost is not None:
                    self._outage.begin(str(current.lost), self._intake.last_us, self._intake.frames)
                    await asyncio.sleep(self._pause_s(current))
                    current = self._dial(tasks)
                else:
                    current = await self._hand_over(tasks, current)
                self._current = current

    async def _hand_over(self, tasks: asyncio.TaskGroup, old: Connection) -> Connection:
        """Open connections beside `old` until one is whole, or `old` is lost; returns the one to go on with."""
        self._outage.say("feed.leaving", reason=old.session.last_error)
        tried = old
        while not await self._until(lambda: old.lost is not None, self._pause_s(tried)):
            tried = new = self._dial(tasks)
            await self._until(partial(_settled, old, new))
            if new.whole:
                old.hang_up()
                self._handovers += 1
                self._outage.say("feed.handed_over", attempts=self._dials)
                return new
            if old.lost is not None and new.lost is None:
                self._outage.begin(str(old.lost), self._intake.last_us, self._intake.frames)
                return new
        return old

    async def _until(self, condition: Callable[[], bool], within_s: float | None = None) -> bool:
        """Wait for what a connection says to make `condition` true; False if that has not come `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _pause_s(self, last: Connection) -> float:
        """How long to wait before the next attempt, after `last`."""
        if last.lived_s >= self._settings.settled_after_s:
            self._failures = 0
        wait_s = backoff_s(
            self._failures, self._settings.reconnect_first_s, self._settings.reconnect_cap_s, random.random()
        )
        self._failures += 1
        retry_after_s = 0.0 if last.lost is None else last.lost.retry_after_s
        return max(wait_s, min(retry_after_s, LONGEST_RETRY_AFTER_S))

    def _heard(self, canary: Canary) -> None:
        self._heard_at_s, self._skew_s = time.monotonic(), canary.delay.skew_s
        self._outage.end(attempts=self._dials)

    def _dial(self, tasks: asyncio.TaskGroup) -> Connection:
        self._dials += 1
        connection = self._new_connection()
        connection.begin(tasks, self._venue_settings.url)
        return connection

    def _new_connection(self) -> Connection:
        return Connection(
            self._new_session(), self._pacer.beside(), self._settings, self._intake, self._news.set, self._heard
        )

    def _new_session(self) -> VenueSession:
        return self._venue.Session(self._venue_settings, self._settings.heartbeat_s)


def _ending(current: Connection) -> bool:
    return current.lost is not None or current.session.leaving


def _settled(old: Connection, new: Connection) -> bool:
    """Whether it is known which of the two to go on with, or that another must be tried."""
    return old.lost is not None or new.lost is not None or new.whole
