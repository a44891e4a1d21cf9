"""Which channels are wanted, asked for and confirmed. One request is out at a time.

Deribit refuses a request that is too large without saying which one it means: with only one out there is no doubt.
"""

from collections.abc import Iterable
from typing import NamedTuple

MAX_TRIES = 3
MOST_CHANNELS = 20_000  # several times what Deribit lists: beyond that it is not listing any more


class Request(NamedTuple):
    """A subscribe or unsubscribe request for `channels`."""

    method: str
    channels: tuple[str, ...]


class Subscriptions:
    """The channels of one connection. ``dropped`` are those the venue refused for good; they stay wanted."""

    def __init__(self, chunk_channels: int) -> None:
        self.wanted: set[str] = set()
        self.acked: set[str] = set()
        self.dropped: set[str] = set()
        self.out: Request | None = None
        self._ceiling = chunk_channels
        self._chunk = chunk_channels
        self._waiting: dict[str, None] = {}  # an ordered set
        self._leaving: dict[str, None] = {}
        self._tries: dict[str, int] = {}

    @property
    def settled(self) -> bool:
        """Whether nothing is out and nothing waits to be asked."""
        return self.out is None and not self._waiting and not self._leaving

    def want(self, channels: Iterable[str]) -> None:
        """Subscribe to `channels`, except those already asked for, as far as there is room."""
        for channel in channels:
            self._leaving.pop(channel, None)
            if channel not in self.wanted and len(self.wanted) < MOST_CHANNELS:
                self.wanted.add(channel)
                self._waiting[channel] = None

    def leave(self, channel: str) -> None:
        """Unsubscribe from `channel`, or no longer ask for it."""
        if channel not in self.wanted:
            return
        self.wanted.discard(channel)
        self._tries.pop(channel, None)
        self.dropped.discard(channel)
        if channel in self._waiting:
            del self._waiting[channel]
        else:
            self._leaving[channel] = None

    def renew(self, channels: Iterable[str]) -> None:
        """Unsubscribe from `channels`, which are subscribed to, and subscribe to them again."""
        for channel in channels:
            if channel in self.acked and channel in self.wanted:
                self._leaving[channel] = self._waiting[channel] = None

    def next(self) -> Request | None:
        """The request to send now, if there is one to send and none is out."""
        if self.out is not None:
            return None
        queue, method = (self._leaving, "unsubscribe") if self._leaving else (self._waiting, "subscribe")
        channels = tuple(queue)[: self._chunk]
        for channel in channels:
            del queue[channel]
        self.out = Request(method, channels) if channels else None
        return self.out

    def confirm(self, confirmed: frozenset[str]) -> frozenset[str]:
        """The request that is out succeeded, for `confirmed` at least; what is missing of it is asked for again.

        Returns what is subscribed to now and was not.
        """
        if self.out is None:
            return frozenset()
        method, channels = self.out
        self.out = None
        self._chunk = min(self._ceiling, 2 * self._chunk)
        if method == "unsubscribe":
            self.acked.difference_update(channels)
            return frozenset()
        fresh = confirmed.intersection(channels)
        self.acked.update(fresh)
        self._again(channel for channel in channels if channel not in confirmed)
        return fresh

    def refuse(self, too_large: bool) -> None:
        """The request that is out failed: halve it and try again; give up on a channel that fails alone."""
        if self.out is None:
            return
        method, channels = self.out
        self.out = None
        self._chunk = max(1, len(channels) // 2)
        if too_large and len(channels) > 1:
            self._ceiling = self._chunk
        if method == "unsubscribe":
            self.acked.difference_update(channels)
        elif len(channels) == 1:
            self._again(channels)
        else:
            self._waiting = dict.fromkeys(channels) | self._waiting

    def repeat(self) -> None:
        """The request that is out failed for a passing reason: send the same again."""
        if self.out is not None:
            method, channels = self.out
            self.out = None
            if method == "unsubscribe":
                self._leaving = dict.fromkeys(channels) | self._leaving
            else:
                self._waiting = dict.fromkeys(channels) | self._waiting

    def _again(self, channels: Iterable[str]) -> None:
        for channel in channels:
            if channel not in self.wanted:
                continue
            self._tries[channel] = self._tries.get(channel, 0) + 1
            if self._tries[channel] < MAX_TRIES:
                self._waiting[channel] = None
            else:
                self.dropped.add(channel)
