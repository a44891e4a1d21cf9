"""Who listens to what: topic patterns, and the table of their subscribers."""

import re
from collections.abc import Iterable, Set
from itertools import product
from typing import Generic, TypeVar

C = TypeVar("C")
SHAPES = {
    "surface": "surface.{venue}.{underlying}",
    "smile": "smile.{venue}.{underlying}.{expiry}",
    "atm": "atm.{venue}.{underlying}",
    "status": "status",
}
_PART = re.compile(r"\*|[A-Za-z0-9_:-]{1,64}")


def complaint(pattern: str) -> str | None:
    """Why `pattern` can match no topic, in words that say the mend; None if it can."""
    first, *rest = pattern.split(".")
    shapes = [shape for kind, shape in SHAPES.items() if first in (kind, "*")]
    shapes = [shape for shape in shapes if shape.count(".") == len(rest)] or shapes
    if not shapes:
        return f"no topic begins with {first[:64]!r}: use {', '.join(SHAPES.values())}; * matches one part"
    if all(shape.count(".") != len(rest) for shape in shapes):
        return f"{pattern[:128]!r} has {len(rest) + 1} parts: use {' or '.join(shapes)}; * matches one part"
    if not all(_PART.fullmatch(part) for part in rest):
        return f"{pattern[:128]!r} has a part that no topic has: a part is * or letters, digits, _, - and :"
    return None


def covers(patterns: Set[str], topic: str) -> bool:
    """Whether any of `patterns` is what `topic` is, where ``*`` stands for any one part.

    A topic of n parts can be written in 2**n ways with ``*``, which are looked up, however many patterns there are.
    """
    ways = product(*((part, "*") for part in topic.split(".")))
    return any(".".join(way) in patterns for way in ways)


class Subscriptions(Generic[C]):
    """Clients by pattern, with the listeners of every topic seen so far ready at hand."""

    def __init__(self) -> None:
        self._patterns: dict[C, set[str]] = {}
        self._listeners: dict[str, set[C]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._patterns.values()))

    def of(self, client: C) -> set[str]:
        """The patterns of `client`."""
        return self._patterns.get(client, set())

    def add(self, client: C, patterns: Iterable[str]) -> None:
        """Subscribe; topics that appear later are covered too."""
        added = set(patterns)
        self._patterns.setdefault(client, set()).update(added)
        for topic, listeners in self._listeners.items():
            if covers(added, topic):
                listeners.add(client)

    def remove(self, client: C, patterns: Iterable[str]) -> None:
        """Unsubscribe from exactly these patterns; what another pattern of the client matches stays."""
        self._patterns.get(client, set()).difference_update(patterns)
        left = self.of(client)
        for topic, listeners in self._listeners.items():
            if client in listeners and not covers(left, topic):
                listeners.discard(client)

    def forget(self, client: C) -> None:
        """The client is gone."""
        self._patterns.pop(client, None)
        for listeners in self._listeners.values():
            listeners.discard(client)

    def listeners(self, topic: str) -> set[C]:
        """Everyone who gets `topic`, each once. Not to be changed by the caller."""
        found = self._listeners.get(topic)
        if found is None:
            found = {client for client, patterns in self._patterns.items() if covers(patterns, topic)}
            self._listeners[topic] = found
        return found
