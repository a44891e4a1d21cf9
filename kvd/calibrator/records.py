"""What a book is made of between batches, and what it says of one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.board import BoardState
from kvd.calibrator.climate import ClimateState
from kvd.calibrator.forwards import ForwardsState
from kvd.calibrator.hand import HandState
from kvd.calibrator.ladder import Rung
from kvd.calibrator.sanity import SanityState
from kvd.calibrator.shown import ShowcaseState
from kvd.calibrator.watch import MarksState
from kvd.calibrator.young import Start
from kvd.core import joint, measurement
from kvd.core.dynamics import Dynamics, Moves
from kvd.core.estimate import Outcome, Vols
from kvd.surface import BatchFacts

Floats = NDArray[np.float64]


class Aged(NamedTuple):
    """The arguments of `joint.predict`: the joint before, between which instants time passed, and how."""

    before: joint.Joint
    from_us: int
    to_us: int
    noise_factor: float
    dynamics: Dynamics
    moves: Moves


class Work(NamedTuple):
    """What the newest update was made from, so that it can be done again: the prediction, the joint after it and after
    new expiries were let in, and the vols of the touched slices.
    """

    aged: Aged
    prior: joint.Joint
    tau: Floats
    vols: Vols


class Learnt(NamedTuple):
    """What the filter made of a batch: its outcome, if any quote was of use, expiries that left, and the facts."""

    outcome: Outcome | None
    withdrawn: tuple[int, ...]
    facts: BatchFacts


class BookState(NamedTuple):
    """All that a book goes on from."""

    venue: str
    underlying: str
    joint: joint.Joint
    now_us: int
    receive_us: int
    predicted_us: int
    noise_factor: float
    scale: measurement.Scale
    rungs: dict[int, Rung]
    young: dict[int, Start]
    climate: ClimateState
    board: BoardState
    forwards: ForwardsState
    hand: HandState
    showcase: ShowcaseState
    marks: MarksState
    sanity: SanityState
