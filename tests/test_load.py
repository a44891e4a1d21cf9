"""The ages that say whether kvd keeps up, and what it has in hand."""

from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

from kvd.latest import Inbox
from kvd.metrics import Metrics
from kvd.quotes import ForwardQuote

VENUE = '{venue="deribit"}'


class Page:
    """Metrics under a clock that a test sets."""

    def __init__(self) -> None:
        self.now_us = NOON
        self.metrics = Metrics(lambda: self.now_us)

    def series(self, name: str) -> float | None:
        """A series of the page, or None if it is not there."""
        lines = dict(line.rsplit(" ", 1) for line in self.metrics.render().decode().splitlines() if line[0] != "#")
        return float(lines[name]) if name in lines else None


def test_the_age_is_that_of_the_newest_quote_and_grows_while_nothing_is_applied():
    page = Page()
    assert page.series(f"kvd_newest_quote_age_seconds{VENUE}") is None
    old, new = (smile(CHRISTMAS + day * DAY, exchange_us=NOON - (3 - day) * SECOND) for day in (0, 1))
    page.metrics.observe_update(update(old, new), 0.001)
    assert page.series(f"kvd_newest_quote_age_seconds{VENUE}") == 2.0
    page.now_us += 60 * SECOND
    page.metrics.observe_update(update(), 0.001)
    page.metrics.observe_update(update(old), 0.001)
    assert page.series(f"kvd_newest_quote_age_seconds{VENUE}") == 62.0


def test_how_long_publishing_took_is_counted_once_for_each_newer_quote():
    page = Page()
    for late_s in (0.2, 0.2, 0.04):
        made = smile(exchange_us=page.now_us - round(late_s * SECOND), receive_us=page.now_us - SECOND // 100)
        page.metrics.observe_update(update(made), 0.001)
        page.metrics.observe_update(update(made), 0.001)
        page.now_us += SECOND
    assert page.series(f"kvd_exchange_to_publish_seconds_count{VENUE}") == 3.0
    assert page.series('kvd_exchange_to_publish_seconds_bucket{le="0.05",venue="deribit"}') == 1.0
    assert page.series('kvd_receipt_to_publish_seconds_bucket{le="0.01",venue="deribit"}') == 3.0


def test_a_clock_ahead_of_ours_gives_ages_below_zero():
    page = Page()
    page.metrics.observe_update(update(smile(exchange_us=NOON + SECOND)), 0.001)
    assert page.series(f"kvd_newest_quote_age_seconds{VENUE}") == -1.0
    assert page.series('kvd_exchange_to_publish_seconds_bucket{le="0.01",venue="deribit"}') == 1.0


def test_what_waits_for_the_calibrator_is_counted_in_every_cell():
    page, inbox = Page(), Inbox(50_000)
    for cell in range(3):
        for name in ("A", "B"):
            us = NOON + cell * 50_000 + 1
            inbox.put(ForwardQuote(name, "deribit", "BTC", None, 1.0, 1.0, us, us))
    page.metrics.observe_inbox(inbox)
    assert (
        page.series("kvd_inbox_events") == len(inbox) == 4.0
    )  # two sealed, having been merged, and two in the open cell
    inbox.take()
    assert page.series("kvd_inbox_events") == 2.0


def test_tasks_are_said_once_they_were_counted():
    page = Page()
    assert page.series("kvd_tasks") is None
    page.metrics.observe_tasks(7)
    assert page.series("kvd_tasks") == 7.0
