"""What one publication is made from, and what is laid out to be published."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.board import Board
from kvd.calibrator.hand import Touched
from kvd.calibrator.ladder import Rung
from kvd.calibrator.rehearsal import ForwardsFound
from kvd.calibrator.repair import Repaired, Slices
from kvd.core.estimate import Outcome
from kvd.core.joint import Joint
from kvd.surface import Regime

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]


class Clock(NamedTuple):
    """The instants of one publication: the batch's grid instant, the newest exchange time and the newest arrival."""

    publish_us: int
    now_us: int
    receive_us: int


class Evidence(NamedTuple):
    """What smiles are made from besides the joint: the quotes, the forwards, what the batch did, and the regime."""

    board: Board
    forwards: ForwardsFound
    outcome: Outcome | None
    regime: Regime


class Scene(NamedTuple):
    """What one publication is made from: the joint, which of its slices are `candidates` (T,), and their recent quotes
    beside instants, rungs and evidence.
    """

    clock: Clock
    joint: Joint
    candidates: Index
    recent: smiles.Recent
    rungs: Mapping[int, Rung]
    evidence: Evidence

    @property
    def expiries(self) -> list[int]:
        """Of the candidates."""
        return list(self.joint.expiry_us[self.candidates].tolist())

    def widened_by(self, rows: Index) -> Floats:
        """By how much their own records widen what is published of some candidates, (n,)."""
        records = [self.rungs[e].record for e in self.joint.expiry_us[self.candidates[rows]].tolist()]
        return np.array([record.widened_by if record else 1.0 for record in records])


class Laid(NamedTuple):
    """What is to be shown of the candidates (T,): the slices with the ranges of their certificates, what may be
    published of them, and which are held instead; by row, what the hand has made of them.
    """

    slices: Slices
    repaired: Repaired
    held: Flags
    touched: Mapping[int, Touched]
