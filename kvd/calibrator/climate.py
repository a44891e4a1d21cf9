"""How lively one underlying is: gathers what batches say of its levels and steps the regimes now and then."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator.rehearsal import ForwardsFound
from kvd.core import dynamics, regimes
from kvd.core.daycount import YEAR_US, VarianceTime, year_fraction
from kvd.core.dynamics import Dynamics, Moves
from kvd.core.joint import Joint
from kvd.core.regimes import Regimes, RegimeSettings, Step
from kvd.core.svi import DIM, LEVEL, SKEW
from kvd.surface import Regime

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LONGEST_MOVE = 0.3  # of ln forward between two batches: a longer one is a forward found anew, not a move of spot


class ClimateState(NamedTuple):
    """The regimes, and what was heard since they were last stepped: `spot`, `z` and `precision` by slice, (S,)."""

    regimes: Regimes
    log_forward: dict[int, float]
    stepped_us: int
    spot: Floats
    z: Floats
    precision: Floats


class Climate:
    """The regimes of one underlying and what was heard since they were last stepped."""

    def __init__(self, settings: RegimeSettings, d: Dynamics, clock: VarianceTime) -> None:
        self._settings, self._dynamics, self._clock = settings, d, clock
        self.regimes = regimes.begin(settings)
        self._log_forward: dict[int, float] = {}
        self._stepped_us = 0
        self._spot, self._z, self._precision = np.zeros(0), np.zeros(0), np.zeros(0)

    def state(self) -> ClimateState:
        """What is known now."""
        heard = self._spot.copy(), self._z.copy(), self._precision.copy()
        return ClimateState(self.regimes, self._log_forward, self._stepped_us, *heard)

    def restore(self, state: ClimateState) -> None:
        """Know what was known then."""
        self.regimes, self._log_forward, self._stepped_us, self._spot, self._z, self._precision = state

    def moves(self, joint: Joint, forwards: ForwardsFound, from_us: int, now_us: int) -> Moves:
        """What is known of the step of `joint` from one batch to the next; the regimes take it when they are due."""
        spot = self._spot_moves(joint, forwards, now_us)
        longest_us = self._settings.step_s * 1e6
        if self._stepped_us and now_us - self._stepped_us >= longest_us:
            if self._precision.any():
                self._step(joint, from_us)  # what was measured, at its own time
            if now_us - from_us >= longest_us:
                self._step(joint, now_us)
        self._stepped_us = self._stepped_us or now_us
        if len(joint.x) == len(self._spot):
            self._spot += spot
        pace = self._years(from_us, now_us) * YEAR_US / max(now_us - from_us, 1)
        return Moves(pace * self.regimes.activity(self._settings), spot, *self.regimes.ssr)

    def regime(self) -> Regime:
        """What is published of it."""
        ssr, variance = self.regimes.ssr
        calm, active, shock = self.regimes.mu.tolist()
        return Regime(calm, active, shock, ssr, float(np.sqrt(variance)))

    def told(self, before: Joint, after: Joint, touched: Index) -> None:
        """A batch moved `before` to `after`, by quotes of the slices `touched`."""
        if not np.array_equal(self.regimes.expiry_us, after.expiry_us):
            self.regimes = regimes.follow(self.regimes, after.expiry_us, after.x[:, LEVEL])
            self._forget(len(after.x))
        at = DIM * touched + LEVEL
        told = regimes.measured(before.x[touched, LEVEL], before.P[at, at], after.x[touched, LEVEL], after.P[at, at])
        self._z[touched] += told[0]
        self._precision[touched] += told[1]

    def _step(self, joint: Joint, at_us: int) -> None:
        if np.array_equal(self.regimes.expiry_us, joint.expiry_us):
            dt_y = self._years(self._stepped_us, at_us)
            Q = dynamics.level_noise(year_fraction(at_us, joint.expiry_us), dt_y, self._dynamics)
            z = self._z / np.where(self._precision > 0, self._precision, 1.0)
            since = Step(dt_y, Q, self._spot)
            self.regimes = regimes.step(self.regimes, since, z, self._precision, self._settings)
        self._forget(len(joint.x))
        self._stepped_us = at_us

    def _years(self, from_us: int, to_us: int) -> float:
        return float(self._clock.years(from_us, np.array([to_us]))[0])

    def _forget(self, slices: int) -> None:
        self._spot, self._z, self._precision = np.zeros(slices), np.zeros(slices), np.zeros(slices)

    def _spot_moves(self, joint: Joint, forwards: ForwardsFound, now_us: int) -> Floats:
        """psi/sqrt(w0) d ln F of every slice since the last batch; 0 where there is no forward."""
        expiries, before = joint.expiry_us.tolist(), self._log_forward
        now = {e: math.log(forwards[e].value) for e in expiries if e in forwards}
        moved = np.array([now[e] - before.get(e, now[e]) if e in now else 0.0 for e in expiries])
        self._log_forward = now
        tau = np.maximum(year_fraction(now_us, joint.expiry_us), self._dynamics.shortest_tau_d / dynamics.YEAR_D)
        slope = joint.x[:, SKEW] / (np.exp(joint.x[:, LEVEL]) * np.sqrt(tau))
        return np.where(np.abs(moved) < LONGEST_MOVE, slope * moved, 0.0)
