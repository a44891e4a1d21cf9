"""Before the doors: what no market says. Numbers that leave nothing to compute with, instants ahead of their arrival,
and more of everything than any venue lists are turned away before anything remembers them, with a reason and a count.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from kvd.calibrator.facts import count
from kvd.quotes import Event, ForwardQuote, Instrument, Quote

LEAST, GREATEST = 1e-12, 1e12  # of a forward, a strike, a price step; the latter of an option's price, too
AHEAD_US = 2 * 3600 * 1_000_000  # that a venue's clock may be before ours: either may be an hour off
FARTHEST_US = 30 * 366 * 86_400 * 1_000_000  # that an expiry may lie ahead
MOST_EXPIRIES, MOST_OPTIONS = 64, 10_000  # of an underlying
MOST_SOURCES = 8  # of the price of an expiry


class Sensible(NamedTuple):
    """What of a batch is worth hearing, in its order, and how much was `refused`, by reason."""

    quotes: list[Quote]
    futures: list[ForwardQuote]
    refused: dict[str, int]


class SanityState(NamedTuple):
    """What an underlying is known by: the expiry of each option, the names of sources by expiry (None: the index)."""

    options: dict[str, int]
    sources: dict[int | None, list[str]]


class Sanity:
    """What one underlying may bring up: the expiries it is known by, their options, and who speaks of their prices.

    An option's price that none has leaves its quote without prices; what else the venue says with it stands. The
    reasons to turn all of it away: absurd (a number or an instant that no market has), ahead (of its arrival by more
    than two hours), too_many (expiries, options, or names of sources).
    """

    def __init__(self) -> None:
        self._options: dict[str, int] = {}
        self._sources: dict[int | None, set[str]] = {None: set()}

    def state(self) -> SanityState:
        """What it goes on from; nothing of that changes when it does."""
        return SanityState({**self._options}, {expiry_us: sorted(names) for expiry_us, names in self._sources.items()})

    def restore(self, state: SanityState) -> None:
        """Go on from `state`, which becomes its own."""
        self._options = state.options
        self._sources = {expiry_us: set(names) for expiry_us, names in state.sources.items()}

    def sift(self, events: Sequence[Event], now_us: int) -> Sensible:
        """Part what is sensible of the quotes from what is not. `now_us` is the newest instant heard of before."""
        self._forget(now_us)
        heard, dated, refused = Sensible([], [], {})
        for event in events:
            if isinstance(event, Quote):
                why = _when(event, event.instrument.expiry_us) or self._why_not(event)
                if not why:
                    heard.append(event if _is_sane(event.bid) and _is_sane(event.ask) else _muted(event))
            elif isinstance(event, ForwardQuote):
                why = _when(event, event.expiry_us) or self._why_not_future(event)
                if not why:
                    dated.append(event)
            else:
                continue
            if why:
                count(refused, why, 1)
        return Sensible(heard, dated, refused)

    def _why_not(self, quote: Quote) -> str:
        of, forward = quote.instrument, quote.forward
        if of.name not in self._options and not _is_sound(of):
            return "absurd"
        if not (forward is None or LEAST <= forward <= GREATEST):
            return "absurd"
        if of.name not in self._options and len(self._options) >= MOST_OPTIONS:
            return "too_many"
        if not self._is_room(of.expiry_us, quote.forward_source if forward else ""):
            return "too_many"
        self._options[of.name] = of.expiry_us
        return ""

    def _why_not_future(self, future: ForwardQuote) -> str:
        if not (LEAST <= future.bid <= GREATEST and LEAST <= future.ask <= GREATEST):
            return "absurd"
        return "" if self._is_room(future.expiry_us, future.name) else "too_many"

    def _is_room(self, expiry_us: int | None, source: str) -> bool:
        """Whether an expiry, and a source that speaks of it, is known or may become so."""
        names = self._sources.get(expiry_us)
        if names is None:
            if len(self._sources) > MOST_EXPIRIES:  # one of them is the index, which has none
                return False
            names = self._sources[expiry_us] = set()
        if source not in names:
            if len(names) >= MOST_SOURCES:
                return False
            names.add(source)
        return True

    def _forget(self, now_us: int) -> None:
        gone = {e for e in self._sources if e is not None and e <= now_us}
        if gone:
            self._sources = {e: names for e, names in self._sources.items() if e not in gone}
            self._options = {name: e for name, e in self._options.items() if e not in gone}


def _when(event: Quote | ForwardQuote, expiry_us: int | None) -> str:
    if event.exchange_us - event.receive_us > AHEAD_US:
        return "ahead"
    return "absurd" if expiry_us is not None and expiry_us - event.exchange_us > FARTHEST_US else ""


def _is_sound(of: Instrument) -> bool:
    return LEAST <= of.strike <= GREATEST and (of.tick_size is None or LEAST <= of.tick_size <= GREATEST)


def _is_sane(price: float | None) -> bool:
    """Of an option: one that is worth next to nothing may have any price above none."""
    return price is None or 0 < price <= GREATEST


def _muted(quote: Quote) -> Quote:
    return structs.replace(quote, bid=None, ask=None)
