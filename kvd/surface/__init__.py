"""The result: smiles with their uncertainty, as immutable records a subscriber can use without the filter.

Conventions: log-moneyness ``k = ln(strike / forward)`` with kvd's own forward of that expiry; vols are decimals;
``tau`` is ACT/365 in seconds; total variance ``w = vol**2 * tau``; times are microseconds since the epoch, UTC.
"""

from kvd.surface.greeks import Convention, Greeks
from kvd.surface.points import DeltaConvention, DeltaPoint, DeltaPoints
from kvd.surface.records import (
    Certificate,
    Forward,
    JumpWings,
    Locked,
    Parameters,
    RawSvi,
    Regime,
    State,
    TrackRecord,
)
from kvd.surface.smile import RESIDUAL_KNOTS, Smile, delta_points
from kvd.surface.surface import Surface
from kvd.surface.tenors import TENORS_D, Tenor
from kvd.surface.update import BatchFacts, SurfaceUpdate
from kvd.surface.variance import VarianceIndex

__all__ = [
    "RESIDUAL_KNOTS",
    "TENORS_D",
    "BatchFacts",
    "Certificate",
    "Convention",
    "DeltaConvention",
    "DeltaPoint",
    "DeltaPoints",
    "Forward",
    "Greeks",
    "JumpWings",
    "Locked",
    "Parameters",
    "RawSvi",
    "Regime",
    "Smile",
    "State",
    "Surface",
    "SurfaceUpdate",
    "Tenor",
    "TrackRecord",
    "VarianceIndex",
    "delta_points",
]
