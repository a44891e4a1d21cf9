"""Which tapes a venue's stream goes onto: one that was named, or those of a folder."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from kvd.config import ConfigError, Recording, Settings
from kvd.feeds.clock import ArrivalClock
from kvd.feeds.live import LiveFeed
from kvd.feeds.tape import SUFFIXES
from kvd.quotes import Event
from kvd.sinks.record import Recorder, Tapes
from kvd.sinks.reel import Bounds, Reel, make_folder
from kvd.sinks.tape import OneTape
from kvd.venues import Venue


@asynccontextmanager
async def recording(venues: Iterable[str], settings: Recording, path: Path) -> AsyncIterator[dict[str, Recorder]]:
    """A recorder for each venue, by its name: onto the new tape `path`, or into that folder. Raises RecordError.

    A path that ends as a tape does (.ndjson, .gz, .zst) is one tape, and anything else a folder.
    """
    async with AsyncExitStack() as stack:
        yield {
            venue: await stack.enter_async_context(Recorder(venue, tapes, int(settings.queue_mib * 2**20)))
            for venue, tapes in _tapes(tuple(venues), settings, path).items()
        }


def asked(settings: Settings, path: Path | None) -> Path | None:
    """Where to record to, if at all: to `path`, which is looked at now, or into the folder that the settings name."""
    if path is None:
        return Path(settings.recorder.folder) if settings.record else None
    if path.suffix not in SUFFIXES:
        make_folder(path)
    return path


def live(
    venue: Venue,
    settings: Settings,
    put: Callable[[Event], object],
    clock: ArrivalClock | None = None,
    recorder: Recorder | None = None,
) -> LiveFeed:
    """The feed of `venue`, with `recorder` listening in."""
    return LiveFeed(
        venue,
        getattr(settings, venue.NAME),
        settings.feed,
        put,
        recorder.record if recorder else None,
        recorder.record_gap if recorder else None,
        clock,
        recorder.record_lasting if recorder else None,
    )


def _tapes(venues: tuple[str, ...], settings: Recording, path: Path) -> dict[str, Tapes]:
    if path.suffix not in SUFFIXES:
        rotate_us = round(settings.rotate_h * 3600) * 1_000_000
        bounds = Bounds(rotate_us, int(settings.rotate_mib * 2**20), int(settings.keep_gib * 2**30))
        return {venue: Reel(venue, path, bounds) for venue in venues}
    if len(venues) > 1:
        raise ConfigError(f"{path} is one tape, which cannot hold {len(venues)} venues; name a folder for their tapes")
    return {venues[0]: OneTape(path)}
