"""Quotes in, surface updates out. Synchronous and clockless: time is what the quotes say, so a tape replays exactly."""

from collections import defaultdict
from collections.abc import Iterator
from copy import deepcopy

from kvd.calibrator.book import Book
from kvd.calibrator.forwards import Forwards
from kvd.calibrator.records import Work
from kvd.calibrator.rehearsal import Recited
from kvd.calibrator.state import CalibratorState
from kvd.config import Settings
from kvd.latest import Batch
from kvd.quotes import Event, Gap, Instrument, Quote
from kvd.surface import BatchFacts, SurfaceUpdate

__all__ = ["Calibrator", "CalibratorState", "Rehearsal"]

Key = tuple[str, str]  # venue, underlying
MOST_BOOKS = 64  # several times the underlyings of any venue
OTHERS = "others"


class Calibrator:
    """All surfaces of all venues: one `Book` for each venue and underlying, in the order in which they were first
    heard of.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._books: dict[Key, Book] = {}

    def works(self) -> list[Work]:
        """What the newest update of each underlying was made from."""
        return [book.work for book in self._books.values() if book.work is not None]

    def followed(self, venue: str | None, underlying: str | None) -> Iterator[tuple[Instrument, bool]]:
        """The options of `venue` and `underlying`, of all where that is None, and whether the newest quote of each
        counts.
        """
        for (at, name), book in self._books.items():
            if venue in (None, at) and underlying in (None, name):
                yield from book.instruments()

    def step(self, batch: Batch) -> list[SurfaceUpdate]:
        """Apply one batch; returns an update for every underlying that it concerned.

        Beyond `MOST_BOOKS` underlyings there is none: what is said of more is counted, as of one called `OTHERS`.
        """
        return [update for update in self.steps(batch) if update is not None]

    def steps(self, batch: Batch) -> Iterator[SurfaceUpdate | None]:
        """The same in turns: None wherever others may have one before it goes on. Until it is at its end no other batch
        may be begun.
        """
        refused = 0
        for key, events in _by_book(batch, self._books).items():
            if key not in self._books and len(self._books) >= MOST_BOOKS:
                refused += len(events)
                continue
            if key not in self._books:
                self._books[key] = Book(*key, self._settings)
            yield (yield from self._books[key].steps(batch.instant_us, events))
        if refused:
            facts = BatchFacts(0, {"too_many": refused}, {}, 0.0, 0)
            yield SurfaceUpdate(key[0], OTHERS, batch.instant_us, (), (), facts)

    def state(self) -> CalibratorState:
        """All that later updates follow from, beside the settings; nothing of it changes when the calibrator does."""
        return CalibratorState([book.state() for book in self._books.values()])

    def restore(self, state: CalibratorState) -> None:
        """Go on from `state` as the calibrator did from which it was taken, whose settings were the same."""
        self._books = {}
        for kept in deepcopy(state).books:
            book = self._books[kept.venue, kept.underlying] = Book(kept.venue, kept.underlying, self._settings)
            book.restore(kept)


class Rehearsal:
    """One filter after another put through the same batches, and nothing shown: `begin`, then `step` by step.

    What every filter hears alike is worked out the first time only; so [forward], [deribit] and which instruments are
    withheld must stay as they are.
    """

    def __init__(self) -> None:
        self._settings = Settings()
        self._books: dict[Key, Book] = {}
        self._forwards: dict[Key, Recited] = {}

    def begin(self, settings: Settings) -> None:
        """Start anew, with another filter."""
        self._settings, self._books = settings, {}
        for forwards in self._forwards.values():
            forwards.rewind()

    def step(self, batch: Batch) -> list[BatchFacts]:
        """Apply one batch; returns the facts of every underlying that it concerned."""
        facts = []
        for key, events in _by_book(batch, self._books).items():
            if key not in self._forwards:
                self._forwards[key] = Recited(Forwards(self._settings.forward))
            if key not in self._books:
                self._books[key] = Book(*key, self._settings, self._forwards[key])
            facts.append(self._books[key].learn(events).facts)
        return facts


def _by_book(batch: Batch, known: dict[Key, Book]) -> dict[Key, list[Event]]:
    """The events of a batch by venue and underlying; a gap concerns all books `known` of its venue."""
    by_book: defaultdict[Key, list[Event]] = defaultdict(list)
    for event in batch.events:
        if isinstance(event, Quote):
            of = event.instrument
            by_book[of.venue, of.underlying].append(event)
        elif isinstance(event, Gap):
            for key in known:
                if key[0] == event.venue:
                    by_book[key].append(event)
        else:
            by_book[event.venue, event.underlying].append(event)
    return by_book
