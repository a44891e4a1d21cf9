"""The event loop's pulse: how late its timers fire, and where it is stuck when they do not fire at all."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import structlog

BEAT_S = 0.02
STUCK_AFTER_S = 2.0
LOOKS = 8  # at the pulse, in the time after which the loop counts as stuck
DEEPEST = 12  # frames of a stack that are said, from the innermost
log = structlog.get_logger()


class Pulse:
    """A timer of its own, every 20 ms, and a thread that looks whether it still fires.

    `observe_lag` is told how late each beat was, in seconds. A loop without a beat for `stuck_after_s` is stuck: a
    thread logs once where, for the loop itself can not; `stalls` counts how often, once it has come back. Code that
    never lets go of the interpreter's lock keeps the thread from looking, too; it is counted all the same.
    """

    def __init__(self, observe_lag: Callable[[float], object], stuck_after_s: float = STUCK_AFTER_S) -> None:
        self.stalls = 0
        self._observe_lag = observe_lag
        self._stuck_after_s = stuck_after_s
        self._beaten_s = 0.0  # monotonic, as of the newest beat

    async def beat(self) -> NoReturn:
        """For ever."""
        self._beaten_s = time.monotonic()
        ended = threading.Event()
        thread = threading.Thread(target=self._look, args=(threading.get_ident(), ended), name="kvd-pulse", daemon=True)
        thread.start()
        try:
            while True:
                due_s = time.monotonic() + BEAT_S
                await asyncio.sleep(BEAT_S)
                self._beaten_s = time.monotonic()
                self._beat(max(0.0, self._beaten_s - due_s))
        finally:
            ended.set()
            thread.join()

    def _beat(self, late_s: float) -> None:
        self._observe_lag(late_s)
        if late_s >= self._stuck_after_s:
            self.stalls += 1
            log.warning("loop.resumed", late_s=round(late_s, 3))

    def _look(self, loop_thread: int, ended: threading.Event) -> None:
        """In a thread: say where the loop is stuck, once until it beats again."""
        said_s = 0.0
        while not ended.wait(self._stuck_after_s / LOOKS):
            beaten_s = self._beaten_s
            late_s = time.monotonic() - beaten_s - BEAT_S
            if late_s >= self._stuck_after_s and beaten_s != said_s:
                said_s = beaten_s
                log.error("loop.stuck", late_s=round(late_s, 3), stack=_stack(loop_thread))


def _stack(thread: int) -> list[str]:
    """Where a thread is, innermost call last."""
    frame = sys._current_frames().get(thread)
    calls = traceback.extract_stack(frame)[-DEEPEST:] if frame else []
    return [f"{call.filename}:{call.lineno} {call.name}" for call in calls]
