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
            topics = known[expiry_us] = _topics(family, self._smile(family, expiry_us))
            self._expiries[topics.smile] = expiry_us
        return topics

    def expiry_us(self, topic: str) -> int | None:
        """The expiry whose `smile` topic this is; None if there is none now."""
        return self._expiries.get(topic)

    def forget(self, family: Family, expiry_us: int) -> None:
        """The expiry has left: its name may go to another one of that date."""
        del self._expiries[self._topics[family].pop(expiry_us).smile]

    def state(self) -> list[tuple[Family, dict[int, str]]]:
        """The name of every `smile` topic there is now."""
        return [(family, {e: topics.smile for e, topics in known.items()}) for family, known in self._topics.items()]

    def restore(self, names: list[tuple[Family, dict[int, str]]]) -> None:
        """Go on with these."""
        self._topics = {family: {e: _topics(family, name) for e, name in known.items()} for family, known in names}
        self._expiries = {name: expiry_us for _, known in names for expiry_us, name in known.items()}

    def _smile(self, family: Family, expiry_us: int) -> str:
        """By the expiry's date, or by its minute where another expiry came first on that date."""
        stem, minute = _stem(family), iso(expiry_us)[:16]
        by_date = f"smile.{stem}.{minute[:10]}"
        return by_date if by_date not in self._expiries else f"smile.{stem}.{minute}"


def _topics(family: Family, smile: str) -> Topics:
    return Topics(f"surface.{_stem(family)}", smile, f"atm.{_stem(family)}")


def _stem(family: Family) -> str:
    return f"{family[0]}.{family[1]}"
