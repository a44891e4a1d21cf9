"""The series of what writes tapes, by venue."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import Metric

from kvd.metrics.families import counter, gauge
from kvd.metrics.statistics import RecorderStatistics

VENUE = ("venue",)
SERIES: tuple[tuple[Callable[..., Metric], str, str, Callable[[RecorderStatistics], float]], ...] = (
    (counter, "kvd_recorder_frames", "Frames written to tapes.", lambda r: r.frames),
    (counter, "kvd_recorder_bytes", "Bytes written to tapes, compressed.", lambda r: r.bytes),
    (gauge, "kvd_recorder_failing", "Whether tapes cannot be written now.", lambda r: bool(r.why)),
    (counter, "kvd_recorder_failures", "Failed attempts to write to them.", lambda r: r.failures),
    (gauge, "kvd_recorder_queue_bytes", "Bytes that wait for the disk.", lambda r: r.queue_bytes),
    (gauge, "kvd_recorder_tape_bytes", "Size of the tape being written.", lambda r: r.tape_bytes),
)


def recorder_series(recorders: Mapping[str, RecorderStatistics]) -> Iterator[Metric]:
    """Every series of the recorders, which are given by venue."""
    for make, name, help_text, read in SERIES:
        yield make(name, help_text, VENUE, [((venue,), read(seen)) for venue, seen in recorders.items()])
    dropped = [((venue, why), count) for venue, seen in recorders.items() for why, count in seen.dropped.items()]
    yield counter("kvd_recorder_dropped_frames", "Frames that are on no tape, by reason.", (*VENUE, "reason"), dropped)
