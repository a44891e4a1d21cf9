"""Python's cyclic garbage collector, kept from holding up the event loop.

A full collection looks at every object that is not frozen: a hundred thousand of them, most of them modules, take
130 ms. What will live as long as kvd does is therefore frozen, and a collection looks at what came since. At Python's
own thresholds it then runs once a second (0.3 ms), every ten (1 ms) and every hundred (3 to 10 ms).
"""

import gc
import time
from collections import Counter
from typing import NamedTuple, Self


class Statistics(NamedTuple):
    """Collections and the longest of them (s) by generation, and how many objects are frozen."""

    collections: dict[str, int]
    longest_s: dict[str, float]
    frozen: int


class Collector:
    """Freezes, and measures every collection while its ``with`` block runs."""

    def __init__(self) -> None:
        self._collections: Counter[str] = Counter()
        self._longest_s: dict[str, float] = {}
        self._began_s = 0.0

    def __enter__(self) -> Self:
        gc.collect()  # the garbage of the start, before anybody waits for the loop
        gc.freeze()
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)
        gc.unfreeze()

    def freeze(self) -> None:
        """Have no collection look again at what there is now: at once, whatever it is."""
        gc.freeze()

    def statistics(self) -> Statistics:
        """What was measured so far."""
        return Statistics(dict(self._collections), dict(self._longest_s), gc.get_freeze_count())

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
            return
        generation, took_s = str(info["generation"]), time.perf_counter() - self._began_s
        self._collections[generation] += 1
        self._longest_s[generation] = max(took_s, self._longest_s.get(generation, 0.0))
