"""The daemon: feeds into the inbox, the calibrator out of it, the publisher behind; started and stopped together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from kvd.app.signals import stop_on_signals
from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.clock import ArrivalClock
from kvd.feeds.live import LiveFeed
from kvd.latest import Inbox
from kvd.metrics import Metrics
from kvd.sinks.publish import Publisher
from kvd.sinks.record import Recorder
from kvd.surface import SurfaceUpdate
from kvd.venues import Venue, deribit
from kvd.wire import Encoder

VENUES: dict[str, Venue] = {"deribit": deribit}
OBSERVE_S = 1.0

log = structlog.get_logger()


class Daemon:
    """What one running kvd is made of. `updated` is told of every update after it was published."""

    def __init__(self, settings: Settings, updated: Callable[[SurfaceUpdate], object] | None = None) -> None:
        self.settings = settings
        self.clock = ArrivalClock()
        self.inbox = Inbox(settings.calibrator.batch_ms * 1000)
        self.metrics = Metrics(self.clock.now_us)
        self.calibrator = Calibrator(settings)
        self.feeds: dict[str, LiveFeed] = {}
        self._updated = updated
        self._smiles: set[tuple[str, str, int]] = set()
        self._stopping = False
        self.publisher = Publisher(
            settings.publish, Encoder(f"{self.clock.now_us():x}"), self.missing, self.metrics.render, self.clock.now_us
        )

    def missing(self) -> dict[str, str]:
        """What keeps the daemon from being ready, by name, a sentence each; empty when it is."""
        missing = {}
        if self._stopping:
            missing["shutdown"] = "kvd is stopping"
        for name, feed in self.feeds.items():
            if not feed.statistics().connected:
                missing[name] = f"the feed is not connected: {feed.statistics().last_error or 'not yet'}"
        if not self._smiles:
            missing["smiles"] = "no smile has been published yet"
        return missing

    def stopping(self) -> None:
        """Be unready from now on."""
        self._stopping = True

    async def calibrate(self) -> None:
        """Cut batches on the grid of arrival time and publish what they change, for ever."""
        grid_us = self.inbox.grid_us
        while True:
            now_us = self.clock.now_us()
            await asyncio.sleep((grid_us - now_us % grid_us) / 1e6)
            self.metrics.observe_loop_lag((self.clock.now_us() - now_us) / 1e6 - (grid_us - now_us % grid_us) / 1e6)
            await self.drain(self.clock.now_us())

    async def drain(self, now_us: int) -> None:
        """Publish every batch whose instant lies before `now_us`."""
        until_us = self.inbox.open_until_us
        if until_us is not None and until_us < now_us:
            self.inbox.seal()
        while (batch := self.inbox.take()) is not None:
            began_s = time.perf_counter()
            for update in self.calibrator.step(batch):
                self.publish(update, time.perf_counter() - began_s)
                await asyncio.sleep(0)  # let the sockets breathe between underlyings
                began_s = time.perf_counter()

    def publish(self, update: SurfaceUpdate, seconds: float) -> None:
        """Hand an update to subscribers and metrics."""
        self.publisher.publish(update)
        self.metrics.observe_update(update, seconds)
        self._smiles |= {(update.venue, update.underlying, smile.expiry_us) for smile in update.smiles}
        self._smiles -= {(update.venue, update.underlying, expiry_us) for expiry_us in update.withdrawn}
        if self._updated is not None:
            self._updated(update)

    async def observe(self) -> None:
        """Look at feeds, inbox and publisher once a second; say a feed's change of state on the topic `status`."""
        said: dict[str, bool] = {}
        while True:
            for name, feed in self.feeds.items():
                statistics = feed.statistics()
                self.metrics.observe_feed(name, statistics)
                if said.get(name) is not statistics.connected:
                    said[name] = statistics.connected
                    state = {"venue": name, "connected": statistics.connected, "reason": statistics.last_error}
                    self.publisher.status(state)
            self.metrics.observe_inbox(self.inbox)
            self.metrics.observe_publisher(self.publisher.statistics())
            await asyncio.sleep(OBSERVE_S)


@asynccontextmanager
async def running(daemon: Daemon, record: Path | None) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Everything but the feeds' sources: publisher, calibrator, observer; ends with a last batch and a polite close."""
    async with AsyncExitStack() as stack:
        recorder = stack.enter_context(Recorder(record)) if record else None
        await stack.enter_async_context(daemon.publisher)
        for name in daemon.settings.venues:
            daemon.feeds[name] = LiveFeed(
                VENUES[name],
                getattr(daemon.settings, name),
                daemon.settings.feed,
                daemon.inbox.put,
                recorder.record if recorder else None,
                recorder.record_gap if recorder else None,
                daemon.clock,
            )
        async with asyncio.TaskGroup() as group:
            duties = [feed.run() for feed in daemon.feeds.values()]
            tasks = [group.create_task(duty) for duty in (*duties, daemon.calibrate(), daemon.observe())]
            yield tasks
            daemon.stopping()
            for task in tasks:
                task.cancel()
        daemon.inbox.seal()
        await daemon.drain(daemon.clock.now_us())


async def run(
    settings: Settings,
    record: Path | None = None,
    seconds: float | None = None,
    updated: Callable[[SurfaceUpdate], object] | None = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT, or for `seconds`; `record` names a tape to write on the side."""
    daemon = Daemon(settings, updated)
    with stop_on_signals() as stop:
        async with running(daemon, record):
            log.info("daemon.started", venues=settings.venues, port=daemon.publisher.port)
            try:
                async with asyncio.timeout(seconds):
                    await stop.wait()
            except TimeoutError:
                pass
            log.info("daemon.stopping", signal=stop.is_set())
