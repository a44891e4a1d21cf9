"""Who listens to what: topic patterns, and the table of their subscribers."""

import re
from collections.abc import Iterable
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


def matches(pattern: str, topic: str) -> bool:
    """Whether `topic` is what `pattern` says, where ``*`` stands for any one part."""
    if "*" not in pattern:
        return pattern == topic
    wanted, parts = pattern.split("."), topic.split(".")
    return len(wanted) == len(parts) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=True))


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
            if any(matches(pattern, topic) for pattern in added):
                listeners.add(client)

    def remove(self, client: C, patterns: Iterable[str]) -> None:
        """Unsubscribe from exactly these patterns; what another pattern of the client matches stays."""
        self._patterns.get(client, set()).difference_update(patterns)
        left = self.of(client)
        for topic, listeners in self._listeners.items():
            if client in listeners and not any(matches(pattern, topic) for pattern in left):
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
            found = {c for c, patterns in self._patterns.items() if any(matches(p, topic) for p in patterns)}
            self._listeners[topic] = found
        return found
