"""All smiles of one underlying at one time, and what lies between them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.quotes import OptionType
from kvd.surface.greeks import Convention, Greeks
from kvd.surface.records import Forward
from kvd.surface.smile import Smile
from kvd.surface.tenors import TENORS_D, Tenor, VarianceIndex

Floats = NDArray[np.float64]


class Surface(NamedTuple):
    """The newest smiles of one underlying of one venue, in ascending expiry.

    At an expiry between two listed ones, total variance is linear in time at equal log-moneyness and the logarithm of
    the forward is; before the first, vol and forward are the first's at equal log-moneyness. Beyond the last nothing is
    said: a vol there would be an opinion. Smiles of different expiries count as independent in standard deviations.
    """

    venue: str
    underlying: str
    smiles: tuple[Smile, ...]

    @property
    def publish_us(self) -> int:
        """When the newest of its smiles was published."""
        return max(smile.publish_us for smile in self.smiles)

    def smile(self, expiry_us: int) -> Smile:
        """The smile of a listed expiry. Raises LookupError naming those there are."""
        raise NotImplementedError

    def forward(self, expiry_us: int) -> Forward:
        """The forward to any instant up to the last expiry; between two expiries its source is ``interpolated``.

        Raises ValueError for an instant that has passed or lies beyond the last expiry; so do the methods below.
        """
        raise NotImplementedError

    def vol(self, strike: Floats | float, expiry_us: int) -> Floats:
        """Implied vol at `strike` (any shape, quote currency) and any expiry up to the last, a decimal."""
        raise NotImplementedError

    def sd_of_vol(self, strike: Floats | float, expiry_us: int) -> Floats:
        """Standard deviation of `vol`."""
        raise NotImplementedError

    def greeks(
        self,
        strike: Floats | float,
        expiry_us: int,
        option_type: OptionType,
        convention: Convention = "quote",
        ssr: float | None = None,
    ) -> Greeks:
        """`Smile.greeks` at any expiry up to the last."""
        raise NotImplementedError

    def black_greeks(
        self, strike: Floats | float, expiry_us: int, option_type: OptionType, convention: Convention = "quote"
    ) -> Greeks:
        """`Smile.black_greeks` at any expiry up to the last."""
        raise NotImplementedError

    def tenors(self, days: tuple[float, ...] = TENORS_D) -> tuple[Tenor, ...]:
        """Smiles of constant maturity, in the order asked for; those beyond the last expiry are left out."""
        raise NotImplementedError

    def variance_index(self, days: float = 30) -> VarianceIndex | None:
        """The model-free variance to `days` days; None beyond the last expiry."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """A pandas DataFrame, a row for each smile. Raises ImportError saying the mend where pandas is not there."""
        raise NotImplementedError
