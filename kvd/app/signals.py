"""SIGTERM and SIGINT: the first asks for a clean end, the second ends now."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that is set by the first signal; inside a running loop, for as long as the block lasts.

    The second ends the process with 128 and its number even where the loop is stuck: Python's own handlers run between
    two instructions of whatever the main thread is at.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
