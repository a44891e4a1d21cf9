"""The checkpoint: what a kvd that is killed leaves on the disk for the one that comes after."""

from kvd.sinks.checkpoint.form import Checkpoint, Header, Heard, Kind, UnfitError, pack, unpack
from kvd.sinks.checkpoint.generations import Generations, read
from kvd.sinks.checkpoint.writer import Statistics, Writer, Written

__all__ = [
    "Checkpoint", "Generations", "Header", "Heard", "Kind", "Statistics", "UnfitError", "Writer", "Written", "pack",
    "read", "unpack",
]  # fmt: skip
