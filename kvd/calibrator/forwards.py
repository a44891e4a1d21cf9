"""The forwards of one underlying's expiries: every source heard, none trusted alone."""

import math
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.pairs import Pairs, PairsState, executable, outside, readings
from kvd.calibrator.sources import Said, Sources, SourcesState
from kvd.core import forward as core
from kvd.core.forward import YEAR_S, Bias, ForwardFilter
from kvd.quotes import ForwardQuote, Quote
from kvd.surface import Forward

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

INDEX_SOURCE = "index_price"
SYNTHETIC = "SYN."
PARITY, CARRY = "parity", "carry"
DEFAULTS = ForwardFilter()
MOMENT_S = 0.1  # within a batch, prices may differ by spot's moves of this time
WEIGHED_EVERY_US = 500_000  # a bias moves in minutes


class Heard(NamedTuple):
    """What a batch said of the forwards.

    `forward` (N,) is the forward at each quote's own instant: the venue's word of that instant, mended by the bias, or
    the newest forward where the venue said nothing. It is NaN where there is none, and where the venue's word stands
    apart from the other sources' and has not yet done so for so long that they are believed instead. `gated` counts the
    sources kept out, `outside` the expiries whose price, as the venue says it, the tightest pair does not allow, and
    `executable` arbitrage on the venue's own bids and asks, by kind.
    """

    forward: Floats
    gated: int
    outside: int
    executable: Mapping[str, int]


class ForwardsState(NamedTuple):
    """Sources and pairs, who speaks for each expiry, which have futures, and the biases with when they were weighed."""

    sources: SourcesState
    pairs: PairsState
    names: dict[int, str]
    futures: set[int]
    now_us: int
    weighed_us: int
    bias: Bias


