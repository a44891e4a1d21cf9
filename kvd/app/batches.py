"""Batches on their way through the calibrator, a turn of the event loop at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator

from kvd.calibrator import Calibrator
from kvd.latest import Inbox
from kvd.surface import SurfaceUpdate


class Batches:
    """Takes what is sealed from `inbox` and hands each update to `publish`, with the seconds that it took.

    Others have the loop in between, so that a batch of many underlyings, or one that takes a long repair, holds up
    neither sockets nor probes. What is published does not depend on it: a batch that was begun is finished before the
    next, by whoever drains then. `observe_turn` is told how long each turn was, in seconds; `done` after every batch,
    which is the only time to look at the state of the calibrator as a whole.
    """

    def __init__(
        self,
        inbox: Inbox,
        calibrator: Calibrator,
        publish: Callable[[SurfaceUpdate, float], object],
        observe_turn: Callable[[float], object],
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self._inbox = inbox
        self._calibrator = calibrator
        self._publish = publish
        self._observe_turn = observe_turn
        self._done = done
        self._underway: Iterator[None] = iter(())

    async def drain(self) -> None:
        """Publish every batch that is sealed. Where this is cancelled, the next call goes on from there."""
        while True:
            for _ in self._underway:
                await asyncio.sleep(0)
            batch = self._inbox.take()
            if batch is None:
                return
            self._underway = self._turns(self._calibrator.steps(batch))

    def _turns(self, steps: Iterator[SurfaceUpdate | None]) -> Iterator[None]:
        spent_s, began_s = 0.0, time.perf_counter()
        for update in steps:
            turn_s = time.perf_counter() - began_s
            spent_s += turn_s
            self._observe_turn(turn_s)
            yield
            if update is not None:
                self._publish(update, spent_s)
                spent_s = 0.0
                yield
            began_s = time.perf_counter()
        self._done()
