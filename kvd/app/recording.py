"""A venue's stream onto a tape, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from kvd.app.daemon import VENUES
from kvd.app.signals import stop_on_signals
from kvd.config import Settings
from kvd.feeds.live import FeedStatistics, LiveFeed
from kvd.sinks.record import Recorder

LOOK_S = 0.5


async def record(
    venue: str,
    settings: Settings,
    path: Path,
    seconds: float | None = None,
    progress: Callable[[FeedStatistics], object] = lambda _: None,
) -> FeedStatistics:
    """Record every frame of `venue` to a new tape at `path`, until a signal or for `seconds`. Raises RecordError."""
    with Recorder(path) as recorder, stop_on_signals() as stop:
        feed = LiveFeed(
            VENUES[venue],
            getattr(settings, venue),
            settings.feed,
            put=lambda _: None,
            record=recorder.record,
            record_gap=recorder.record_gap,
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(feed.run())
            try:
                async with asyncio.timeout(seconds):
                    while not stop.is_set():
                        progress(feed.statistics())
                        await _wait(stop)
            except TimeoutError:
                pass
            running.cancel()
    return feed.statistics()


async def _wait(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_S):
            await stop.wait()
    except TimeoutError:
        return
