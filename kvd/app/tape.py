"""A tape through the same path as the live stream: at once into a file or into measures, or paced onto the stream."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from io import BufferedWriter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from kvd.app.daemon import Daemon
from kvd.app.signals import stop_on_signals
from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.replay import Replay, ReplayStatistics, paced
from kvd.feeds.replay import replay as replay_tape
from kvd.latest import Batch, Inbox
from kvd.quality import Quality
from kvd.quotes import Quote
from kvd.sinks.record import begin
from kvd.surface import Smile, SurfaceUpdate
from kvd.venues import deribit
from kvd.wire import Encoder

REPLAY_EPOCH = "replay"
OUTPUT_KIND = "smile"


class Replayed(NamedTuple):
    """What a replay came to: counts of the tape, seconds it took, measures by underlying, and the last smiles."""

    statistics: ReplayStatistics
    seconds: float
    underlyings: dict[str, dict[str, Any]]
    smiles: tuple[Smile, ...]

    def json(self) -> dict[str, Any]:
        """The object that ``kvd replay --json`` prints."""
        return summary(self.statistics, self.seconds, self.underlyings)


def summary(statistics: ReplayStatistics, seconds: float, underlyings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the objects of ``kvd replay --json`` and ``kvd report --json`` have in common."""
    counts = {"frames": statistics.frames, "bad_frames": statistics.bad_frames}
    return {**counts, "seconds": round(seconds, 3), "underlyings": underlyings}


def replay(
    path: Path,
    settings: Settings,
    output: Path | None = None,
    measure: bool = False,
    progress: Callable[[ReplayStatistics], object] = lambda _: None,
    more: Sequence[Path] = (),
) -> Replayed:
    """Replay the tape at `path`, and those at `more` after it, at once. A folder counts as the tapes recorded into it.

    Raises TapeError, and RecordError if `output` cannot be begun.
    `output` receives every message of the `smile` topics, a line each; what was written stays if the tape breaks off.
    `measure` withholds a fifth of the instruments from the filter and judges the smiles by all of them.
    """
    c = settings.calibrator
    if measure:
        settings = msgspec.structs.replace(settings, calibrator=msgspec.structs.replace(c, hold_out=True))
    began_s = time.perf_counter()
    calibrator, encoder = Calibrator(settings), Encoder(REPLAY_EPOCH)
    qualities: dict[str, Quality] = {}
    smiles: dict[tuple[str, int], Smile] = {}
    with ExitStack() as stack:
        tape = replay_tape(path, deribit.Session(settings.deribit), more)
        file = stack.enter_context(BufferedWriter(begin(output))) if output else None
        for batch in batches(tape, c.batch_ms * 1000, progress):
            if measure:
                _hear(qualities, batch, c.hold_out_seed)
            for update in calibrator.step(batch):
                if file:
                    _write(file, encoder, update)
                if update.underlying in qualities:
                    qualities[update.underlying].see(update)
                _remember(smiles, update)
    reports = {underlying: quality.report() for underlying, quality in qualities.items()}
    last = tuple(smiles[key] for key in sorted(smiles))
    return Replayed(tape.statistics(), time.perf_counter() - began_s, reports, last)


def batches(tape: Replay, grid_us: int, progress: Callable[[ReplayStatistics], object]) -> Iterator[Batch]:
    """The batches of a tape, cut as the live stream is."""
    inbox = Inbox(grid_us)
    for event in tape:
        inbox.put(event)
        while (batch := inbox.take()) is not None:
            progress(tape.statistics())
            yield batch
    inbox.seal()
    while (batch := inbox.take()) is not None:
        yield batch


async def serve_tape(
    path: Path, settings: Settings, speed: float, started: Callable[[str], object], more: Sequence[Path] = ()
) -> None:
    """Publish the tape at `path`, and those at `more`, at `speed` times their pace until they end or a signal comes.

    `started` is told the address of the stream. Raises TapeError and ConfigError.
    """
    tape = replay_tape(path, deribit.Session(settings.deribit), more)
    daemon = Daemon(settings, started)
    with stop_on_signals() as stop:
        async with daemon.publisher, asyncio.TaskGroup() as group:
            daemon.begun()
            tasks = group.create_task(_play(tape, daemon, speed)), group.create_task(stop.wait())
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            daemon.stopping()
            for task in tasks:
                task.cancel()


async def _play(tape: Replay, daemon: Daemon, speed: float) -> None:
    async for event in paced(tape, speed):
        daemon.inbox.put(event)
        await daemon.drain()
    daemon.inbox.seal()
    await daemon.drain()


def by_underlying(batch: Batch) -> dict[str, list[Quote]]:
    """The quotes of a batch."""
    found: dict[str, list[Quote]] = {}
    for event in batch.events:
        if isinstance(event, Quote):
            found.setdefault(event.instrument.underlying, []).append(event)
    return found


def _hear(qualities: dict[str, Quality], batch: Batch, seed: str) -> None:
    for underlying, quotes in by_underlying(batch).items():
        qualities.setdefault(underlying, Quality(seed)).hear(quotes, batch.instant_us)


def _remember(smiles: dict[tuple[str, int], Smile], update: SurfaceUpdate) -> None:
    smiles |= {(update.underlying, smile.expiry_us): smile for smile in update.smiles}
    for expiry_us in update.withdrawn:
        smiles.pop((update.underlying, expiry_us), None)


def _write(file: BinaryIO, encoder: Encoder, update: SurfaceUpdate) -> None:
    for message in encoder.encode(update):
        if message.kind == OUTPUT_KIND:
            file.write(message.payload + b"\n")
