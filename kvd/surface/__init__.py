"""The result: smiles with their uncertainty, as immutable records a subscriber can use without the filter.

Conventions: log-moneyness ``k = ln(strike / forward)`` with kvd's own forward of that expiry; vols are decimals;
``tau`` is ACT/365 in seconds; total variance ``w = vol**2 * tau``; times are microseconds since the epoch, UTC.
"""

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
from kvd.surface.smile import RESIDUAL_KNOTS, Smile
from kvd.surface.surface import Surface
from kvd.surface.update import BatchFacts, SurfaceUpdate

__all__ = [
    "RESIDUAL_KNOTS",
    "BatchFacts",
    "Certificate",
    "Forward",
    "JumpWings",
    "Locked",
    "Parameters",
    "RawSvi",
    "Regime",
    "Smile",
    "State",
    "Surface",
    "SurfaceUpdate",
    "TrackRecord",
]
