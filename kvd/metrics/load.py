"""Whether kvd keeps up: how old what it publishes is, and what it has in hand."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from kvd.metrics.families import Histogram, Samples, gauge, histograms
from kvd.surface import SurfaceUpdate

VENUE = ("venue",)
AGE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Load:
    """The newest quote that was applied of each venue, and how old such quotes were when they were published.

    An age from the receipt is by this machine's clock alone; one from the exchange's stamp has the difference between
    the two clocks in it, and may be negative.
    """

    def __init__(self) -> None:
        self.tasks: int | None = None
        self._exchange_us: dict[tuple[str, ...], int] = {}
        self._receive_us: dict[tuple[str, ...], int] = {}
        self._from_exchange: dict[tuple[str, ...], Histogram] = {}
        self._from_receipt: dict[tuple[str, ...], Histogram] = {}

    def observe_update(self, update: SurfaceUpdate, now_us: int) -> None:
        """An update was published at `now_us`. One that moved nothing, and one of older quotes, says nothing here."""
        if not update.smiles:
            return
        venue = (update.venue,)
        exchange_us = max(smile.exchange_us for smile in update.smiles)
        receive_us = max(smile.receive_us for smile in update.smiles)
        if exchange_us > self._exchange_us.get(venue, 0):
            self._exchange_us[venue] = exchange_us
            self._from_exchange.setdefault(venue, Histogram(AGE_BUCKETS_S)).observe((now_us - exchange_us) / 1e6)
        if receive_us > self._receive_us.get(venue, 0):
            self._receive_us[venue] = receive_us
            self._from_receipt.setdefault(venue, Histogram(AGE_BUCKETS_S)).observe((now_us - receive_us) / 1e6)

    def collect(self, now_us: int) -> Iterator[Metric]:
        """The series, as of `now_us`: the ages grow while nothing is applied."""
        exchange, receive = (_ages(stamps, now_us) for stamps in (self._exchange_us, self._receive_us))
        yield gauge(
            "kvd_newest_quote_age_seconds", "Age of the newest quote published, by the venue's clock.", VENUE, exchange
        )
        yield gauge("kvd_newest_receipt_age_seconds", "Time since the arrival of what is published.", VENUE, receive)
        since = "From the venue's own stamp to publishing, clocks' difference included."
        yield histograms("kvd_exchange_to_publish_seconds", since, VENUE, self._from_exchange)
        yield histograms("kvd_receipt_to_publish_seconds", "From arrival to publishing.", VENUE, self._from_receipt)
        yield gauge("kvd_tasks", "Tasks of the event loop.", (), [((), self.tasks)])


def _ages(stamps_us: dict[tuple[str, ...], int], now_us: int) -> Samples:
    return [(venue, (now_us - stamp_us) / 1e6) for venue, stamp_us in stamps_us.items()]
