"""Every Prometheus name of kvd, and the only room that imports prometheus_client."""

from kvd.metrics.series import Metrics
from kvd.metrics.statistics import FeedStatistics, InboxStatistics, PublisherStatistics

__all__ = ["FeedStatistics", "InboxStatistics", "Metrics", "PublisherStatistics"]
