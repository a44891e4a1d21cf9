"""Every Prometheus name of kvd, and the only room that imports prometheus_client."""

from kvd.metrics.life import LifeStatistics
from kvd.metrics.restart import RestartStatistics
from kvd.metrics.series import Metrics
from kvd.metrics.statistics import (
    AuditStatistics,
    FeedStatistics,
    HandStatistics,
    InboxStatistics,
    PublisherStatistics,
    RecorderStatistics,
)

__all__ = [
    "AuditStatistics",
    "FeedStatistics",
    "HandStatistics",
    "InboxStatistics",
    "LifeStatistics",
    "Metrics",
    "PublisherStatistics",
    "RecorderStatistics",
    "RestartStatistics",
]
