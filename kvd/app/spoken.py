"""What the topic `status` says of the feeds: every outage, also one that is over before anybody has looked."""

from collections.abc import Mapping

from kvd.feeds.live import FeedStatistics


class Spoken:
    """Remembers what was said."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[bool, int]] = {}  # flowing, gaps

    def news(self, feeds: Mapping[str, FeedStatistics]) -> list[dict[str, str]]:
        """The statuses to publish, in order, to whoever has heard all before."""
        news = []
        for venue, feed in feeds.items():
            flowed, gaps = self._said.get(venue, (None, feed.gaps))
            self._said[venue] = feed.flowing, feed.gaps
            if flowed is not False and (not feed.flowing or feed.gaps > gaps):
                news.append({"venue": venue, "state": "lost", "reason": feed.last_error})
            if feed.flowing and (not flowed or feed.gaps > gaps):
                news.append({"venue": venue, "state": "connected"})
        return news
