"""Who is judged beside kvd: anybody who has a vol for a quote, or says that there is none."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kvd.quality.counted import Counted, Counts
from kvd.quotes import Quote
from kvd.surface import Smile, SurfaceUpdate

Floats = NDArray[np.float64]


class Contender(Protocol):
    """One opinion on every quote. Quotes reach `hear` after they were judged, a batch at a time."""

    def vols(self, quotes: Counts) -> Floats:
        """Its vol for each quote, (N,); NaN where it has none."""

    def hear(self, quotes: Sequence[Quote], counted: Sequence[Counted], /) -> None:
        """Learn what was quoted."""

    def minute(self, at_us: int) -> None:
        """A minute of the tape is over, and what is known at `at_us` will now be judged."""


class Published:
    """The smiles that subscribers have been shown."""

    def __init__(self) -> None:
        self.smiles: dict[int, Smile] = {}

    def see(self, update: SurfaceUpdate) -> None:
        """Take what was published."""
        self.smiles |= {smile.expiry_us: smile for smile in update.smiles}
        for expiry_us in update.withdrawn:
            self.smiles.pop(expiry_us, None)

    def vols(self, quotes: Counts) -> Floats:
        """The newest smile of each quote's expiry, at the quote's own log-moneyness."""
        model = np.full(len(quotes.k), np.nan)
        for expiry_us in set(quotes.expiry_us.tolist()) & self.smiles.keys():
            smile, mine = self.smiles[expiry_us], quotes.expiry_us == expiry_us
            model[mine] = np.sqrt(smile.total_variance(quotes.k[mine]) / smile.tau)
        return model

    def hear(self, quotes: Sequence[Quote], counted: Sequence[Counted]) -> None:
        """Nothing to learn: the calibrator has heard them."""

    def minute(self, at_us: int) -> None:
        """Nothing to do."""


class Mark:
    """The venue's own mark vol, at the quote's own instant."""

    def vols(self, quotes: Counts) -> Floats:
        """The mark that came with each quote."""
        return quotes.mark_vol

    def hear(self, quotes: Sequence[Quote], counted: Sequence[Counted]) -> None:
        """Nothing to learn."""

    def minute(self, at_us: int) -> None:
        """Nothing to do."""


class LastValue:
    """The mid vol of the same instrument's last counted quote. It has no opinion on that very quote."""

    def __init__(self) -> None:
        self._mid: dict[str, float] = {}
        self._at_us: dict[str, int] = {}

    def vols(self, quotes: Counts) -> Floats:
        """The last mid of each quote's instrument."""
        return np.array(
            [
                self._mid[name] if self._at_us.get(name, at_us) < at_us else np.nan
                for name, at_us in zip(quotes.names, quotes.exchange_us.tolist(), strict=True)
            ]
        )

    def hear(self, _: Sequence[Quote], counted: Sequence[Counted]) -> None:
        """Remember the mids."""
        self._mid |= {q.name: 0.5 * (q.bid_vol + q.ask_vol) for q in counted}
        self._at_us |= {q.name: q.exchange_us for q in counted}

    def minute(self, at_us: int) -> None:
        """Nothing to do."""
