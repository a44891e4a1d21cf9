"""Who listens to what: subscribing, resuming after a loss, and handing every message to its listeners."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import orjson

from kvd.client.chain import Chain
from kvd.client.errors import ClientError, RequestRefused
from kvd.client.frames import Frame, read
from kvd.client.link import Answer, Lost
from kvd.client.listener import Ended, Listener
from kvd.client.weirs import Weir
from kvd.wire import covers

MAX_REQUEST_BYTES = 60_000  # kvd takes 64 KiB
NOTHING: Mapping[str, int] = MappingProxyType({})
T = TypeVar("T")


class Subscriptions:
    """The listeners of one stream. `post` sends a request and calls back with its answer.

    `gaps` counts by reason what kvd said was missing, and as ``unsaid`` what was missing without a word.
    """

    def __init__(self, post: Callable[[dict[str, Any], Answer], None]) -> None:
        self.gaps: Counter[str] = Counter()
        self._post = post
        self._chain = Chain()
        self._listeners: list[Listener[Any]] = []
        self._overwrites = 0  # of those that are gone
        self._end: BaseException | None = None

    @property
    def overwrites(self) -> int:
        """What slow iterators have skipped."""
        return self._overwrites + sum(listener.weir.overwrites for listener in self._listeners)

    async def listen(self, topics: Iterable[str], weir: Weir[T]) -> AsyncGenerator[T, None]:
        """What `weir` makes of the messages of `topics`, for ever."""
        listener = Listener(topics, weir)
        self._listeners.append(listener)
        if self._end is not None:
            listener.end(self._end)
        self._subscribe([listener])
        try:
            while True:
                yield await listener.next()
        except Ended:
            return
        finally:
            self._listeners.remove(listener)
            self._overwrites += weir.overwrites
            self._unsubscribe(listener)

    def greet(self) -> None:
        """Ask a new connection for everything, from where the last one ended."""
        known = [listener for listener in self._listeners if listener.hearing]
        if known:
            self._subscribe(known, self._chain.seqs())
        for listener in self._listeners:
            if not listener.hearing:  # its words have not been tried yet: let it fail alone
                self._subscribe([listener])

    def hear(self, text: bytes) -> Frame:
        """Hand a message to its listeners. Raises Lost if others are missing before it."""
        try:
            frame, bodies = read(text)
        except msgspec.DecodeError as error:
            raise ClientError(
                f"a message that cannot be read ({error}): use the client of the same version as kvd"
            ) from None
        listeners = [one for one in self._listeners if one.hearing and one.wants(frame.topic)] if frame.topic else ()
        if listeners:
            if self._chain.missing(frame) is not None:
                self.gaps["unsaid"] += 1
                raise Lost(f"messages of {frame.topic} are missing")
            self._chain.hear(frame)
            self.gaps.update([frame.reason] if frame.type == "gap" else ())
        for listener in listeners:
            listener.weir.hear(frame, bodies, text)
            listener.wake()
        return frame

    def end(self, error: BaseException | None) -> None:
        """The stream is over: for good reason, or for `error`."""
        self._end = error or Ended()
        for listener in self._listeners:
            listener.end(self._end)

    def _subscribe(self, listeners: list[Listener[Any]], seqs: Mapping[str, int] = NOTHING) -> None:
        topics = set().union(*(listener.topics for listener in listeners))
        request: dict[str, Any] = {"op": "subscribe", "topics": sorted(topics)}
        known = {topic: seq for topic, seq in seqs.items() if covers(topics, topic)}
        resuming = request | {"epoch": self._chain.epoch, "from_seq": known}
        if known and len(orjson.dumps(resuming)) <= MAX_REQUEST_BYTES:  # beyond that, snapshots
            request = resuming
        self._post(request, partial(self._subscribed, listeners, known))

    def _subscribed(self, listeners: list[Listener[Any]], seqs: Mapping[str, int], answer: Frame | None) -> None:
        if answer is None:
            return  # the next connection is asked again
        for listener in listeners:
            listener.hearing = True
            if answer.type == "error":
                listener.end(RequestRefused(answer.code, answer.message))
        for topic in seqs.keys() - set(answer.resumed):
            self._chain.forget(topic)
            for listener in listeners:
                if listener.wants(topic):
                    listener.weir.forget(topic)
                    listener.wake()

    def _unsubscribe(self, listener: Listener[Any]) -> None:
        left = set().union(*(other.topics for other in self._listeners))
        if listener.hearing and listener.topics - left:
            self._post({"op": "unsubscribe", "topics": sorted(listener.topics - left)}, lambda _: None)
        for topic in self._chain.seqs():
            if not covers(left, topic):
                self._chain.forget(topic)
