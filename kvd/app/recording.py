"""A venue's stream onto tapes, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kvd.app.daemon import VENUES
from kvd.app.recorders import asked, live, recording
from kvd.app.signals import stop_on_signals
from kvd.config import Settings
from kvd.feeds.live import FeedStatistics
from kvd.sinks.record import Statistics

LOOK_S = 0.5


class Recorded(NamedTuple):
    """What a recording came to, and where it went."""

    feed: FeedStatistics
    recorder: Statistics
    place: Path


async def record(
    venue: str,
    settings: Settings,
    path: Path | None = None,
    seconds: float | None = None,
    progress: Callable[[FeedStatistics], object] = lambda _: None,
) -> Recorded:
    """Record every frame of `venue`, until a signal or for `seconds`. Raises RecordError.

    `path` is a new tape or a folder; without one, the folder that the settings name.
    """
    place = asked(settings, path or Path(settings.recorder.folder))
    assert place is not None
    async with recording((venue,), settings.recorder, place) as recorders:
        with stop_on_signals() as stop:
            feed = live(VENUES[venue], settings, lambda _: None, recorder=recorders[venue])
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(duty) for duty in (feed.run(), recorders[venue].broken())]
                try:
                    async with asyncio.timeout(seconds):
                        while not stop.is_set():
                            progress(feed.statistics())
                            await _wait(stop)
                except TimeoutError:
                    pass
                for task in tasks:
                    task.cancel()
    return Recorded(feed.statistics(), recorders[venue].statistics(), place)


async def _wait(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_S):
            await stop.wait()
    except TimeoutError:
        return
