"""The table of who listens to what, by groups of clients of a kind that listen to the same."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from kvd.wire import covers

C = TypeVar("C")
K = TypeVar("K")


class Group(Generic[C, K]):
    """The clients of one kind and one set of patterns, and the topics seen so far that these match."""

    def __init__(self, kind: K, patterns: frozenset[str], topics: set[str]) -> None:
        self.kind = kind
        self.patterns = patterns
        self.topics = topics
        self._clients: dict[C, None] = {}  # in the order of their coming
        self._listed: tuple[C, ...] = ()

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def clients(self) -> tuple[C, ...]:
        """They as they are now: whoever comes or leaves later changes nothing in it."""
        if not self._listed:
            self._listed = tuple(self._clients)
        return self._listed

    def add(self, client: C) -> None:
        """One more."""
        self._clients[client] = None
        self._listed = ()

    def discard(self, client: C) -> None:
        """One less."""
        self._clients.pop(client, None)
        self._listed = ()


class Subscriptions(Generic[C, K]):
    """Clients by pattern, with the groups that listen to every topic seen so far ready at hand.

    `kind_of` tells apart clients that cannot be in one group even if they listen to the same.
    """

    def __init__(self, kind_of: Callable[[C], K]) -> None:
        self._kind_of = kind_of
        self._group_of: dict[C, Group[C, K]] = {}
        self._groups: dict[tuple[K, frozenset[str]], Group[C, K]] = {}
        self._listening: dict[str, dict[Group[C, K], None]] = {}

    def __len__(self) -> int:
        return sum(len(group) * len(group.patterns) for group in self._groups.values())

    def of(self, client: C) -> frozenset[str]:
        """The patterns of `client`."""
        return self._group_of[client].patterns if client in self._group_of else frozenset()

    def add(self, client: C, patterns: Iterable[str]) -> None:
        """Subscribe; topics that appear later are covered too."""
        added = frozenset(patterns)
        here = self._group_of[client].topics if client in self._group_of else set()
        new = {topic for topic in self._listening if topic not in here and covers(added, topic)}
        self._move(client, self.of(client) | added, here | new)

    def remove(self, client: C, patterns: Iterable[str]) -> None:
        """Unsubscribe from exactly these patterns; what another pattern of the client matches stays."""
        if client in self._group_of:
            left = self.of(client).difference(patterns)
            self._move(client, left, {topic for topic in self._group_of[client].topics if covers(left, topic)})

    def forget(self, client: C) -> None:
        """The client is gone."""
        group = self._group_of.pop(client, None)
        if group is not None:
            group.discard(client)
            if not group:
                del self._groups[group.kind, group.patterns]
                for topic in group.topics:
                    del self._listening[topic][group]

    def groups(self, topic: str) -> Iterable[Group[C, K]]:
        """The groups that get `topic`; nobody is in two of them. Not to be changed by the caller."""
        found = self._listening.get(topic)
        if found is None:
            found = self._listening[topic] = {g: None for g in self._groups.values() if covers(g.patterns, topic)}
            for group in found:
                group.topics.add(topic)
        return found

    def _move(self, client: C, patterns: frozenset[str], topics: set[str]) -> None:
        """Have `client` listen by `patterns`, which match `topics`."""
        self.forget(client)
        if not patterns:
            return
        kind = self._kind_of(client)
        group = self._groups.get((kind, patterns))
        if group is None:
            group = self._groups[kind, patterns] = Group(kind, patterns, topics)
            for topic in topics:
                self._listening[topic][group] = None
        group.add(client)
        self._group_of[client] = group
