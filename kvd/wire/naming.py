"""The names of the topics of an expiry, which stay with it for life."""

from collections.abc import Iterator
from typing import NamedTuple

from kvd.wire.body import iso

Family = tuple[str, str]  # venue, underlying


class Topics(NamedTuple):
    """Where the smiles of one expiry are told."""

    surface: str
    smile: str
    atm: str


class Naming:
    """The topics of every expiry there is now, by family and expiry (us)."""

    def __init__(self) -> None:
        self._topics: dict[Family, dict[int, Topics]] = {}
        self._expiries: dict[str, int] = {}  # by the name of the `smile` topic

    def __iter__(self) -> Iterator[str]:
        """Every topic, each once."""
        for known in self._topics.values():
            for position, topics in enumerate(known.values()):
                yield from (topics.smile,) if position else (topics.surface, topics.atm, topics.smile)

    def of(self, family: Family, expiry_us: int) -> Topics:
        """The topics of an expiry, named when they are first asked for."""
        known = self._topics.setdefault(family, {})
        topics = known.get(expiry_us)
        if topics is None:
            stem = f"{family[0]}.{family[1]}"
            topics = known[expiry_us] = Topics(f"surface.{stem}", self._smile(stem, expiry_us), f"atm.{stem}")
            self._expiries[topics.smile] = expiry_us
        return topics

    def expiry_us(self, topic: str) -> int | None:
        """The expiry whose `smile` topic this is; None if there is none now."""
        return self._expiries.get(topic)

    def forget(self, family: Family, expiry_us: int) -> None:
        """The expiry has left: its name may go to another one of that date."""
        del self._expiries[self._topics[family].pop(expiry_us).smile]

    def _smile(self, stem: str, expiry_us: int) -> str:
        """By the expiry's date, or by its minute where another expiry came first on that date."""
        minute = iso(expiry_us)[:16]
        by_date = f"smile.{stem}.{minute[:10]}"
        return by_date if by_date not in self._expiries else f"smile.{stem}.{minute}"
