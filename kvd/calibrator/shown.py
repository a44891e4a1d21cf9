"""What subscribers have been shown, as records."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.ladder import Rung
from kvd.calibrator.scene import Clock
from kvd.surface import Smile

Floats = NDArray[np.float64]


class Stood(NamedTuple):
    """A slice free of arbitrage beside those that stand with it, and the range of k on which it is."""

    x: Floats
    u: Floats
    tau: float
    low: float
    high: float


class Shown(NamedTuple):
    """A published smile and the slice it was made from."""

    smile: Smile
    x: Floats
    u: Floats

    @property
    def stood(self) -> Stood:
        """Where it stands."""
        certificate = self.smile.certificate
        return Stood(self.x, self.u, self.smile.tau, certificate.k_low, certificate.k_high)


class ShowcaseState(NamedTuple):
    """What is shown, where the market stands of what is shown otherwise, and what was last looked at, by expiry."""

    shown: dict[int, Shown]
    market: dict[int, Stood]
    judged: dict[int, Floats]


def held(last: Shown, rung: Rung, clock: Clock) -> Shown:
    """What was shown last, saying that it is held."""
    since_us = rung.since_us if rung.state == "held" else clock.now_us
    if last.smile.state == "held":
        since_us = last.smile.since_us
    return last._replace(
        smile=last.smile._replace(state="held", reason="not_repairable", since_us=since_us, publish_us=clock.publish_us)
    )


def same(left: Stood, right: Stood) -> bool:
    """Whether they are equal to the last bit."""
    return np.array_equal(left.x, right.x) and np.array_equal(left.u, right.u) and left[2:] == right[2:]
