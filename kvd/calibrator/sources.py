"""Who says what of the forwards: the level filter fed by every source, and the doubt in one that jumps alone.

A source whose word lies beyond the gate is not heeded but remembered. It is right after all if others soon move as it
did (a jump that sources share is spot's own), or if nobody else speaks for `doubt_s`; if others go on contradicting it
for `rebase_s`, its basis has changed: it is taken up anew, and what parity says of that expiry's forward stays.
"""

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import forward as core
from kvd.core.daycount import year_fraction
from kvd.core.forward import INDEX, YEAR_S, ForwardFilter, Level

Floats = NDArray[np.float64]

NEW_BASIS_SD = 1e-3  # of a basis that replaces another


class Said(NamedTuple):
    """One source's newest word: whose price (an expiry, or None for the index), ln of it, its variance, and when."""

    expiry_us: int | None
    name: str
    ln_price: float
    variance: float
    at_us: int


Source = tuple[int | None, str]


class Doubt(NamedTuple):
    """The newest word of a source that left the others alone, and since when it has."""

    said: Said
    since_us: int


class SourcesState(NamedTuple):
    """The level with its expiries, the doubts, how many words were kept out, and when each source was heeded last."""

    level: Level | None
    expiry_us: NDArray[np.int64]
    follows: NDArray[np.bool_]
    doubts: list[Doubt]
    gated: int
    heeded_us: dict[Source, int]
    now_us: int


