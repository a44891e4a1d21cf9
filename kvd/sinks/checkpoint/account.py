"""``kvd checkpoint``: what a checkpoint holds, in words and as an object."""

from pathlib import Path
from typing import NamedTuple

from kvd.config import ConfigError
from kvd.sinks.checkpoint.form import FORMAT, Checkpoint, UnfitError, unpack
from kvd.sinks.checkpoint.generations import read
from kvd.wire import iso


class Account(NamedTuple):
    """A file as it stood at `now_us`: its checkpoint, or why there is none in it."""

    file: Path
    bytes: int
    now_us: int
    found: Checkpoint | UnfitError

    @property
    def whole(self) -> bool:
        """Whether there is a checkpoint in it."""
        return isinstance(self.found, Checkpoint)

    def json(self) -> dict[str, object]:
        """As an object."""
        told: dict[str, object] = {"file": str(self.file), "bytes": self.bytes, "whole": self.whole}
        if isinstance(self.found, UnfitError):
            return {**told, "kind": self.found.kind, "why": f"it {self.found}"}
        header = self.found.header
        venues = {
            venue: {"receive": iso(of.receive_us), "exchange": iso(of.exchange_us), "underlyings": of.underlyings}
            for venue, of in header.venues.items()
        }
        return {
            **told,
            "format": FORMAT,
            "version": header.version,
            "layout": header.layout,
            "epoch": header.epoch,
            "written": iso(header.written_us),
            "age_s": self._age_s(header.written_us),
            "venues": venues,
            "locks": header.locks,
            "payload_bytes": header.payload_bytes,
            "settings": header.settings,
        }

    def words(self) -> str:
        """As people read it."""
        if isinstance(self.found, UnfitError):
            return f"{self.file}: UNFIT ({self.found.kind}): it {self.found}; a start would set it aside"
        header = self.found.header
        lines = [
            f"{self.file}: whole; {self.bytes:,} bytes, format {FORMAT} and {header.layout}, kvd {header.version}",
            f"written {iso(header.written_us)}, {self._age_s(header.written_us):,.1f} s ago, in epoch {header.epoch}; "
            f"locks: {header.locks}",
        ]
        for venue, of in header.venues.items():
            lines.append(f"{venue}: heard until {iso(of.receive_us)}, its own time {iso(of.exchange_us)}")
            for underlying, expiries in of.underlyings.items():
                span = f", {expiries[0]} to {expiries[-1]}" if expiries else ""
                lines.append(f"  {underlying}: {len(expiries)} expiries{span}")
        return "\n".join(lines)

    def _age_s(self, written_us: int) -> float:
        return round((self.now_us - written_us) / 1e6, 3)


def account(file: Path, now_us: int) -> Account:
    """Look into `file`. Raises ConfigError if there is none."""
    if not file.is_file():
        raise ConfigError(f"{file} is no file; name the one that checkpoint.path names, or one beside it")
    found: Checkpoint | UnfitError
    try:
        found = unpack(read(file))
    except UnfitError as unfit:
        found = unfit
    return Account(file, file.stat().st_size, now_us, found)
