"""Channels that were confirmed and never spoke.

On subscribing to a ticker or to a price index Deribit sends its present state at once. A channel that has said nothing
long after it was confirmed is asked for again, a few times. Once it has spoken, nothing is to be learnt from its
silence: an illiquid option has nothing to say for hours.
"""

from collections import deque
from collections.abc import Iterable

SPEAK_AT_ONCE = ("ticker.", "deribit_price_index.")
DUE_AFTER_US = 10_000_000
MAX_ASKS = 3


class Silence:
    """Which channels have yet to speak. Whoever hears one discards it from ``unheard``: no frame costs more."""

    def __init__(self) -> None:
        self.unheard: set[str] = set()
        self.given_up: set[str] = set()
        self._late: set[str] = set()
        self._due: deque[tuple[int, tuple[str, ...]]] = deque()
        self._due_us: dict[str, int] = {}  # of each, the latest
        self._asks: dict[str, int] = {}

    def __len__(self) -> int:
        """How many channels should have spoken and have not."""
        self._late &= self.unheard
        return len(self._late)

    def asked(self, channels: Iterable[str]) -> None:
        """They are about to be subscribed to: from now on they may speak."""
        self.unheard.update(channel for channel in channels if channel.startswith(SPEAK_AT_ONCE))

    def confirmed(self, channels: Iterable[str], now_us: int) -> None:
        """The venue has confirmed them: from now on they are awaited."""
        awaited = tuple(sorted(self.unheard.intersection(channels)))
        if awaited:
            self._due.append((now_us + DUE_AFTER_US, awaited))
            self._due_us |= dict.fromkeys(awaited, now_us + DUE_AFTER_US)

    def forget(self, channel: str) -> None:
        """It is no longer wanted."""
        self.unheard.discard(channel)
        self.given_up.discard(channel)
        self._asks.pop(channel, None)
        self._due_us.pop(channel, None)

    def overdue(self, now_us: int) -> list[str]:
        """The channels to ask for again: each is named once for each time that it was asked for in vain."""
        again = []
        self.given_up &= self.unheard
        while self._due and self._due[0][0] <= now_us:
            due_us, channels = self._due.popleft()
            for channel in channels:
                if self._due_us.get(channel) != due_us:
                    continue
                del self._due_us[channel]
                if channel not in self.unheard:
                    continue
                self._late.add(channel)
                self._asks[channel] = self._asks.get(channel, 1) + 1
                if self._asks[channel] <= MAX_ASKS:
                    again.append(channel)
                else:
                    self.given_up.add(channel)
        return again
