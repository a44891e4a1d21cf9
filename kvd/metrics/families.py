"""How a series is put together: gauges, counters and histograms from what was observed."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Samples = Iterable[tuple[tuple[str, ...], float | None]]  # label values, value; None says nothing


class Histogram:
    """Counts below fixed bounds, and a sum, in seconds."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += seconds

    def family(self, name: str, help_text: str) -> HistogramMetricFamily:
        """The series of this histogram."""
        return HistogramMetricFamily(name, help_text, buckets=self.buckets(), sum_value=self.sum_s)

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound, and how many observations lay at or below it."""
        bounds = [*map(str, self._bounds_s), "+Inf"]
        return [(bound, float(sum(self._counts[: i + 1]))) for i, bound in enumerate(bounds)]


def histograms(
    name: str, help_text: str, labels: tuple[str, ...], samples: Mapping[tuple[str, ...], Histogram]
) -> Metric:
    """Histograms by label values."""
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for values, histogram in sorted(samples.items()):
        family.add_metric(values, histogram.buckets(), histogram.sum_s)
    return family


def one(value: float) -> Samples:
    """A value without labels."""
    return [((), value)]


def keyed(counts: Mapping[str, int]) -> Samples:
    """Counts by their one label."""
    return [((key,), count) for key, count in counts.items()]


def gauge(name: str, help_text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    """Values that go up and down."""
    return _fill(GaugeMetricFamily(name, help_text, labels=labels), samples)


def counter(name: str, help_text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    """Counts since the start."""
    return _fill(CounterMetricFamily(name, help_text, labels=labels), samples)


def _fill(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in sorted(samples):
        if value is not None:
            family.add_metric(labels, value)
    return family