class Forwards:
    """The forward of each expiry by `kvd.core.forward`: `hear` takes a batch in, the rest reads."""

    def __init__(self, settings: ForwardFilter = DEFAULTS) -> None:
        self._f = settings
        self._sources = Sources(settings)
        self._pairs = Pairs(settings)
        self._names: dict[int, str] = {}
        self._futures: set[int] = set()
        self._now_us = 0
        self._weighed_us = -WEIGHED_EVERY_US
        self._price = self._price_variance = np.zeros(0)
        self._bias = Bias(np.zeros(0), np.zeros(0), np.zeros(0))
        self._found: dict[int, Forward] = {}  # as far as anybody has asked since the last batch

    def __contains__(self, expiry_us: int) -> bool:
        return expiry_us in self._sources.places

    def __getitem__(self, expiry_us: int) -> Forward:
        if not self._found:
            value = np.exp(self._price + self._bias.mean)
            sd = value * np.sqrt(self._price_variance + self._bias.variance)
            found = zip(value.tolist(), sd.tolist(), self._dominant(), strict=True)
            self._found = dict(zip(self._sources.places, starmap(Forward, found), strict=True))
        return self._found[expiry_us]

    def hear(
        self, quotes: Sequence[Quote], futures: Sequence[ForwardQuote], withheld: NDArray[np.bool_] | None = None
    ) -> Heard:
        """Take a batch in. Of the quotes marked in `withheld` (N,) only the venue's underlying price is taken, not the
        option's.
        """
        at_us = np.array([q.exchange_us for q in quotes], dtype=np.int64)
        self._now_us = max([self._now_us, *at_us.tolist(), *[f.exchange_us for f in futures]])
        self._found = {}
        for expiry_us in [e for e in self._sources.places if e <= self._now_us]:
            self.forget(expiry_us)
        known, gated = len(self._price), self._sources.gated
        told, shifts = self._listen(quotes, futures)
        if self._sources.level is None:
            return Heard(np.full(len(quotes), np.nan), 0, 0, {})
        self._price, self._price_variance = core.prices(self._sources.level)
        place, base, apart = self._bases(quotes, at_us)
        paired = np.flatnonzero(place >= 0 if withheld is None else (place >= 0) & ~withheld)
        new_rows, fresh = self._pairs.post([quotes[i] for i in paired.tolist()], base[paired])
        late = self._now_us - self._weighed_us >= WEIGHED_EVERY_US
        if late or fresh or shifts or len(self._price) != known:
            self._weigh()
        bias = dict(zip(self._sources.places, self._bias.mean.tolist(), strict=True))
        said = {e: s.ln_price - float(self._price[self._sources.places[e]]) for e, s in told.items()}
        return Heard(
            self._mended(place, base, apart),
            self._sources.gated - gated,
            outside(self._pairs, said, self._now_us, self._f),
            executable(self._pairs, new_rows, self._now_us, self._f, bias),
        )

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        if expiry_us not in self:
            return
        self._found = {}
        self._sources.forget(expiry_us)
        self._pairs.forget(expiry_us)
        self._names.pop(expiry_us, None)
        self._futures.discard(expiry_us)
        if self._sources.level is not None:
            self._price, self._price_variance = core.prices(self._sources.level)
            self._weigh()

    def state(self) -> ForwardsState:
        """All that is known; prices follow from the level."""
        sources, pairs, names, futures = self._sources.state(), self._pairs.state(), self._names, self._futures
        return ForwardsState(sources, pairs, names.copy(), futures.copy(), self._now_us, self._weighed_us, self._bias)

    def restore(self, state: ForwardsState) -> None:
        """Know what was known then."""
        sources, pairs, self._names, self._futures, self._now_us, self._weighed_us, self._bias = state
        self._sources.restore(sources)
        self._pairs.restore(pairs)
        self._found = {}
        if sources.level is not None:
            self._price, self._price_variance = core.prices(sources.level)

    def _listen(
        self, quotes: Sequence[Quote], futures: Sequence[ForwardQuote]
    ) -> tuple[dict[int, Said], dict[int, float]]:
        """Let every source speak once; returns what the newest quote of each expiry said, and what was rebased."""
        told = _newest(quotes, self._f)
        dated = [s for s in _dated(futures, self._f) if s.expiry_us is None or s.expiry_us > self._now_us]
        self._futures |= {s.expiry_us for s in dated if s.expiry_us is not None}
        following = [e for e, s in told.items() if s.expiry_us is None and e not in self._futures]
        replaced = {e for e, s in told.items() if self._names.get(e, s.name) != s.name}
        self._names = {s.expiry_us: s.name for s in dated if s.expiry_us is not None} | self._names
        self._names |= {e: s.name for e, s in told.items() if s.expiry_us is not None or e not in self._futures}
        said = {s[:2]: s for s in sorted([*dated, *told.values()], key=lambda s: (s.at_us, s.ln_price))}
        in_order = sorted(said.values(), key=lambda s: (s.expiry_us or 0, s.name))
        shifts = self._sources.hear(in_order, self._now_us, following, replaced)
        for expiry_us, by in shifts.items():
            self._pairs.shift(expiry_us, by)
        return told, shifts

    def _bases(self, quotes: Sequence[Quote], at_us: NDArray[np.int64]) -> tuple[Index, Floats, NDArray[np.bool_]]:
        """Place (-1 for none) and ln of the venue's price at each quote's instant, and whether what was said with it
        stands apart from the newest and so was replaced by it, (N,) each.
        """
        places, futures = self._sources.places, self._futures
        place = np.array([places.get(q.instrument.expiry_us, -1) for q in quotes], dtype=np.intp)
        if not places:
            return place, np.full(len(quotes), np.nan), np.zeros(len(quotes), dtype=np.bool_)
        own = [
            q.forward if q.forward_source != INDEX_SOURCE or q.instrument.expiry_us not in futures else None
            for q in quotes
        ]
        told = np.log(np.array(own, dtype=np.float64))
        age_s = (self._now_us - at_us) / 1e6
        newest = np.where(place >= 0, self._price[place], np.nan)
        noise = self._f.price_sd**2 * self._sources.tau()[place] + self._f.tick_sd**2
        variance = self._price_variance[place] + self._f.spot_sd**2 * (age_s + MOMENT_S) / YEAR_S
        apart = np.abs(told - newest) > self._f.gate_sd * np.sqrt(variance + noise)
        return place, np.where(apart | np.isnan(told), newest, told), apart

    def _mended(self, place: Index, base: Floats, apart: NDArray[np.bool_]) -> Floats:
        bias = np.append(self._bias.mean, np.nan)[place]
        if apart.any():
            old_us = self._now_us - self._f.doubt_s * 1e6
            settled = {key[0] for key, doubt in self._sources.doubts.items() if doubt.since_us < old_us}
            follows = self._sources.follows.tolist()
            contradicted = [(None if follows[i] else e) in settled for e, i in self._sources.places.items()]
            bias = np.where(apart & ~np.append(contradicted, False)[place], np.nan, bias)
        return np.asarray(np.exp(base + bias))

    def _weigh(self) -> None:
        """Estimate every expiry's bias from the venue's word and the pairs."""
        level, follows, f = self._sources.level, self._sources.follows, self._f
        assert level is not None
        self._weighed_us = self._now_us
        synthetic = [self._names.get(e, "").startswith(SYNTHETIC) for e in self._sources.places]
        mean, variance = np.zeros(len(follows)), np.where(synthetic, f.synthetic_sd, f.future_sd) ** 2
        if follows.any():
            carried, carried_variance = core.carry(level, self._sources.tau(), follows, f)
            mean = np.where(follows, carried, mean)
            variance = np.where(follows, carried_variance + f.index_sd**2, variance)
        expiry_us, y, R = readings(self._pairs, self._now_us, f)
        order = np.argsort(self._sources.expiry_us)
        place = order[np.searchsorted(self._sources.expiry_us[order], expiry_us)]
        said, said_variance = core.parity(place, len(follows), y, R, f)
        self._bias = core.bias(mean, variance, said, said_variance, f)

    def _dominant(self) -> list[str]:
        """What each forward comes of, above all."""
        by_parity, follows = (self._bias.parity_share > 0.5).tolist(), self._sources.follows.tolist()
        carried = not all(follows)
        return [
            PARITY if parity else CARRY if carried and following else self._names.get(e, "")
            for e, parity, following in zip(self._sources.places, by_parity, follows, strict=True)
        ]


def _newest(quotes: Sequence[Quote], f: ForwardFilter) -> dict[int, Said]:
    """What the newest quote of each expiry says of its price; the index is no expiry's own."""
    newest: dict[int, tuple[int, float, str]] = {}
    for q in quotes:
        if q.forward is not None:
            word, expiry_us = (q.exchange_us, q.forward, q.forward_source), q.instrument.expiry_us
            if expiry_us not in newest or word > newest[expiry_us]:
                newest[expiry_us] = word
    return {
        e: Said(None if name == INDEX_SOURCE else e, name, math.log(price), f.tick_sd**2, at_us)
        for e, (at_us, price, name) in newest.items()
    }


def _dated(futures: Sequence[ForwardQuote], f: ForwardFilter) -> list[Said]:
    """What futures and the index say: the middle, known to half the spread."""
    said = []
    for q in futures:
        middle = 0.5 * (q.bid + q.ask)
        variance = (0.5 * (q.ask - q.bid) / middle) ** 2 + f.tick_sd**2
        said.append(Said(q.expiry_us, q.name, math.log(middle), variance, q.exchange_us))
    return said
