"""All of the wiring and the lifecycle: what runs beside what, in which order it starts, and how it ends."""

from kvd.app.daemon import VENUES, run
from kvd.app.demo import DemoError, demo
from kvd.app.recording import record
from kvd.app.tape import Replayed, replay, serve_tape
from kvd.config import ConfigError
from kvd.feeds.replay import TapeError
from kvd.sinks.record import RecordError

__all__ = ["MENDABLE", "VENUES", "Replayed", "demo", "record", "replay", "run", "serve_tape"]

MENDABLE = (ConfigError, DemoError, RecordError, TapeError)  # what a user can mend: the message is one sentence
