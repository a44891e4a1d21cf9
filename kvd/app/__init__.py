"""All of the wiring and the lifecycle: what runs beside what, in which order it starts, and how it ends."""

from kvd.app.daemon import VENUES, run
from kvd.app.demo import DemoError, demo
from kvd.app.recording import Recorded, record
from kvd.app.report import Reported, ReportError, report
from kvd.app.tape import Replayed, replay, serve_tape
from kvd.app.tune import Task, Tuned, tune
from kvd.config import ConfigError
from kvd.feeds.tape import TapeError
from kvd.sinks.record import RecordError
from kvd.tune.parameters import chosen

__all__ = [
    "MENDABLE", "VENUES", "Recorded", "Replayed", "Reported", "Task", "Tuned", "chosen", "demo", "record", "replay",
    "report", "run", "serve_tape", "tune",
]  # fmt: skip

# what a user can mend: the message is one sentence
MENDABLE = (ConfigError, DemoError, RecordError, ReportError, TapeError)
