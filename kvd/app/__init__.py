"""All of the wiring and the lifecycle: what runs beside what, in which order it starts, and how it ends."""

from kvd.app.daemon import VENUES, run
from kvd.app.demo import demo
from kvd.app.recording import record
from kvd.app.tape import Replayed, replay, serve_tape

__all__ = ["VENUES", "Replayed", "demo", "record", "replay", "run", "serve_tape"]
