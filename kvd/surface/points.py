"""The vols at which desks quote a smile: at a given delta, and what the two sides differ by."""

from typing import Literal, NamedTuple

DeltaConvention = Literal["forward", "premium_adjusted"]
PointName = Literal["10p", "25p", "atm", "25c", "10c"]


class DeltaPoint(NamedTuple):
    """The strike whose put (``p``) or call (``c``) has that delta, in hundredths, or the forward (``atm``), and the vol
    there.
    """

    delta: PointName
    strike: float
    strike_sd: float
    vol: float
    vol_sd: float


class DeltaPoints(NamedTuple):
    """The points in ascending strike, risk reversals and butterflies, in vol.

    ``rr25 = vol(25c) - vol(25p)``, ``bf25 = (vol(25c) + vol(25p))/2 - vol(atm)``, and so for 10. A delta that no strike
    has (a premium-adjusted call far out in time) is missing from ``points``; what would need it is None.
    """

    points: tuple[DeltaPoint, ...]
    rr25: float | None
    rr25_sd: float | None
    bf25: float | None
    bf25_sd: float | None
    rr10: float | None
    rr10_sd: float | None
    bf10: float | None
    bf10_sd: float | None
