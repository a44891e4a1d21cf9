"""Whether data still come, and whether they are still young. Pure: time is an argument."""

from collections import deque

LOOKS = 30  # at the canary, in the time after which it counts as dead
MARGIN = 0.15  # of that time, left for the word of it to reach subscribers
BLOCKED = 0.1  # of that time: if we slept longer between two looks, the silence may be ours
MINUTE_US = 60_000_000
MEMORY_MINUTES = 60


class Delay:
    """By how much frames arrive later than the venue says it sent them: two clocks and a journey, so only its least
    is known to be no delay. The least of an hour is: long enough to see data grow old slowly, short enough for clocks
    not to drift apart by much.
    """

    def __init__(self) -> None:
        self._least: deque[list[int]] = deque(maxlen=MEMORY_MINUTES)  # minute, microseconds

    @property
    def skew_s(self) -> float | None:
        """The least of the last minute or two, seconds; None before the first frame."""
        return min(least for _, least in list(self._least)[-2:]) / 1e6 if self._least else None

    def hear(self, exchange_us: int, receive_us: int) -> float:
        """By how much this one came later than the promptest, seconds."""
        minute, late_us = receive_us // MINUTE_US, receive_us - exchange_us
        if not self._least or self._least[-1][0] != minute:
            self._least.append([minute, late_us])
        elif late_us < self._least[-1][1]:
            self._least[-1][1] = late_us
        return (late_us - min(least for _, least in self._least)) / 1e6


class Canary:
    """One connection's watch over its data. It is dead when it says nothing for `limit_s`, or nothing that is younger.

    Times are monotonic seconds. It is called dead a little early, see `MARGIN`.
    """

    def __init__(self, limit_s: float, now_s: float) -> None:
        self.delay = Delay()
        self.look_s = limit_s / LOOKS
        self.spoke = False
        self._limit_s = limit_s
        self._heard_at_s = self._looked_at_s = now_s
        self._behind_s = 0.0
        self._late = False
        self._forgave = False

    def hear(self, exchange_us: int, receive_us: int, now_s: float) -> None:
        """The canary's own word."""
        self.breathe(now_s)
        behind_s = self.delay.hear(exchange_us, receive_us)
        # what is late and getting less so is only a backlog being worked off, ours or the network's
        self._late = behind_s >= self._behind_s and behind_s > (1 - MARGIN) * self._limit_s
        self._behind_s = behind_s

    def breathe(self, now_s: float) -> None:
        """Data of which the age is not known."""
        self._heard_at_s, self.spoke = now_s, True

    def dead(self, now_s: float) -> str:
        """Why it counts as dead at `now_s`, "stale" or "late"; empty while it lives. To be asked every `look_s`."""
        blocked = now_s - self._looked_at_s > BLOCKED * self._limit_s
        self._looked_at_s = now_s
        self._forgave = blocked and not self._forgave  # it was us who slept: give the frames a chance to be read
        if self._forgave:
            return ""
        if now_s - self._heard_at_s > (1 - MARGIN) * self._limit_s:
            return "stale"
        return "late" if self._late else ""
