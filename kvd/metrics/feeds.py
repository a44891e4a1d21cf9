"""What is said of each venue's feed, and how it is read off."""

from collections.abc import Callable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kvd.metrics.statistics import FeedStatistics

FEED_SERIES: tuple[tuple[str, str, type[Metric], Callable[[FeedStatistics], float | None]], ...] = (
    ("kvd_feed_frames", "Frames received.", CounterMetricFamily, lambda f: f.frames),
    ("kvd_feed_bytes", "Bytes received in frames.", CounterMetricFamily, lambda f: f.bytes),
    ("kvd_feed_bad_frames", "Frames that broke the venue's protocol.", CounterMetricFamily, lambda f: f.bad_frames),
    ("kvd_feed_gaps", "Interruptions of the stream.", CounterMetricFamily, lambda f: f.gaps),
    ("kvd_feed_reconnects", "Attempts to come back.", CounterMetricFamily, lambda f: f.reconnects),
    ("kvd_feed_connected", "Whether there is a connection now.", GaugeMetricFamily, lambda f: f.connected),
    (
        "kvd_feed_handovers",
        "Connections taken over while the one before still spoke.",
        CounterMetricFamily,
        lambda f: f.handovers,
    ),
    (
        "kvd_feed_data_age_seconds",
        "Age of the newest data, heartbeats excluded.",
        GaugeMetricFamily,
        lambda f: f.last_data_age_s,
    ),
    ("kvd_feed_channels_wanted", "Channels to be subscribed.", GaugeMetricFamily, lambda f: f.channels_wanted),
    ("kvd_feed_channels_acked", "Channels confirmed.", GaugeMetricFamily, lambda f: f.channels_acked),
    (
        "kvd_feed_channels_silent",
        "Channels confirmed that never said what they had to say at once.",
        GaugeMetricFamily,
        lambda f: f.channels_silent,
    ),
    (
        "kvd_feed_clock_skew_seconds",
        "By how much our clock is ahead of the venue's, with the shortest journey in it.",
        GaugeMetricFamily,
        lambda f: f.clock_skew_s,
    ),
)
