"""One iterator and the weir in front of it."""

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from kvd.client.errors import ClientError
from kvd.client.weirs import Weir
from kvd.wire import covers

T = TypeVar("T")
SETTLE_S = 0.005  # messages of one batch follow each other within this; a tenth of the grid that batches are cut on


class Ended(Exception):
    """The stream was closed."""


class Listener(Generic[T]):
    """What one iterator listens to. `hearing` from kvd's ack on, which its snapshots follow."""

    def __init__(self, topics: Iterable[str], weir: Weir[T]) -> None:
        self.topics = frozenset(topics)
        self.weir = weir
        self.hearing = False
        self._heard = asyncio.Event()
        self._unsettled = False
        self._end: BaseException | None = None

    def wants(self, topic: str) -> bool:
        """Whether messages of `topic` are for this one."""
        return covers(self.topics, topic)

    def wake(self) -> None:
        """The weir has heard something."""
        self._heard.set()

    def end(self, error: BaseException) -> None:
        """Nothing more will be heard: `next` raises `error` after what is left."""
        self._end = error
        self._heard.set()

    async def next(self) -> T:
        """The next thing to look at. Raises what `end` was given, and ClientError for what cannot be decoded."""
        while (found := self._pop()) is None:
            if self._end is not None and not self._unsettled:
                raise self._end
            await self._settled()
        return found

    async def _settled(self) -> None:
        """Wait for something to be heard, or for the silence after it."""
        try:
            async with asyncio.timeout(SETTLE_S if self._unsettled else None):
                await self._heard.wait()
            self._heard.clear()
            self._unsettled = True
        except TimeoutError:
            self.weir.settle()
            self._unsettled = False

    def _pop(self) -> T | None:
        try:
            return self.weir.pop()
        except msgspec.DecodeError as error:
            raise ClientError(
                f"a smile that cannot be read ({error}): use the client of the same version as kvd"
            ) from None