class Sources:
    """The level of one underlying's prices. `places` gives each expiry its place in it; an expiry `follows` the index
    if the venue has no better price of it.
    """

    def __init__(self, settings: ForwardFilter) -> None:
        self._f = settings
        self.level: Level | None = None
        self.expiry_us = np.zeros(0, dtype=np.int64)
        self.follows = np.zeros(0, dtype=np.bool_)
        self.places: dict[int, int] = {}
        self.doubts: dict[Source, Doubt] = {}
        self.gated = 0
        self._heeded_us: dict[Source, int] = {}
        self._now_us = 0

    def hear(
        self, said: Sequence[Said], now_us: int, following: Iterable[int] = (), replaced: Container[int] = ()
    ) -> dict[int, float]:
        """Take in the newest word of each source. Returns by how much the prices of expiries were rebased.

        `following` are expiries of which the venue says the index alone, `replaced` those for which another source
        speaks from now on.
        """
        if not said:
            return {}
        if self.level is None:
            self.level, self._now_us = core.begin(said[0].ln_price), now_us
        dt_s, self._now_us = (now_us - self._now_us) / 1e6, now_us
        self.level = core.predict(self.level, self.tau(), self.follows, dt_s, self._f)
        shifts = self._enter_all(said, following, replaced)
        speaking = {s[:2] for s in said}
        recent_us = now_us - self._f.doubt_s * 1e6
        waiting = [d.said for key, d in self.doubts.items() if key not in speaking and d.said.at_us >= recent_us]
        self._observe([*said, *waiting], speaking)
        return shifts | (self._settle(said) if self.doubts else {})

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        if self.level is None or expiry_us not in self.places:
            return
        place = self.places[expiry_us]
        self.level = core.drop(self.level, place)
        self.expiry_us, self.follows = np.delete(self.expiry_us, place), np.delete(self.follows, place)
        self._place()
        for known in (self.doubts, self._heeded_us):
            for key in [key for key in known if key[0] == expiry_us]:
                del known[key]

    def state(self) -> SourcesState:
        """What is known of them."""
        doubts, heeded_us = [*self.doubts.values()], self._heeded_us.copy()
        return SourcesState(
            self.level, self.expiry_us, self.follows.copy(), doubts, self.gated, heeded_us, self._now_us
        )

    def restore(self, state: SourcesState) -> None:
        """Know what was known then."""
        self.level, self.expiry_us, self.follows, doubts, self.gated, self._heeded_us, self._now_us = state
        self.doubts = {doubt.said[:2]: doubt for doubt in doubts}
        self._place()

    def tau(self) -> Floats:
        """Years to each expiry, never less than an hour: carry over less is nothing."""
        return np.maximum(year_fraction(self._now_us, self.expiry_us), 3600 / YEAR_S)

    def _place(self) -> None:
        self.places = {e: i for i, e in enumerate(self.expiry_us.tolist())}

    def _observe(self, said: Sequence[Said], speaking: set[Source]) -> None:
        assert self.level is not None
        place = np.array([INDEX if s.expiry_us is None else self.places[s.expiry_us] for s in said], dtype=np.intp)
        y, variance = np.array([(s.ln_price, s.variance) for s in said]).T
        age_s = np.array([max(self._now_us - s.at_us, 0) for s in said]) / 1e6
        tau = np.where(place == INDEX, 0.0, self.tau()[place]) if self.places else np.zeros(len(said))
        R = variance + self._f.price_sd**2 * tau + self._f.spot_sd**2 * age_s / YEAR_S
        self.level, heard = core.observe(self.level, place, y, R, self._f)
        for s, gated in zip(said, heard.gated.tolist(), strict=True):
            key = s[:2]
            if not gated:
                self._heeded_us[key] = self._now_us
                self.doubts.pop(key, None)
            elif key in speaking:
                self.gated += 1
                since_us = self.doubts[key].since_us if key in self.doubts else self._now_us
                self.doubts[key] = Doubt(s, since_us)

    def _settle(self, said: Iterable[Said]) -> dict[int, float]:
        """End the doubts that have lasted long enough."""
        assert self.level is not None
        shifts: dict[int, float] = {}
        for s in said:
            doubt = self.doubts.get(s[:2])
            lasted_s = (self._now_us - doubt.since_us) / 1e6 if doubt else 0.0
            if doubt is None or lasted_s <= self._f.doubt_s:
                continue
            if not any(at_us > doubt.since_us for key, at_us in self._heeded_us.items() if key != s[:2]):
                self.level = core.loosen(self.level)
                self._observe([s], set())
            elif lasted_s > self._f.rebase_s:
                if s.expiry_us is None:
                    shifts |= self._rebase_index(s.ln_price)
                else:
                    basis = s.ln_price - float(self.level.x[0])
                    shifts[s.expiry_us] = self._rebase(s.expiry_us, basis, follows=False)
                del self.doubts[s[:2]]
        return shifts

    def _enter_all(self, said: Iterable[Said], following: Iterable[int], replaced: Container[int]) -> dict[int, float]:
        """Make room for every expiry; rebase those whose source is another than before."""
        assert self.level is not None
        shifts: dict[int, float] = {}
        for expiry_us in following:
            if self._enter(expiry_us, follows=True) and not self.follows[self.places[expiry_us]]:
                shifts[expiry_us] = self._rebase(expiry_us, 0.0, follows=True)
        for s in said:
            e = s.expiry_us
            if e is None or not self._enter(e, follows=False):
                continue
            if e in replaced or self.follows[self.places[e]]:
                shifts[e] = self._rebase(e, s.ln_price - float(self.level.x[0]), follows=False)
        return shifts

    def _enter(self, expiry_us: int, follows: bool) -> bool:
        """Make room for an expiry; True if it was there before."""
        if expiry_us in self.places:
            return True
        assert self.level is not None
        self.places[expiry_us] = len(self.expiry_us)
        self.expiry_us, self.follows = np.append(self.expiry_us, expiry_us), np.append(self.follows, follows)
        sd = 0.0 if follows else self._f.carry_sd * float(self.tau()[-1]) + NEW_BASIS_SD
        self.level = core.extend(self.level, 0.0, sd**2)
        return False

    def _rebase(self, expiry_us: int, basis: float, follows: bool) -> float:
        assert self.level is not None
        place = self.places[expiry_us]
        by = basis - float(self.level.x[place + 1])
        self.follows[place] = follows
        self.level = core.rebase(self.level, place, basis, 0.0 if follows else NEW_BASIS_SD**2)
        return by

    def _rebase_index(self, ln_index: float) -> dict[int, float]:
        assert self.level is not None
        by = ln_index - float(self.level.x[0])
        self.level = core.rebase_index(self.level, self.follows, by)
        return {e: by for e, follows in zip(self.expiry_us.tolist(), self.follows.tolist(), strict=True) if follows}
