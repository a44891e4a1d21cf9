"""What `kvd top` and `kvd surface` show: one line an expiry, as a desk reads a surface."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from rich.table import Table

from kvd import tables
from kvd.client import Statistics
from kvd.surface import DeltaPoints, Locked, Smile, Surface, delta_points

WIDE = 140  # columns of a terminal that has room for every detail


class Line(NamedTuple):
    """One smile with its delta points, and how long before now the newest quote in it arrived, in seconds."""

    smile: Smile
    points: DeltaPoints
    age_s: float


COLUMNS = (
    tables.Column("surface", lambda line: f"{line.smile.venue}.{line.smile.underlying}"),
    tables.Column("expiry", lambda line: f"{datetime.fromtimestamp(line.smile.expiry_us / 1e6, UTC):%Y-%m-%d}"),
    tables.Column("forward", lambda line: f"{line.smile.forward.value:,.2f}"),
    tables.Column("ATM %", lambda line: f"{100 * line.smile.parameters.atm_vol:.2f}"),
    tables.Column("K (skew)", lambda line: f"{line.smile.parameters.skew:+.4f}"),
    tables.Column("+/- sd", lambda line: f"{line.smile.sd.skew:.4f}"),
    tables.Column("RR25 %", lambda line: _percent(line.points.rr25)),
    tables.Column("BF25 %", lambda line: _percent(line.points.bf25)),
    tables.Column("put wing", lambda line: f"{line.smile.parameters.put_wing:.3f}", detail=True),
    tables.Column("call wing", lambda line: f"{line.smile.parameters.call_wing:.3f}", detail=True),
    tables.Column("NIS", lambda line: _nis(line.smile), detail=True),
    tables.Column("inside", lambda line: "" if line.smile.inside is None else f"{line.smile.inside:.0%}"),
    tables.Column("age", lambda line: _age(line.age_s)),
    tables.Column("state", lambda line: _state(line.smile)),
)


class Screen:
    """The newest surfaces, and what became of the connection. `now_s` is any steady clock's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: dict[tuple[str, str], tuple[list[Line], float]] = {}

    def see(self, surface: Surface, now_s: float) -> None:
        """Show a surface from now on."""
        self._seen[surface.venue, surface.underlying] = lines(surface), now_s

    def table(self, now_s: float, width: int) -> Table:
        """One row an expiry, ages as they are now."""
        seen = [self._seen[family] for family in sorted(self._seen)]
        return table([line._replace(age_s=line.age_s + now_s - at_s) for here, at_s in seen for line in here], width)

    def connection(self, statistics: Statistics) -> str:
        """How the stream is, in one line."""
        if not statistics.connected:
            return f"{self._url}: the connection is lost ({statistics.reason}) and is being made anew"
        smiles = sum(len(here) for here, _ in self._seen.values())
        return (
            f"{self._url}: {smiles} smiles, {statistics.messages:,} messages"
            if smiles
            else f"{self._url}: no smile yet"
        )


def lines(surface: Surface) -> list[Line]:
    """The lines of a surface, aged as they were published."""
    points = delta_points(surface.smiles)
    ages_s = [(smile.publish_us - smile.receive_us) / 1e6 for smile in surface.smiles]
    return [Line(*line) for line in zip(surface.smiles, points, ages_s, strict=True)]


def table(shown: Iterable[Line], width: int) -> Table:
    """One row a smile; vols in percent, for people."""
    return tables.table(COLUMNS, shown, width >= WIDE)


def _percent(vol: float | None) -> str:
    return "" if vol is None else f"{100 * vol:+.2f}"


def _nis(smile: Smile) -> str:
    """Per degree of freedom: 1 where the filter knows its own uncertainty."""
    return "" if smile.nis is None or not smile.nis_dof else f"{smile.nis / smile.nis_dof:.2f}"


def _age(age_s: float) -> str:
    for unit, seconds in (("d", 86_400.0), ("h", 3600.0), ("m", 60.0)):
        if age_s >= 2 * seconds:
            return f"{age_s / seconds:.0f}{unit}"
    return f"{age_s:.1f}s"


def _state(smile: Smile) -> str:
    held = " ".join(map(_lock, smile.locked))
    return " ".join(word for word in (smile.state, smile.reason, held and f"locked: {held}") if word)


def _lock(locked: Locked) -> str:
    return locked.of if locked.strike is None else f"vol@{locked.strike:g}"
