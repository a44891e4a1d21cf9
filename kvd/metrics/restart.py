"""How the daemon was started, and what it leaves on the disk for the next start."""

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import Metric

from kvd.metrics.families import counter, gauge, one


class RestartStatistics(Protocol):
    """The start, and the checkpoint. What concerns the newest one on the disk is None before there is one."""

    @property
    def start(self) -> str:
        """``warm`` or ``cold``."""

    @property
    def reason(self) -> str:
        """Which generation a warm start has taken up, or why a start was cold."""

    @property
    def taken_us(self) -> int | None:
        """Of when the newest checkpoint is."""

    @property
    def bytes(self) -> int | None:
        """Its size."""

    @property
    def seconds(self) -> float | None:
        """How long writing it took."""

    @property
    def writes(self) -> int:
        """Checkpoints written."""

    @property
    def failures(self) -> int:
        """Attempts that failed."""

    @property
    def failing(self) -> bool:
        """Whether the last one did."""


def of_restart(r: RestartStatistics, now_us: int) -> Iterator[Metric]:
    """The series, as of `now_us`."""
    started = "How kvd was started, and from which checkpoint or why from none."
    yield gauge("kvd_start_info", started, ("start", "reason"), [((r.start, r.reason), 1.0)])
    age_s = None if r.taken_us is None else (now_us - r.taken_us) / 1e6
    yield gauge("kvd_checkpoint_age_seconds", "Age of the newest checkpoint on the disk.", (), [((), age_s)])
    yield gauge("kvd_checkpoint_bytes", "Its size.", (), [((), r.bytes)])
    yield gauge("kvd_checkpoint_write_seconds", "How long writing it took.", (), [((), r.seconds)])
    yield counter("kvd_checkpoint_writes", "Checkpoints written.", (), one(r.writes))
    yield counter("kvd_checkpoint_failures", "Failed attempts to write one.", (), one(r.failures))
    yield gauge("kvd_checkpoint_failing", "Whether none can be written now.", (), one(r.failing))
