"""Quotes in, surface updates out. Synchronous and clockless: time is what the quotes say, so a tape replays exactly."""

from kvd.calibrator.book import Book, Work
from kvd.config import Settings
from kvd.latest import Batch
from kvd.quotes import Event, Gap, Quote
from kvd.surface import SurfaceUpdate

__all__ = ["Calibrator"]


class Calibrator:
    """All surfaces of all venues: one `Book` for each venue and underlying, in the order in which they were first
    heard of.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._books: dict[tuple[str, str], Book] = {}

    def works(self) -> list[Work]:
        """What the newest update of each underlying was made from."""
        return [book.work for book in self._books.values() if book.work is not None]

    def step(self, batch: Batch) -> list[SurfaceUpdate]:
        """Apply one batch; returns an update for every underlying that it concerned."""
        by_book: dict[tuple[str, str], list[Event]] = {}
        for event in batch.events:
            if isinstance(event, Gap):
                for key in self._books:
                    if key[0] == event.venue:
                        by_book.setdefault(key, []).append(event)
            else:
                of = event.instrument if isinstance(event, Quote) else event
                by_book.setdefault((of.venue, of.underlying), []).append(event)
        updates = []
        for key, events in by_book.items():
            if key not in self._books:
                self._books[key] = Book(*key, self._settings)
            updates.append(self._books[key].step(batch.instant_us, events))
        return updates
