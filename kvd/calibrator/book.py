"""One underlying of one venue: its board of quotes, its forwards, its joint filter, and the smiles that come of
them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import doors
from kvd.calibrator.board import Board
from kvd.calibrator.climate import Climate
from kvd.calibrator.doors import Admitted
from kvd.calibrator.forwards import Forwards, Heard
from kvd.calibrator.ladder import Rung
from kvd.calibrator.rehearsal import ForwardsFound
from kvd.calibrator.showcase import Clock, Evidence, Showcase
from kvd.calibrator.watch import Marks, remember
from kvd.calibrator.young import Young
from kvd.config import Settings
from kvd.core import dynamics, estimate, joint, kalman, measurement
from kvd.core.daycount import VarianceTime, year_fraction
from kvd.core.dynamics import Dynamics, Moves
from kvd.core.estimate import Outcome, Vols
from kvd.core.measurement import Measurement
from kvd.quotes import Event, ForwardQuote, Gap, Quote, held_out
from kvd.surface import BatchFacts, SurfaceUpdate

Floats = NDArray[np.float64]

BANDS = (0.6744897501960817, measurement.BAND_90, 1.959963984540054)  # 50, 90 and 95 % of a normal law


class Work(NamedTuple):
    """What the newest update was made from, so that it can be done again: the joint before time passed, between which
    instants it did and how, the joint after that, and the vols of the touched slices.
    """

    before: joint.Joint
    from_us: int
    to_us: int
    noise_factor: float
    dynamics: Dynamics
    moves: Moves
    prior: joint.Joint
    tau: Floats
    vols: Vols


class Learnt(NamedTuple):
    """What the filter made of a batch: its outcome, if any quote was of use, expiries that left, and the facts."""

    outcome: Outcome | None
    withdrawn: tuple[int, ...]
    facts: BatchFacts


class Book:
    """The surface of one underlying. `step` is its whole interface: events in, what changed out. `learn` is a step
    that shows nothing. Forwards are found in `forwards`, by default anew.
    """

    def __init__(self, venue: str, underlying: str, settings: Settings, forwards: ForwardsFound | None = None) -> None:
        self._of = venue, underlying
        self._settings = settings
        self._board = Board()
        self._forwards = forwards or Forwards(settings.forward)
        self._clock = VarianceTime(settings.calendar)
        self._climate = Climate(settings.regimes, settings.dynamics, self._clock)
        self._showcase = Showcase(venue, underlying, settings.calibrator)
        self._marks = Marks(settings.watch)
        self._rungs: dict[int, Rung] = {}
        self._young = Young()
        self._joint = joint.EMPTY
        self.work: Work | None = None
        self._withheld: dict[str, bool] = {}
        self._now_us = 0
        self._receive_us = 0
        self._predicted_us = 0
        self._noise_factor = 1.0
        self._scale = measurement.UNSCALED
        self._buckets = np.zeros(0, dtype=np.intp)

    def step(self, instant_us: int, events: Sequence[Event]) -> SurfaceUpdate:
        """Apply the events of one batch that ends at `instant_us`."""
        learnt = self.learn(events)
        clock = Clock(instant_us, self._now_us, self._receive_us)
        evidence = Evidence(self._board, self._forwards, learnt.outcome, self._climate.regime())
        changed, self._joint = self._showcase.show(clock, self._joint, self._rungs, evidence)
        self._marks.look(self._now_us, self._board, self._showcase.shown)
        facts = learnt.facts._replace(mark_alarms=tuple(sorted(self._marks.diverged)))
        return SurfaceUpdate(*self._of, instant_us, changed, learnt.withdrawn, facts)

    def learn(self, events: Sequence[Event]) -> Learnt:
        """Apply the events of one batch to the filter alone: no smile is made of it, and none repaired."""
        heard = [event for event in events if isinstance(event, Quote)]
        futures = [event for event in events if isinstance(event, ForwardQuote)]
        for event in events:
            if isinstance(event, Gap):
                self._gap(event)
        timed: list[Quote | ForwardQuote] = [*heard, *futures]
        self._now_us = max([self._now_us, *[event.exchange_us for event in timed]])
        self._receive_us = max([self._receive_us, *[event.receive_us for event in timed]])
        withdrawn = self._expire()

        quotes = [q for q in heard if q.instrument.expiry_us > self._now_us]
        refused = {"expired": len(heard) - len(quotes)} if len(heard) > len(quotes) else {}
        withheld = np.array([self._is_withheld(q) for q in quotes], dtype=np.bool_)
        said = self._forwards.hear(quotes, futures, withheld)
        outcome = self._filter(self._admit(quotes, said.forward, withheld, refused), refused) if quotes else None
        return Learnt(outcome, withdrawn, _facts(outcome, self._buckets, refused, said, self._settings.measurement))

    def _gap(self, gap: Gap) -> None:
        self._noise_factor = self._settings.dynamics.gap_factor
        self._young.interrupted()
        for rung in self._rungs.values():
            rung.gap_reason = gap.reason

    def _expire(self) -> tuple[int, ...]:
        """Forget every expiry whose instant has come; returns those that had a slice."""
        self._joint, gone = joint.expire(self._joint, self._now_us)
        for expiry_us in gone:
            self._showcase.forget(expiry_us)
            self._marks.forget(expiry_us)
            del self._rungs[expiry_us]
            self._young.forget(expiry_us)
        for expiry_us in {*gone, *self._board.expired(self._now_us)}:  # some were only ever refused
            self._board.forget(expiry_us)
            self._forwards.forget(expiry_us)
        return gone

    def _admit(
        self, quotes: Sequence[Quote], forward: Floats, withheld: NDArray[np.bool_], refused: dict[str, int]
    ) -> Admitted:
        admitted = doors.admit(quotes, self._board, self._now_us, withheld, self._settings.measurement, forward)
        refused |= admitted.refused
        return admitted

    def _filter(self, admitted: Admitted, refused: dict[str, int]) -> Outcome | None:
        """Predict to now, let new expiries in, and condition on what was admitted."""
        if not len(admitted.k):
            return None
        d, old, since_us, factor = self._settings.dynamics, self._joint, self._predicted_us, self._noise_factor
        moves = dynamics.STILL
        if self._predicted_us:
            moves = self._climate.moves(self._joint, self._forwards, self._predicted_us, self._now_us)
            self._joint = joint.predict(self._joint, self._predicted_us, self._now_us, self._noise_factor, d, moves)
        self._predicted_us, self._noise_factor = self._now_us, 1.0
        for expiry_us in sorted(set(admitted.expiry_us.tolist()) - set(self._joint.expiry_us.tolist())):
            curved = self._settings.calibrator.residual
            self._joint = joint.admit(self._joint, expiry_us, self._now_us, d, curved, self._clock)
            self._rungs[expiry_us] = Rung(self._now_us)
            self._young.begin(self._joint, expiry_us, self._now_us)
        place = np.searchsorted(self._joint.expiry_us, admitted.expiry_us)
        tau, m = year_fraction(self._now_us, self._joint.expiry_us), self._settings.measurement
        self._buckets = measurement.bucket(tau[place])
        vols = Vols(place, admitted.k, admitted.vol, admitted.R * self._scale.value[self._buckets], admitted.repetition)
        before = self._joint
        try:
            self._joint, outcome = estimate.update(before, tau, vols, m)
        except kalman.NotPositiveDefiniteError:
            refused["not_positive_definite"] = len(vols.k)
            return None
        self.work = Work(old, since_us or self._now_us, self._now_us, factor, d, moves, before, tau, vols)
        self._climate.told(before, self._joint, outcome.touched)
        self._joint = self._young.settle(self._joint, tau, vols, self._now_us, (m, d))
        self._scale = measurement.adapted(self._scale, self._buckets, outcome.innovation, outcome.S, vols.R, m)
        touched = [self._rungs[e] for e in self._joint.expiry_us[outcome.touched].tolist()]
        for rung in touched:
            rung.applied(self._now_us)
        remember(touched, outcome, _inside(outcome), self._settings.watch)
        return outcome

    def _is_withheld(self, quote: Quote) -> bool:
        name, c = quote.instrument.name, self._settings.calibrator
        if not c.hold_out:
            return False
        if name not in self._withheld:
            self._withheld[name] = held_out(c.hold_out_seed, name)
        return self._withheld[name]


def _facts(
    outcome: Outcome | None, buckets: NDArray[np.intp], refused: dict[str, int], said: Heard, m: Measurement
) -> BatchFacts:
    forwards: dict[str, Any] = {"forwards_outside_parity": said.outside, "forwards_gated": said.gated}
    if outcome is None:
        return BatchFacts(0, refused, {}, 0.0, 0, **forwards, executable=said.executable)
    inflated = int(np.count_nonzero(outcome.weight < m.inflated_below))
    return BatchFacts(
        quotes=len(outcome.weight),
        refused=refused,
        inflated={"outlier": inflated} if inflated else {},
        nis=float(outcome.nis.sum()),
        nis_dof=int(outcome.nis_dof.sum()),
        **forwards,
        executable=said.executable,
        log_likelihood=float(measurement.log_density(outcome.innovation, outcome.S, m).sum()),
        **_by_tenor(outcome, buckets),
    )


def _by_tenor(outcome: Outcome, buckets: NDArray[np.intp]) -> dict[str, Any]:
    """Coverage of the predictive bands and NIS of a batch, by tenor bucket."""
    inside = _inside(outcome)
    first = np.cumsum(outcome.nis_dof) - outcome.nis_dof
    coverage, nis = {}, {}
    for bucket in np.unique(buckets).tolist():
        own, slices = inside[buckets == bucket], buckets[first] == bucket
        coverage[bucket] = (len(own), *own.sum(axis=0).tolist())
        nis[bucket] = float(outcome.nis[slices].sum()), int(outcome.nis_dof[slices].sum())
    return {"coverage": coverage, "nis_by_tenor": nis}


def _inside(outcome: Outcome) -> NDArray[np.bool_]:
    """Which innovations lie in their 50, 90 and 95 % predictive bands, (N, 3)."""
    return np.asarray(np.abs(outcome.innovation)[:, None] < np.sqrt(outcome.S)[:, None] * BANDS)
