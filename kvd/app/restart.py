"""From one run of the daemon to the next: takes up the checkpoint at the start, and keeps one while the daemon runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from kvd.app.checkpoint import Found, Posterior, gaps, packed, unpacked, with_locks
from kvd.app.hand import Hand
from kvd.calibrator import Calibrator, CalibratorState
from kvd.config import ConfigError, Settings
from kvd.latest import Inbox
from kvd.sinks.checkpoint import Generations, Header, UnfitError, Writer, read
from kvd.sinks.checkpoint import Statistics as WriterStatistics
from kvd.sinks.durable import TakenError
from kvd.wire import Encoder, EncoderState, iso

LAST_WITHIN_S = 2.0
AHEAD_S = 5.0  # a checkpoint from further in the future was made under another clock
NOTHING = WriterStatistics(None, 0, 0, False)
UNUSABLE = (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError, TakenError)
log = structlog.get_logger()


class Statistics(NamedTuple):
    """How the daemon was started, ``warm`` or ``cold``, and why; what was written since, the newest of it first."""

    start: str
    reason: str
    taken_us: int | None
    bytes: int | None
    seconds: float | None
    writes: int
    failures: int
    failing: bool


class Taken(NamedTuple):
    """What was taken between two batches, and when."""

    calibrator: CalibratorState
    encoder: EncoderState
    at_us: int


class Restart:
    """Keeps what ``checkpoint.path`` names from start to end of the ``async with`` block; without a path, nothing.

    Where there is a checkpoint to go on from, it is put into `calibrator`, `encoder` and `hand` at the start, and the
    gap since into `inbox`. Raises ConfigError if the files cannot be had.
    """

    def __init__(
        self,
        settings: Settings,
        calibrator: Calibrator,
        encoder: Encoder,
        hand: Hand,
        inbox: Inbox,
        now_us: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._calibrator = calibrator
        self._encoder = encoder
        self._hand = hand
        self._inbox = inbox
        self._now_us = now_us
        self._generations: Generations | None = None
        self._writer: Writer | None = None
        self._start = "cold", "not_kept"
        self._taken: Taken | None = None
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()

    async def __aenter__(self) -> Self:
        if self._settings.checkpoint.path:
            self._generations = generations = Generations(Path(self._settings.checkpoint.path))
            self._writer = Writer(generations, _owned(generations))
            self._start = self._taken_up(generations)
            if self._start[0] == "cold":
                log.info("checkpoint.cold", path=str(generations.path), reason=self._start[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._generations is None or self._writer is None:
            return
        if kind is None and self._changed.is_set():
            try:
                async with asyncio.timeout(LAST_WITHIN_S):
                    await self._write(self._writer)
            except TimeoutError:
                self._writer.gave_up()
        self._generations.close()

    def statistics(self) -> Statistics:
        """What was done so far."""
        newest, *counts = self._writer.statistics() if self._writer else NOTHING
        return Statistics(*self._start, *(newest or (None, None, None)), *counts)

    def ending(self) -> dict[str, object]:
        """What the audit log is told at the end: whether the locks that stand go on with the next start."""
        if self._writer is None:
            return {}
        return {"locks_kept": not (self._changed.is_set() or self._writer.statistics().failing)}

    def heed(self) -> None:
        """To be called between two batches: what the next checkpoint will hold is what there is now."""
        if self._writer is not None:
            self._taken = Taken(self._calibrator.state(), self._encoder.state(), self._now_us())
            self._changed.set()

    def hurry(self) -> None:
        """A trader has acted: let the next checkpoint be written now."""
        if self._taken is not None:
            self._urgent.set()
            self._changed.set()

    async def keep(self) -> None:
        """For ever: write what has changed, so often that the newest on the disk is not older than it may be."""
        if self._writer is None:
            return
        loop, every_s = asyncio.get_running_loop(), self._settings.checkpoint.every_s
        while True:
            await self._changed.wait()
            began_s = loop.time()
            await self._write(self._writer)
            took_s = loop.time() - began_s
            rest_s = 0.9 * every_s - 2 * took_s  # the next one is on the disk before this one is too old
            try:
                async with asyncio.timeout(max(rest_s, every_s / 2)):
                    await self._urgent.wait()
            except TimeoutError:
                continue

    async def _write(self, writer: Writer) -> None:
        assert self._taken is not None
        self._changed.clear()
        self._urgent.clear()
        settings, epoch, at_us = self._settings, self._encoder.epoch, self._taken.at_us
        posterior = Posterior(self._taken.calibrator, self._taken.encoder, self._hand.locks())
        await writer.write(lambda: packed(posterior, settings, epoch, at_us), at_us)

    def _taken_up(self, generations: Generations) -> tuple[str, str]:
        """Go on from the newest generation that allows it; how, and why."""
        why, paths = "none", list(generations.candidates())
        for path in paths:
            try:
                found = unpacked(read(path), self._settings)
            except UnfitError as unfit:
                then = "the previous one is tried" if path is not paths[-1] else "the start is cold"
                self._set_aside(generations, path, unfit, then)
                why = unfit.kind
                continue
            if not self._is_timely(found.header):
                return "cold", "untimely"
            self._go_on(found)
            return "warm", "current" if path == generations.path else "previous"
        return "cold", why

    def _set_aside(self, generations: Generations, path: Path, unfit: UnfitError, then: str) -> None:
        facts = {"path": str(path), "kind": unfit.kind, "why": f"it {unfit}", "then": then}
        try:
            moved = generations.set_aside(path, unfit.kind, self._now_us())
        except OSError as error:
            log.warning("checkpoint.set_aside", **facts, failed=error.strerror or str(error))
        else:
            log.warning("checkpoint.set_aside", **facts, moved_to=str(moved))

    def _is_timely(self, header: Header) -> bool:
        age_s, most_s = (self._now_us() - header.written_us) / 1e6, self._settings.checkpoint.oldest_h * 3600
        if -AHEAD_S <= age_s <= most_s:
            return True
        log.warning("checkpoint.untimely", written=iso(header.written_us), age_s=round(age_s, 3), oldest_s=most_s)
        return False

    def _go_on(self, found: Found) -> None:
        header, now_us = found.header, self._now_us()
        locks = self._hand.go_on(found.posterior.locks, iso(header.written_us))
        posterior = with_locks(found.posterior, locks)
        self._calibrator.restore(posterior.calibrator)
        self._encoder.restore(posterior.encoder)
        for gap in gaps(header, now_us):
            self._inbox.put(gap)
        listed = [expiries for heard in header.venues.values() for expiries in heard.underlyings.values()]
        log.info(
            "checkpoint.restored",
            age_s=round((now_us - header.written_us) / 1e6, 3),
            written=iso(header.written_us),
            version=header.version,
            epoch=header.epoch,
            underlyings=len(listed),
            expiries=sum(map(len, listed)),
            locks=len(locks),
            payload_bytes=header.payload_bytes,
        )


def _owned(generations: Generations) -> str:
    """Hold the files; why not, if the disk fails and may recover. Raises ConfigError if there is something to mend."""
    path = generations.path
    if path.exists() and not path.is_file():
        raise ConfigError(f"checkpoint.path: {path} is no file; name another")
    try:
        generations.own()
    except UNUSABLE as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f"checkpoint.path: {path} cannot be had ({why}); name a file in a folder that kvd may write to"
        ) from None
    except OSError as error:
        return error.strerror or str(error)
    return ""
