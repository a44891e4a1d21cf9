"""What a page needs to remember of a replay: the course of every expiry, minute by minute, and whole moments of it."""

from typing import NamedTuple

from kvd.quality import BUCKETS, Counts
from kvd.surface import Smile, SurfaceUpdate

MINUTE_US = 60_000_000
MOMENT_US = 10 * MINUTE_US
BLOCK_US = 30 * MINUTE_US


class Point(NamedTuple):
    """One expiry at one minute."""

    at_us: int
    skew: float
    skew_sd: float
    atm_vol: float
    atm_vol_sd: float
    forward: float
    state: str


class Moment(NamedTuple):
    """The smiles that subscribers saw at one instant, and the quotes of the three minutes before."""

    at_us: int
    smiles: dict[int, Smile]
    quotes: Counts | None

    @property
    def size(self) -> int:
        """How many quotes there are."""
        return 0 if self.quotes is None else len(self.quotes.k)


class Block(NamedTuple):
    """Half an hour of one tenor bucket: NIS, its degrees of freedom, how many of how many mids lay in the 90 % band."""

    nis: float = 0.0
    dof: int = 0
    within: int = 0
    quotes: int = 0


class Chronicle:
    """The course of one underlying."""

    def __init__(self) -> None:
        self.points: dict[int, list[Point]] = {}
        self.moments: list[Moment] = []
        self.blocks: dict[tuple[int, int], Block] = {}
        self.began_us = self.ended_us = 0
        self._noted_us: dict[int, int] = {}
        self._next_us = 0

    def is_due(self, at_us: int) -> bool:
        """Whether a minute has passed since the last moment was looked at."""
        return at_us >= self._next_us

    def keep(self, moment: Moment) -> None:
        """Remember a moment: of each ten minutes the one with the most quotes."""
        self._next_us = moment.at_us + MINUTE_US
        last = self.moments[-1] if self.moments else None
        if last is None or last.at_us // MOMENT_US != moment.at_us // MOMENT_US:
            self.moments.append(moment)
        elif moment.size >= last.size:
            self.moments[-1] = moment

    def see(self, update: SurfaceUpdate) -> None:
        """Take what was published: each expiry at most once a minute."""
        self.began_us = self.began_us or update.publish_us
        self.ended_us = update.publish_us
        for smile in update.smiles:
            minute = update.publish_us // MINUTE_US
            if self._noted_us.get(smile.expiry_us) != minute:
                self._noted_us[smile.expiry_us] = minute
                self.points.setdefault(smile.expiry_us, []).append(_point(smile, update.publish_us))
        block = update.publish_us // BLOCK_US
        for bucket in range(len(BUCKETS)):
            nis, dof = update.facts.nis_by_tenor.get(bucket, (0.0, 0))
            quotes, _, within, _ = update.facts.coverage.get(bucket, (0, 0, 0, 0))
            if dof or quotes:
                old = self.blocks.get((block, bucket), Block())
                self.blocks[block, bucket] = Block(
                    old.nis + nis, old.dof + dof, old.within + within, old.quotes + quotes
                )


def _point(smile: Smile, at_us: int) -> Point:
    p, sd = smile.parameters, smile.sd
    return Point(at_us, p.skew, sd.skew, p.atm_vol, sd.atm_vol, smile.forward.value, smile.state)
