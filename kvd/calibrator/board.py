"""The newest two-sided vols of every instrument of one underlying, as arrays: what each smile is judged against.

A row belongs to one instrument for as long as its expiry lives. Rows hold what was quoted when it was quoted: the
log-moneyness with the forward of that instant and the vols of bid and ask.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.quotes import Instrument, OptionType, Quote

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Flags = NDArray[np.bool_]
Index = NDArray[np.intp]


class BoardState(NamedTuple):
    """What is on a board: the names of its rows, and its columns."""

    names: list[str]
    expiry_us: Times
    strike: Floats
    sign: Floats
    inverse: Flags
    tick: Floats
    exchange_us: Times
    k: Floats
    bid: Floats
    ask: Floats
    bid_vol: Floats
    ask_vol: Floats
    mark_vol: Floats
    counted: Flags


COLUMNS = BoardState._fields[1:]


class Board:
    """Columns by name, each of shape (rows,); prices in the instrument's quoting unit, vols as decimals, NaN where
    absent. `mark_vol` is the venue's opinion, for comparison alone: nothing of the estimate reads it.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self.expiry_us = np.zeros(0, dtype=np.int64)
        self.exchange_us = np.zeros(0, dtype=np.int64)
        self.inverse = np.zeros(0, dtype=np.bool_)
        self.counted = np.zeros(0, dtype=np.bool_)
        self.strike, self.sign, self.tick = np.zeros(0), np.zeros(0), np.zeros(0)
        self.k, self.bid, self.ask = np.zeros(0), np.zeros(0), np.zeros(0)
        self.bid_vol, self.ask_vol, self.mark_vol = np.zeros(0), np.zeros(0), np.zeros(0)

    def rows(self, quotes: Sequence[Quote]) -> Index:
        """The row of each quote's instrument, (N,); instruments not seen before get new rows."""
        fresh = [q.instrument for q in quotes if q.instrument.name not in self._rows]
        if fresh:
            self._add(list({instrument.name: instrument for instrument in fresh}.values()))
        return np.array([self._rows[q.instrument.name] for q in quotes], dtype=np.intp)

    def instruments(self, venue: str, underlying: str) -> Iterator[tuple[Instrument, bool]]:
        """Every instrument with a row, and whether its newest quote counts; the board is of `underlying` at `venue`."""
        columns = (self.expiry_us, self.strike, self.sign, self.inverse, self.tick, self.counted)
        for name, *row in zip(self._names, *(column.tolist() for column in columns), strict=True):
            expiry_us, strike, sign, inverse, tick, counted = row
            kind: OptionType = "call" if sign > 0 else "put"
            yield Instrument(name, venue, underlying, expiry_us, strike, kind, inverse, tick or None), counted

    def expired(self, now_us: int) -> set[int]:
        """The expiries with rows whose instant has come."""
        gone = self.expiry_us <= now_us
        return set(self.expiry_us[gone].tolist()) if gone.any() else set()

    def forget(self, expiry_us: int) -> None:
        """Drop every row of an expiry."""
        keep = self.expiry_us != expiry_us
        for name in COLUMNS:
            setattr(self, name, getattr(self, name)[keep])
        self._name([name for name, kept in zip(self._names, keep.tolist(), strict=True) if kept])

    def state(self) -> BoardState:
        """What is on it now."""
        return BoardState(self._names.copy(), *(getattr(self, name).copy() for name in COLUMNS))

    def restore(self, state: BoardState) -> None:
        """Hold what was on it then."""
        self._name(state.names)
        for name in COLUMNS:
            setattr(self, name, getattr(state, name))

    def _name(self, names: list[str]) -> None:
        self._names, self._rows = names, {name: row for row, name in enumerate(names)}

    def _add(self, fresh: list[Instrument]) -> None:
        for instrument in fresh:
            self._rows[instrument.name] = len(self._names)
            self._names.append(instrument.name)
        columns: dict[str, list[float] | list[int] | list[bool]] = {
            "expiry_us": [i.expiry_us for i in fresh],
            "strike": [i.strike for i in fresh],
            "sign": [1.0 if i.option_type == "call" else -1.0 for i in fresh],
            "inverse": [i.inverse for i in fresh],
            "tick": [i.tick_size or 0.0 for i in fresh],
            "exchange_us": [0] * len(fresh),
            "counted": [False] * len(fresh),
        }
        for name in COLUMNS:
            old = getattr(self, name)
            new = np.asarray(columns.get(name, [np.nan] * len(fresh)), dtype=old.dtype)
            setattr(self, name, np.concatenate((old, new)))
