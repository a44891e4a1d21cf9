"""What waits for one iterator: the newest of each thing, so that a slow consumer skips and holds no queue.

Each weir hears messages of the topics it listens to and gives up one thing at a time with `pop`. `overwrites` counts
what was replaced before anybody looked at it.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import orjson

from kvd.client.assembly import Assembly
from kvd.client.chain import SNAPSHOT_FOLLOWS, Chain
from kvd.client.frames import Body, Frame
from kvd.latest import Latest
from kvd.surface import Surface

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
WAITING = 1000  # messages that wait as they are; beyond that the newest of each smile does


class Weir(Protocol[T_co]):
    """Between the one reader of the socket and one iterator."""

    @property
    def overwrites(self) -> int:
        """What was replaced before anybody looked at it."""

    def hear(self, frame: Frame, bodies: tuple[Body, ...], text: bytes) -> None:
        """A message has come: a snapshot, an update, a status or a gap."""

    def forget(self, topic: str) -> None:
        """What was said of `topic` may be so no more; if it is, a snapshot follows."""

    def settle(self) -> None:
        """Nothing has come for a while."""

    def pop(self) -> T_co | None:
        """The next thing to look at, or None."""


class Surfaces:
    """Whole surfaces, by topic."""

    def __init__(self) -> None:
        self._assemblies: dict[str, Assembly] = {}

    @property
    def overwrites(self) -> int:
        """Surfaces that were replaced unseen."""
        return sum(assembly.overwrites for assembly in self._assemblies.values())

    def hear(self, frame: Frame, bodies: tuple[Body, ...], _text: bytes) -> None:
        """Snapshots replace a surface, updates change it; other messages are none of its."""
        if frame.topic not in self._assemblies:
            _, venue, underlying = frame.topic.split(".")
            self._assemblies[frame.topic] = Assembly(venue, underlying)
        assembly = self._assemblies[frame.topic]
        if frame.type == "snapshot" or frame.reason in SNAPSHOT_FOLLOWS:
            assembly.replace(bodies)
        for body in bodies if frame.type == "update" else ():
            assembly.put(body)

    def forget(self, topic: str) -> None:
        """Without a snapshot to come, the surface is gone."""
        if topic in self._assemblies:
            self._assemblies[topic].replace(())

    def settle(self) -> None:
        """Every batch is whole."""
        for assembly in self._assemblies.values():
            assembly.settle()

    def pop(self) -> Surface | None:
        """A surface that has changed."""
        for topic, assembly in self._assemblies.items():
            if assembly.changed:
                # the others come first next time
                self._assemblies[topic] = self._assemblies.pop(topic)
                return assembly.surface()
        return None


class Newest(Generic[T]):
    """The newest smile, or small record, of every expiry; what `read` makes of its body."""

    def __init__(self, read: Callable[[Body], T]) -> None:
        self._read = read
        self._unread: Latest[tuple[str, str, str], Body] = Latest()
        self._last: dict[tuple[str, str, str], Body] = {}

    @property
    def overwrites(self) -> int:
        """Smiles that were replaced unseen."""
        return self._unread.overwrites

    def hear(self, _frame: Frame, bodies: tuple[Body, ...], _text: bytes) -> None:
        """Keep what says something new."""
        for body in bodies:
            if body.state == "withdrawn":
                self._last.pop(body.key, None)
            elif not body.same(self._last.get(body.key)):
                self._last[body.key] = body
                self._unread.put(body.key, body)

    def forget(self, topic: str) -> None:
        """A smile that nothing follows is the newest there was."""

    def settle(self) -> None:
        """Smiles do not wait for each other."""

    def pop(self) -> T | None:
        """What has waited longest, unless it was withdrawn meanwhile."""
        while (body := self._unread.pop()) is not None:
            if self._last.get(body.key) is body:
                return self._read(body)
        return None


class Messages:
    """Every message as it came; beyond `waiting` of them the newest of each smile, with a `gap` where others were."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._waiting = waiting
        self._unread: Latest[object, tuple[Frame, bytes]] = Latest()
        self._heard = 0
        self._given = Chain()
        self._next: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._unread)

    @property
    def overwrites(self) -> int:
        """Messages that were replaced unseen."""
        return self._unread.overwrites

    def hear(self, frame: Frame, bodies: tuple[Body, ...], text: bytes) -> None:
        """Into a slot of its own while there are few, and into that of its smile otherwise."""
        self._heard += 1
        slot: object = self._heard
        if len(self._unread) >= self._waiting:
            parts = (body.expiry for body in bodies) if frame.type == "update" else (bytes(frame.status),)
            slot = frame.topic, frame.type, *parts
        self._unread.put(slot, (frame, text))

    def forget(self, topic: str) -> None:
        """The messages say so themselves."""

    def settle(self) -> None:
        """Messages do not wait for each other."""

    def pop(self) -> dict[str, Any] | None:
        """The next message, or the gap before it."""
        if self._next is None:
            waiting = self._unread.pop()
            if waiting is None:
                return None
            frame, text = waiting
            message: dict[str, Any] = orjson.loads(text)
            missing = self._given.missing(frame)
            self._given.hear(frame)
            if missing is None:
                return message
            self._next = message
            numbers = {"topic": frame.topic, "from_seq": missing[0], "to_seq": missing[1]}
            return {"type": "gap", **numbers, "epoch": frame.epoch, "reason": "slow"}
        message, self._next = self._next, None
        return message
