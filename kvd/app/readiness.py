"""What is amiss with the daemon and since when: what keeps it from being ready, and what is only worth knowing."""

from collections.abc import Callable, Mapping

import structlog

from kvd.sinks.answers import Trouble

Said = Callable[[], Mapping[str, str]]
"""Part of the daemon -> what is amiss with it now, a sentence; nothing where all is well. It must not wait."""

log = structlog.get_logger()


class Readiness:
    """Asks everyone who may have something to say, in `missing` (then kvd is not ready) or in `degraded` (it is).

    `now_us` is the wall clock. Who wants since when to be right looks often.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.missing: list[Said] = []
        self.degraded: list[Said] = []
        self._now_us = now_us
        self._since_us: dict[tuple[str, bool], int] = {}
        self._ready = False

    def look(self) -> tuple[Trouble, ...]:
        """Everything that is amiss now, what is missing first; changes of readiness are logged."""
        now_us, since_us = self._now_us(), self._since_us
        said = [(True, look()) for look in self.missing] + [(False, look()) for look in self.degraded]
        troubles = tuple(
            Trouble(name, words, unready, since_us.get((name, unready), now_us))
            for unready, sentences in said
            for name, words in sentences.items()
        )
        self._since_us = {(trouble.name, trouble.unready): trouble.since_us for trouble in troubles}
        self._say([trouble for trouble in troubles if trouble.unready])
        return troubles

    def line(self) -> str:
        """The same in a line, for who has only one."""
        troubles = self.look()
        words = [f"{trouble.name}: {trouble.words}" for trouble in troubles]
        return "; ".join(["not ready" if any(trouble.unready for trouble in troubles) else "ready", *words])

    def _say(self, missing: list[Trouble]) -> None:
        if self._ready is bool(missing):
            self._ready = not missing
            if self._ready:
                log.info("daemon.ready")
            else:
                log.warning("daemon.unready", missing={trouble.name: trouble.words for trouble in missing})
