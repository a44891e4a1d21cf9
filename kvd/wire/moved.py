"""How far a smile must have moved since it was last sent to be worth sending again, at either of the two speeds.

A number x with standard deviation s has moved if ``abs(x - x_sent) > part * min(s, s_sent)``: by more than a part of
its sd, of the smaller one where certainty itself has changed. State, reason, locks and how the smile was certified
count at once. A part of 0 sends everything.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.surface import RESIDUAL_KNOTS, Locked, Smile

_KNOTS = np.array(RESIDUAL_KNOTS)


class Mark(NamedTuple):
    """What is compared of a smile: its words, and numbers (N,) with their standard deviations (N,)."""

    words: tuple[object, ...]
    numbers: NDArray[np.float64]
    sd: NDArray[np.float64]

    def moved(self, sent: "Mark", part: float) -> bool:
        """Whether this differs from what was `sent`; what is not a number always does."""
        if self.words != sent.words:
            return True
        return not bool((np.abs(self.numbers - sent.numbers) <= part * np.minimum(self.sd, sent.sd)).all())


class Moved(NamedTuple):
    """The parts of an sd: `whole` for smiles in `surface` and `smile` topics, `small` for records in `atm` topics."""

    whole: float
    small: float

    def is_whole(self, sent: Mark | None, now: Mark | None) -> bool:
        """Whether a whole smile is to be sent."""
        return sent is None or now is None or now.moved(sent, self.whole)

    def is_small(self, sent: Mark | None, now: Mark | None) -> bool:
        """Whether the small record is to be sent."""
        return sent is None or now is None or now.moved(sent, self.small)


EVERYTHING = Moved(0.0, 0.0)


def mark_whole(smile: Smile) -> Mark:
    """Of a whole smile: the forward, the five parameters, and the vols at the residual curve's knots."""
    p, sd = smile.parameters, smile.sd
    w0 = p.atm_vol**2 * smile.tau
    vols = np.sqrt(smile.total_variance(_KNOTS * np.sqrt(w0)) / smile.tau)
    words = (smile.state, smile.reason, smile.certificate.method, tuple(map(_lock, smile.locked)))
    return Mark(
        words,
        np.array([smile.forward.value, *p, *vols]),
        np.array([smile.forward.sd, *sd, *smile.vol_sd]),
    )


def mark_small(smile: Smile) -> Mark:
    """Of the record in `atm` topics."""
    p, sd = smile.parameters, smile.sd
    return Mark(
        (smile.state,),
        np.array([smile.forward.value, p.atm_vol, p.skew]),
        np.array([smile.forward.sd, sd.atm_vol, sd.skew]),
    )


def _lock(locked: Locked) -> Locked:
    """Without what the market says, which moves with every batch."""
    return locked._replace(market=0.0)
