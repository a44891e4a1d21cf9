"""One venue's stream, for ever: connect, subscribe, stamp, parse, answer, notice silence, come back."""

from kvd.feeds.live.feed import LiveFeed
from kvd.feeds.live.statistics import FeedStatistics

__all__ = ["FeedStatistics", "LiveFeed"]
