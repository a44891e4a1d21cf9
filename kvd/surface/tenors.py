"""Numbers of constant maturity: between two listed expiries, total variance is linear in time at equal k."""

from typing import NamedTuple

TENORS_D = (7, 30, 60, 90, 180)


class Tenor(NamedTuple):
    """A smile of constant maturity in the five numbers of a desk, each with its standard deviation.

    ``expiry_us`` is `days` days after the surface's instant. RR25 and BF25 are in forward delta; None where no strike
    has it.
    """

    days: float
    expiry_us: int
    forward: float
    forward_sd: float
    atm_vol: float
    atm_vol_sd: float
    skew: float
    skew_sd: float
    rr25: float | None
    rr25_sd: float | None
    bf25: float | None
    bf25_sd: float | None


class VarianceIndex(NamedTuple):
    """What a variance swap to `days` days is worth by the strip of options (the VIX recipe), a year: ``variance``, and
    ``vol`` its root, decimals both.
    """

    days: float
    variance: float
    variance_sd: float
    vol: float
    vol_sd: float
