"""All smiles of one underlying at one time, and what lies between them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.quotes import OptionType
from kvd.surface import frame, greeks, tenors, variance
from kvd.surface.between import between, instant_us
from kvd.surface.curves import Curves
from kvd.surface.greeks import Convention, Greeks, Stickiness
from kvd.surface.records import Forward
from kvd.surface.smile import Smile, curves
from kvd.surface.tenors import TENORS_D, Tenor
from kvd.surface.variance import VarianceIndex

Floats = NDArray[np.float64]

DAY_US = 86_400_000_000


class Surface(NamedTuple):
    """The newest smiles of one underlying of one venue, in ascending expiry.

    At an instant between two listed expiries total variance is linear in time at equal log-moneyness, and so is the
    logarithm of the forward; before the first, vol at equal log-moneyness and forward are the first's
    (`kvd.surface.between`). Beyond the last nothing is said: a vol there would be an opinion. In standard deviations
    the vols of different expiries count as independent.
    """

    venue: str
    underlying: str
    smiles: tuple[Smile, ...]

    @property
    def publish_us(self) -> int:
        """When the newest of its smiles was published; 0 without any."""
        return max((smile.publish_us for smile in self.smiles), default=0)

    @property
    def instant_us(self) -> int:
        """The exchange's instant from which times to expiry count: that of its newest smile."""
        return instant_us(self.smiles)

    def smile(self, expiry_us: int) -> Smile:
        """The smile of a listed expiry. Raises LookupError naming those there are."""
        for smile in self.smiles:
            if smile.expiry_us == expiry_us:
                return smile
        listed = ", ".join(_named(smile.expiry_us) for smile in self.smiles) or "none yet"
        raise LookupError(f"no smile of {self.underlying} expires at {_named(expiry_us)}: there are {listed}")

    def forward(self, expiry_us: int) -> Forward:
        """The forward to any instant up to the last expiry; its source is ``interpolated`` where that is not listed.

        Raises ValueError for an instant that has passed or lies beyond the last expiry; so do the methods below.
        """
        curve = self._curve(expiry_us)
        source = next((s.forward.source for s in self.smiles if s.expiry_us == expiry_us), "interpolated")
        return Forward(float(curve.forward[0]), float(curve.forward_sd[0]), source)

    def vol(self, strike: Floats | float, expiry_us: int) -> Floats:
        """Implied vol at `strike` (any shape, quote currency) and any expiry up to the last, a decimal."""
        curve, at = self._curve(expiry_us), np.asarray(strike, dtype=np.float64)
        return np.asarray(np.sqrt(curve.at(_k(curve, at)).w / curve.tau[0]).reshape(at.shape))

    def sd_of_vol(self, strike: Floats | float, expiry_us: int) -> Floats:
        """Standard deviation of `vol`, the forward taken as known."""
        curve, at = self._curve(expiry_us), np.asarray(strike, dtype=np.float64)
        rows = curve.influence(curve.at(_k(curve, at)))
        return np.asarray(np.linalg.norm(rows, axis=-1).reshape(at.shape))

    def greeks(
        self,
        strike: Floats | float,
        expiry_us: int,
        option_type: OptionType,
        convention: Convention = "quote",
        ssr: float | None = None,
    ) -> Greeks:
        """`Smile.greeks` at any expiry up to the last."""
        regime = max(self.smiles, key=lambda smile: smile.publish_us).regime
        along = Stickiness(regime.ssr, regime.ssr_sd) if ssr is None else Stickiness(ssr)
        at = np.asarray(strike, dtype=np.float64)
        return greeks.greeks(self._curve(expiry_us), at, option_type, convention, along)

    def black_greeks(
        self, strike: Floats | float, expiry_us: int, option_type: OptionType, convention: Convention = "quote"
    ) -> Greeks:
        """`Smile.black_greeks` at any expiry up to the last."""
        at = np.asarray(strike, dtype=np.float64)
        return greeks.greeks(self._curve(expiry_us), at, option_type, convention, None)

    def tenors(self, days: Sequence[float] = TENORS_D) -> tuple[Tenor, ...]:
        """Smiles of constant maturity, in the order asked for; those beyond the last expiry are left out."""
        if not self.smiles:
            return ()
        ends = {day: self.instant_us + round(day * DAY_US) for day in days}
        there = {day: at_us for day, at_us in ends.items() if self._covers(at_us)}
        return tenors.tenors(between(self.smiles, list(there.values())), there) if there else ()

    def variance_index(self, days: float = 30) -> VarianceIndex | None:
        """The model-free variance to `days` days: of the expiries on either side, as total variance linear in time.

        None beyond the last expiry.
        """
        if not self.smiles or not self._covers(at_us := self.instant_us + round(days * DAY_US)):
            return None
        return variance.variance_index(between(self.smiles, (at_us,)), days)

    def to_pandas(self) -> Any:
        """A pandas DataFrame, a row for each smile. Raises ImportError saying the mend where pandas is not there."""
        return frame.to_pandas(self.smiles)

    def _covers(self, expiry_us: int) -> bool:
        return bool(self.smiles) and self.instant_us < expiry_us <= self.smiles[-1].expiry_us

    def _curve(self, expiry_us: int) -> Curves:
        for smile in self.smiles:
            if smile.expiry_us == expiry_us:
                return curves((smile,))
        if not self._covers(expiry_us):
            raise ValueError(f"there is no vol of {self.underlying} to {_named(expiry_us)}: {self._mend()}")
        return between(self.smiles, (expiry_us,))

    def _mend(self) -> str:
        if not self.smiles:
            return "there is no smile yet"
        return f"ask for an expiry after {_named(self.instant_us)} and not after {_named(self.smiles[-1].expiry_us)}"


def _named(us: int) -> str:
    return f"{frame.utc(us):%Y-%m-%dT%H:%MZ}"


def _k(curve: Curves, strike: Floats) -> Floats:
    """Log-moneynesses, (1, N)."""
    return np.asarray(np.log(strike.reshape(1, -1) / curve.forward[0]))
