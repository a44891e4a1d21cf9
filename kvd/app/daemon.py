"""The daemon: feeds into the inbox, the calibrator out of it, the publisher behind; started and stopped together."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from kvd.app.batches import Batches
from kvd.app.descriptors import make_room
from kvd.app.hand import Hand
from kvd.app.journal import Journal
from kvd.app.life import Life
from kvd.app.recorders import asked, live, recording
from kvd.app.restart import Restart
from kvd.app.signals import stop_on_signals
from kvd.app.smiles import Smiles
from kvd.app.spoken import Spoken
from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.clock import ArrivalClock
from kvd.feeds.live import LiveFeed
from kvd.latest import Inbox
from kvd.metrics import Metrics
from kvd.sinks.crowd import PASSERS_BY
from kvd.sinks.publish import Publisher
from kvd.sinks.record import Recorder
from kvd.surface import SurfaceUpdate
from kvd.venues import Venue, deribit
from kvd.wire import Encoder, Moved, Ring, iso

VENUES: dict[str, Venue] = {"deribit": deribit}
OBSERVE_S = 1.0
LAST_TURNS = 5  # of the event loop, in which tasks that were cancelled end, those that they had begun too

log = structlog.get_logger()


class Daemon:
    """What one running kvd is made of.

    `started` is told the address of the stream once it is served, `updated` every update after it was published.
    """

    def __init__(
        self,
        settings: Settings,
        started: Callable[[str], object] = lambda _: None,
        updated: Callable[[SurfaceUpdate], object] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.clock = ArrivalClock()
        self.inbox = Inbox(settings.calibrator.batch_ms * 1000)
        self.metrics = Metrics(self.clock.now_us)
        self.calibrator = Calibrator(settings)
        self.feeds: dict[str, LiveFeed] = {}
        self.recorders: dict[str, Recorder] = {}
        self._started = started
        self._updated = updated
        self._smiles = Smiles()
        self._spoken = Spoken()
        self._denied: dict[tuple[str, str], tuple[int, ...]] = {}
        self._stopping = False
        ring = Ring(int(settings.publish.resume_s * 1e6), int(settings.publish.resume_mib * 2**20))
        encoder = Encoder(
            f"{self.clock.now_us():x}", ring, Moved(settings.publish.moved_sds, settings.publish.atm_moved_sds)
        )
        self.journal = Journal(settings, encoder.epoch, self.clock.now_us)
        self.hand = Hand(settings.lock, self.journal, encoder, self.inbox.put, self.clock.now_us)
        self.restart = Restart(settings, self.calibrator, encoder, self.hand, self.inbox, self.clock.now_us)
        self.hand.acted = self.restart.hurry
        self.journal.ending = lambda: self.hand.ending() | self.restart.ending()
        self.life = Life(self.metrics.observe_loop_lag, self.clock.now_us, os.environ)
        readiness = self.life.readiness
        readiness.missing.append(self.missing)
        readiness.degraded += [self.degraded, self._smiles.degraded]
        self.batches = Batches(self.inbox, self.calibrator, self.publish, self.metrics.observe_turn, self.restart.heed)
        self.publisher = Publisher(
            settings.publish,
            encoder,
            readiness.look,
            self.metrics.render,
            self.clock.now_us,
            self.hand,
            self.calibrator.followed,
        )

    @property
    def url(self) -> str:
        """Where the stream is served."""
        publish = self.settings.publish
        host, scheme = publish.host, "wss" if publish.tls_certificate else "ws"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.publisher.port}/v1/stream"

    def missing(self) -> dict[str, str]:
        """What keeps the daemon from being ready, by name, a sentence each; empty when it is."""
        missing = {}
        if self._stopping:
            missing["shutdown"] = "kvd is stopping"
        for name, feed in self.feeds.items():
            if not feed.statistics().flowing:
                missing[name] = f"no data from the venue: {feed.statistics().last_error or 'none yet'}"
        return missing | self._smiles.missing()

    def degraded(self) -> dict[str, str]:
        """What is worth knowing while the daemon is ready, by name, a sentence each."""
        degraded = {}
        if self.journal.statistics().failing:
            degraded["audit"] = "the audit log cannot be written, so nobody may lock"
        if self.restart.statistics().failing:
            degraded["checkpoint"] = "no checkpoint can be written: a restart would go on from an older one"
        for name, recorder in self.recorders.items():
            if why := recorder.statistics().why:
                degraded["recorder"] = f"tapes of {name} cannot be written: {why}"
        return degraded

    def begun(self) -> None:
        """Say that the stream is served, and where."""
        make_room(self.settings.publish.max_clients + PASSERS_BY)
        log.info("daemon.started", venues=self.settings.venues, url=self.url)
        self._started(self.url)
        self.life.systemd.served()

    def stopping(self) -> None:
        """Be unready from now on."""
        log.info("daemon.stopping")
        self._stopping = True
        self.life.systemd.stopping()

    async def end(self) -> None:
        """Publish what has come by now and close the stream, while the feeds take leave of their venues."""
        for _ in range(LAST_TURNS):
            await asyncio.sleep(0)
        self.inbox.seal()
        await self.drain()
        await self.publisher.close()

    async def calibrate(self) -> None:
        """Cut batches on the grid of arrival time and publish what they change, for ever."""
        grid_us = self.inbox.grid_us
        while True:
            now_us = self.clock.now_us()
            await asyncio.sleep((grid_us - now_us % grid_us) / 1e6)
            until_us = self.inbox.open_until_us
            if until_us is not None and until_us < self.clock.now_us():
                self.inbox.seal()
            await self.drain()
            self.say_feeds()

    def say_feeds(self) -> None:
        """Say on the topic `status` which feeds have changed between data and none."""
        for status in self._spoken.news({name: feed.statistics() for name, feed in self.feeds.items()}):
            self.publisher.status(status)

    async def drain(self) -> None:
        """Publish every batch that is sealed: each of them whole, whenever this is cancelled."""
        await self.batches.drain()

    def publish(self, update: SurfaceUpdate, seconds: float) -> None:
        """Hand an update to subscribers, metrics and whoever takes note of it."""
        self.journal.published(self.publisher.publish(update))
        self.hand.heed(update)
        self.metrics.observe_update(update, seconds)
        self._smiles.see(update)
        self.say_marks(update)
        self._updated(update)

    def say_marks(self, update: SurfaceUpdate) -> None:
        """Log which smiles the venue's marks have come to deny, or no longer do."""
        family, now = (update.venue, update.underlying), update.facts.mark_alarms
        before = self._denied.get(family, ())
        if now == before:
            return
        self._denied[family] = now
        for expiry_us in sorted({*now} ^ {*before}):
            if expiry_us not in before:
                log.warning("mark.diverged", venue=family[0], underlying=family[1], expiry=iso(expiry_us))
            elif expiry_us not in update.withdrawn:
                log.info("mark.agreed", venue=family[0], underlying=family[1], expiry=iso(expiry_us))

    async def observe(self) -> None:
        """Look at feeds, inbox and publisher once a second."""
        while True:
            for name, feed in self.feeds.items():
                self.metrics.observe_feed(name, feed.statistics())
            self.metrics.observe_inbox(self.inbox)
            self.metrics.observe_tasks(len(asyncio.all_tasks()))
            self.metrics.observe_publisher(self.publisher.statistics())
            self.metrics.observe_hand(self.hand.statistics(), self.journal.statistics())
            self.metrics.observe_restart(self.restart.statistics())
            self.metrics.observe_life(self.life.statistics())
            await asyncio.sleep(OBSERVE_S)


