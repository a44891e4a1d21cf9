"""The stream of one kvd, as iterators over surfaces, smiles, small records and messages."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

from kvd.client.address import Address
from kvd.client.errors import ClientError
from kvd.client.link import Link, Timing
from kvd.client.pages import iso, surface_page
from kvd.client.subscriptions import Subscriptions
from kvd.client.weirs import Messages, Newest, Surfaces
from kvd.quotes import LockOf
from kvd.surface import Smile, Surface
from kvd.wire import Atm, decode_atm


class Held(NamedTuple):
    """A lock that stands: `unlock` takes its id, and `until` is when it is released by itself."""

    id: str
    until: datetime


class Statistics(NamedTuple):
    """What the stream has done so far.

    `reason` is that of the last loss of the connection. `gaps` counts by reason what kvd said was missing, and as
    ``unsaid`` what was missing without a word; `overwrites` counts what slow iterators have skipped.
    """

    connected: bool
    reason: str
    connections: int
    messages: int
    gaps: Mapping[str, int]
    overwrites: int


class Stream:
    """One connection to kvd while its ``async with`` block runs, made anew whenever it is lost: see `kvd.connect`.

    Every iterator yields the newest there is: a slow one skips, and holds no queue. It ends with the block, and raises
    ClientError if kvd comes to refuse.
    """

    def __init__(self, address: Address, timing: Timing) -> None:
        self._address = address
        self._timing = timing
        self._parts: tuple[Link, Subscriptions] | None = None

    async def __aenter__(self) -> Self:
        link = Link(self._address, self._timing)
        subscriptions = Subscriptions(link.post)
        self._parts = link, subscriptions
        self._keeping = asyncio.create_task(link.run(subscriptions.greet, subscriptions.hear))
        self._keeping.add_done_callback(lambda task: subscriptions.end(_error(task)))
        opened = asyncio.create_task(link.opened.wait())
        try:
            await asyncio.wait((self._keeping, opened), return_when=asyncio.FIRST_COMPLETED)
            if error := _error(self._keeping):
                raise error
        except BaseException:
            self._keeping.cancel()
            raise
        finally:
            opened.cancel()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._keeping.cancel()
        await asyncio.wait((self._keeping,))

    def statistics(self) -> Statistics:
        """What was done so far."""
        link, subscriptions = self._open
        return Statistics(
            connected=link.connected,
            reason=link.reason,
            connections=link.connections,
            messages=link.messages,
            gaps=dict(subscriptions.gaps),
            overwrites=subscriptions.overwrites,
        )

    def surfaces(self, *underlyings: str, venue: str = "*") -> AsyncGenerator[Surface, None]:
        """The surface of an underlying whenever it has changed, whole batches at a time; none named: of each.

        Smiles that were withdrawn are not in it. It has none at all while a kvd that was started anew has none yet.
        """
        topics = [f"surface.{venue}.{underlying}" for underlying in underlyings or "*"]
        return self._open[1].listen(topics, Surfaces())

    def smiles(self, underlying: str = "*", expiry: str = "*", venue: str = "*") -> AsyncGenerator[Smile, None]:
        """Each smile when it has changed; `expiry` as in topics, ``2026-12-25``. One that has left is not heard of."""
        return self._open[1].listen([f"smile.{venue}.{underlying}.{expiry}"], Newest(lambda body: body.smile))

    def atm(self, *underlyings: str, venue: str = "*") -> AsyncGenerator[Atm, None]:
        """The small, fast record of each expiry when it has changed; no underlying named: of each."""
        topics = [f"atm.{venue}.{underlying}" for underlying in underlyings or "*"]
        return self._open[1].listen(topics, Newest(lambda body: decode_atm(body.raw)))

    def messages(self, *topics: str) -> AsyncGenerator[dict[str, Any], None]:
        """Every message of `topics` as it came: snapshots, updates, gaps and status.

        An iterator more than a thousand behind gets a `gap` and the newest of each smile, as a slow client does.
        """
        return self._open[1].listen(topics, Messages())

    async def surface(self, underlying: str, venue: str | None = None, at: datetime | None = None) -> Surface:
        """The surface of `underlying` once, as it is, or as it was `at` an instant; `venue` where several have it.

        Raises RequestRefused if there is none, and Unreachable.
        """
        return (await asyncio.to_thread(surface_page, self._address, underlying, venue, at)).surface

    async def lock(
        self,
        underlying: str,
        expiry: str,
        of: LockOf,
        value: float,
        sd: float,
        until: datetime | timedelta,
        *,
        strike: float | None = None,
        venue: str = "deribit",
    ) -> Held:
        """Hold a parameter of a smile, or its vol at `strike`, to `value` within `sd`, until an instant or for a while.

        Raises RequestRefused, and Interrupted if the connection is lost before kvd has answered.
        """
        smile = {"op": "lock", "venue": venue, "underlying": underlying, "expiry": expiry}
        what = {"of": of, "value": value, "sd": sd} | ({} if strike is None else {"strike": strike})
        when = {"for_s": until.total_seconds()} if isinstance(until, timedelta) else {"until": iso(until)}
        ack = await self._open[0].ask({**smile, **what, **when})
        if ack.until is None:
            raise ClientError("kvd has not said until when the lock stands: use the client of the same version as kvd")
        return Held(ack.id, ack.until)

    async def unlock(self, id: str) -> None:
        """Release a lock. Raises RequestRefused and Interrupted."""
        await self._open[0].ask({"op": "unlock", "id": id})

    @property
    def _open(self) -> tuple[Link, Subscriptions]:
        if self._parts is None:
            raise ClientError("the stream is not open: use it inside `async with kvd.connect(...) as stream`")
        return self._parts


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    """What ended a task, alone: None if it runs still or was cancelled."""
    error = task.exception() if task.done() and not task.cancelled() else None
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
