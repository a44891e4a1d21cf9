"""Whether data flow, and what is said when that changes: one Gap and one log line, however many attempts it takes."""

from collections.abc import Callable

import structlog

from kvd.quotes import Event, Gap
from kvd.venues import INTERRUPTED

log = structlog.get_logger()


class Outage:
    """An outage begins when the connection is lost, or the canary falls silent, and ends when the canary speaks again.

    ``flowing`` is False before the first data too, of which no Gap is made.
    """

    def __init__(
        self, venue: str, url: str, put: Callable[[Event], object], record_gap: Callable[[], object] | None
    ) -> None:
        self.flowing = False
        self.gaps = 0
        self._venue, self._url = venue, url
        self._put, self._record_gap = put, record_gap
        self._news = True  # a further failure of the same outage is none

    def end(self, attempts: int) -> None:
        """The canary has spoken."""
        if not self.flowing:
            self.flowing = self._news = True
            self.say("feed.connected", attempts=attempts)

    def begin(self, reason: str, since_us: int, frames: int) -> None:
        """The connection is lost, or could not be had, for `reason`; `since_us` is the arrival of the last frame."""
        if self._news:
            self._news = False
            self.say("feed.stale" if reason == "stale" else "feed.lost", reason=reason, frames=frames)
        if self.flowing:
            self.flowing = False
            self.gaps += 1
            if self._record_gap is not None:
                self._record_gap()
            self._put(Gap(self._venue, since_us, INTERRUPTED))

    def say(self, event: str, **facts: object) -> None:
        """Log a change of state of this feed."""
        log.info(event, venue=self._venue, url=self._url, **facts)