@asynccontextmanager
async def running(daemon: Daemon, record: Path | None = None) -> AsyncIterator[None]:
    """Journal, checkpoint, publisher, recorder, feeds, calibrator, observer; ends with a last batch, a polite
    close and a last checkpoint.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(daemon.life)
        await stack.enter_async_context(daemon.journal)
        await stack.enter_async_context(daemon.restart)
        await stack.enter_async_context(daemon.publisher)
        await daemon.drain()  # what was taken up is there before anybody asks
        settings = daemon.settings
        if place := asked(settings, record):
            tapes = recording(settings.venues, settings.recorder, place)
            daemon.recorders = await stack.enter_async_context(tapes)
            for name, recorder in daemon.recorders.items():
                daemon.metrics.watch_recorder(name, recorder.statistics)
        for name in settings.venues:
            tape = daemon.recorders.get(name)
            daemon.feeds[name] = live(VENUES[name], settings, daemon.inbox.put, daemon.clock, tape)
        async with asyncio.TaskGroup() as group:
            feeds = [feed.run() for feed in daemon.feeds.values()]
            writing = [recorder.broken() for recorder in daemon.recorders.values()]
            duties = (
                daemon.calibrate(),
                daemon.hand.release(),
                daemon.journal.keep(),
                daemon.restart.keep(),
                daemon.observe(),
            )
            tasks = [group.create_task(duty) for duty in (*feeds, *writing, *duties, *daemon.life.duties())]
            daemon.begun()
            yield
            daemon.stopping()
            for task in tasks:
                task.cancel()
            await daemon.end()


async def run(settings: Settings, record: Path | None = None, seconds: float | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT, or for `seconds`; `record` names a tape or a folder to record to
    on the side, whatever the settings say.

    Raises ConfigError and RecordError.
    """
    with stop_on_signals() as stop:
        await run_until(stop, Daemon(settings), record, seconds)


async def run_until(stop: asyncio.Event, daemon: Daemon, record: Path | None, seconds: float | None) -> None:
    """Run `daemon` until `stop` is set, or for `seconds`."""
    async with running(daemon, record):
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            return
