"""The instant at which a frame arrived."""

import time


class ArrivalClock:
    """Microseconds since the epoch that never run backwards: the wall clock once, the monotonic clock since."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_us(self) -> int:
        """The present instant."""
        return (self._offset_ns + time.monotonic_ns()) // 1000
