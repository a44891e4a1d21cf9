"""What one run of the daemon puts on record in the audit log: its start, its hours and its end, and a trader's acts."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
import structlog

from kvd import __version__
from kvd.config import Settings, shown
from kvd.config.tokens import parse
from kvd.sinks.audit import Audit, AuditError, Statistics
from kvd.sinks.published import Published
from kvd.wire import Message, iso

HOUR_US = 3_600_000_000
NOTHING = Statistics(0, 0, False, 0)
log = structlog.get_logger()


class Journal:
    """The audit log that ``audit.path`` names, from start to end of the ``async with`` block.

    Without a path nothing is kept, and nothing can be recorded. `ending` is asked at the end what ends with the daemon.
    Raises ConfigError if the file cannot be had, or what stands in it was changed.
    """

    def __init__(self, settings: Settings, epoch: str, now_us: Callable[[], int]) -> None:
        self._settings = settings
        self._epoch = epoch
        self._now_us = now_us
        self.ending: Callable[[], dict[str, object]] = dict
        self._audit: Audit | None = None
        self._published = Published()
        self._since_us = now_us()

    @property
    def is_kept(self) -> bool:
        """Whether there is an audit log at all."""
        return bool(self._settings.audit.path)

    async def __aenter__(self) -> Self:
        if self._settings.audit.path:
            self._audit = await Audit(Path(self._settings.audit.path), self._now_us).__aenter__()
            self.note("started", self._beginning(self._audit))
            await self._audit.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._audit is None:
            return
        self._note_published()
        self.note("stopped", self.ending() | ({} if kind is None else {"for": kind.__name__}))
        await self._audit.__aexit__(kind, error, trace)
        self._say_head(self._audit)

    def statistics(self) -> Statistics:
        """What was written so far."""
        return self._audit.statistics() if self._audit else NOTHING

    def note(self, kind: str, content: object) -> None:
        """Have a line written when that is possible, if there is a log at all. Never waits."""
        if self._audit is not None:
            self._audit.note(kind, content)

    async def record(self, kind: str, content: object) -> None:
        """Have a line written, and wait until it is on disk. Raises AuditError if it is not, and will not be."""
        if self._audit is None:
            raise AuditError("there is none: set audit.path")
        await self._audit.record(kind, content)

    def published(self, messages: tuple[Message, ...]) -> None:
        """Take in what was published, for the digest of the hour."""
        if self._audit is not None:
            self._published.add(messages)

    async def keep(self) -> None:
        """For ever: at the end of each hour, UTC, record what was published in it, and say the head of the log."""
        if self._audit is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._audit.broken())
            while True:
                await asyncio.sleep((HOUR_US - self._now_us() % HOUR_US) / 1e6 + 0.001)  # timers may fire early
                self._note_published()
                if await self._audit.flush():
                    self._say_head(self._audit)

    def _beginning(self, audit: Audit) -> dict[str, object]:
        configuration = shown(self._settings)
        said: dict[str, object] = {
            "version": __version__,
            "epoch": self._epoch,
            "configuration": configuration,
            "configuration_sha256": sha256(orjson.dumps(configuration)).hexdigest(),
            "tokens": {token.name: sorted(token.scopes) for token in parse(self._settings.publish.tokens)},
        }
        return said | ({"continues": audit.continued._asdict()} if audit.continued.number else {})

    def _note_published(self) -> None:
        content = {"since": iso(self._since_us), "epoch": self._epoch, "topics": self._published.take()}
        self.note("published", content)
        self._since_us = self._now_us()

    def _say_head(self, audit: Audit) -> None:
        """Have the log's newest digest stand elsewhere, too: only against that a tail that was cut off is found."""
        log.info("audit.head", number=audit.head.number, digest=audit.head.digest)
