"""How this process fares: its loop's pulse, its garbage, what is amiss with it, and what systemd hears of that."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Self

from kvd.app.collector import Collector
from kvd.app.pulse import Pulse
from kvd.app.readiness import Readiness
from kvd.app.systemd import Systemd

LOOK_S = 0.5


class Statistics(NamedTuple):
    """Whether kvd is ready, what is amiss by name (True: it is not ready for it), how often the event loop was stuck;
    and by generation collections of garbage and the longest of them (s), with the objects that are spared them.
    """

    ready: bool
    troubles: dict[str, bool]
    stalls: int
    collections: dict[str, int]
    longest_collection_s: dict[str, float]
    frozen: int


class Life:
    """All of it, for a ``with`` block. `observe_lag` is told how late each beat was, in seconds; `now_us` is the wall
    clock, `environ` what systemd has set.
    """

    def __init__(
        self, observe_lag: Callable[[float], object], now_us: Callable[[], int], environ: Mapping[str, str]
    ) -> None:
        self.readiness = Readiness(now_us)
        self.systemd = Systemd(environ)
        self._pulse = Pulse(observe_lag)
        self._collector = Collector()

    def __enter__(self) -> Self:
        self._collector.__enter__()
        self.systemd.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.systemd.__exit__(*raised)
        self._collector.__exit__(*raised)

    def duties(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs beside everything else, until it is cancelled."""
        return self._pulse.beat(), self.systemd.ping(), self.systemd.follow(self.readiness.line), self._settle()

    def statistics(self) -> Statistics:
        """As of now."""
        troubles = {trouble.name: trouble.unready for trouble in self.readiness.look()}
        ready = not any(troubles.values())
        return Statistics(ready, troubles, self._pulse.stalls, *self._collector.statistics())

    async def _settle(self) -> None:
        """Freeze what has been made by the time that everything is there."""
        while any(trouble.unready for trouble in self.readiness.look()):  # noqa: ASYNC110 many may bring that about
            await asyncio.sleep(LOOK_S)
        self._collector.freeze()
