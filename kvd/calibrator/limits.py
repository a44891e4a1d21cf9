"""How far the published smiles may go, and how fast, in settings `[limits]`."""

import numpy as np
from numpy.typing import NDArray

from kvd.config import Limits
from kvd.surface import Smile

Floats = NDArray[np.float64]

BOUNDED = 3  # ATM vol, skew and curvature: the first of the parameters
LIMIT_SD = 1e-5  # of a claim that holds a smile to a limit
HARDLY = 1e-6  # beyond a limit


def in_force(limits: Limits) -> bool:
    """Whether there is any."""
    return limits != Limits()


def bounds(limits: Limits) -> tuple[Floats, Floats]:
    """The least and the greatest ATM vol, skew and curvature that may be shown, (3,) each."""
    high = _unless_none(limits.atm_vol_high, limits.skew_amount, limits.curvature_high)
    return np.array([limits.atm_vol_low, -high[1], 0.0]), high


def reachable(limits: Limits, last: Smile, publish_us: int) -> tuple[Floats, Floats]:
    """The same of a smile whose `last` one was published some time before `publish_us`: where the bounds are further
    than it may have gone since, it goes towards them as far as it may.
    """
    low, high = bounds(limits)
    minutes = (publish_us - last.publish_us) / 60e6
    speed = _unless_none(limits.atm_vol_per_min, limits.skew_per_min, limits.curvature_per_min)
    far = np.where(np.isfinite(speed), np.where(np.isfinite(speed), speed, 0.0) * minutes, np.inf)
    was = np.array(last.parameters[:BOUNDED])
    return np.clip(low, was - far, was + far), np.clip(high, was - far, was + far)


def _unless_none(*limits: float) -> Floats:
    return np.array([limit or np.inf for limit in limits])
