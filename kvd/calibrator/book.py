"""One underlying of one venue: its board of quotes, its forwards, its joint filter, and the smiles that come of
them.
"""

from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import doors
from kvd.calibrator.board import Board
from kvd.calibrator.climate import Climate
from kvd.calibrator.doors import Admitted, OneSided
from kvd.calibrator.facts import BatchOutcome, Measured, count, facts, measured
from kvd.calibrator.forwards import Forwards
from kvd.calibrator.hand import Hand
from kvd.calibrator.ladder import Rung
from kvd.calibrator.records import Aged, BookState, Learnt, Work
from kvd.calibrator.rehearsal import ForwardsFound
from kvd.calibrator.sanity import Sanity
from kvd.calibrator.scene import Clock, Evidence
from kvd.calibrator.showcase import Showcase
from kvd.calibrator.watch import Marks, remember
from kvd.calibrator.young import Young
from kvd.config import Settings
from kvd.core import censored, dynamics, estimate, joint, kalman, measurement
from kvd.core.censored import Bounds
from kvd.core.daycount import VarianceTime, year_fraction
from kvd.core.estimate import Outcome, Vols
from kvd.core.turns import Turns, finish
from kvd.quotes import Event, ForwardQuote, Gap, Instrument, Quote, held_out
from kvd.surface import SurfaceUpdate

Floats = NDArray[np.float64]


class Book:
    """The surface of one underlying. `step` is its whole interface: events in, what changed out; `steps` is the same in
    turns, `learn` a step that shows nothing. Forwards are found in `forwards`, by default anew.
    """

    def __init__(self, venue: str, underlying: str, settings: Settings, forwards: ForwardsFound | None = None) -> None:
        self._of = venue, underlying
        self._settings = settings
        self._sanity = Sanity()
        self._board = Board()
        self._forwards = forwards or Forwards(settings.forward)
        self._clock = VarianceTime(settings.calendar)
        self._climate = Climate(settings.regimes, settings.dynamics, self._clock)
        self._hand = Hand(settings.limits, settings.dynamics)
        self._showcase = Showcase(venue, underlying, settings.calibrator, self._hand)
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

    def step(self, instant_us: int, events: Sequence[Event]) -> SurfaceUpdate:
        """Apply the events of one batch that ends at `instant_us`."""
        return finish(self.steps(instant_us, events))

    def steps(self, instant_us: int, events: Sequence[Event]) -> Turns[SurfaceUpdate]:
        """The same in turns: learning is one, and each program that a repair takes."""
        self._hand.hear(events)
        learnt = self.learn(events)
        yield
        clock = Clock(instant_us, self._now_us, self._receive_us)
        evidence = Evidence(self._board, self._forwards, learnt.outcome, self._climate.regime())
        changed, self._joint = yield from self._showcase.show(clock, self._joint, self._rungs, evidence)
        self._marks.look(self._now_us, self._board, self._showcase.shown)
        facts = learnt.facts._replace(mark_alarms=tuple(sorted(self._marks.diverged)))
        return SurfaceUpdate(*self._of, instant_us, changed, learnt.withdrawn, facts)

    def instruments(self) -> Iterator[tuple[Instrument, bool]]:
        """The options that were quoted, and whether the newest quote of each counts."""
        return self._board.instruments(*self._of)

    def state(self) -> BookState:
        """What it goes on from; nothing of that changes when the book does."""
        assert isinstance(self._forwards, Forwards)  # a rehearsal is never put aside
        return BookState(
            *self._of,
            self._joint,
            self._now_us,
            self._receive_us,
            self._predicted_us,
            self._noise_factor,
            self._scale,
            {expiry_us: copy(rung) for expiry_us, rung in self._rungs.items()},
            self._young.state(),
            self._climate.state(),
            self._board.state(),
            self._forwards.state(),
            self._hand.state(),
            self._showcase.state(),
            self._marks.state(),
            self._sanity.state(),
        )

    def restore(self, state: BookState) -> None:
        """Go on from `state`, which becomes this book's own."""
        assert isinstance(self._forwards, Forwards)
        self._joint, self._scale, self._rungs = state.joint, state.scale, state.rungs
        self._now_us, self._receive_us = state.now_us, state.receive_us
        self._predicted_us, self._noise_factor = state.predicted_us, state.noise_factor
        self._young.restore(state.young)
        self._climate.restore(state.climate)
        self._board.restore(state.board)
        self._forwards.restore(state.forwards)
        self._hand.restore(state.hand)
        self._showcase.restore(state.showcase)
        self._marks.restore(state.marks)
        self._sanity.restore(state.sanity)

    def learn(self, events: Sequence[Event]) -> Learnt:
        """Apply the events of one batch to the filter alone: no smile is made of it, and none repaired."""
        away_us = 0
        for event in events:
            if isinstance(event, Gap):
                away_us = self._gap(event)
        heard, futures, refused = self._sanity.sift(events, self._now_us)
        timed: list[Quote | ForwardQuote] = [*heard, *futures]
        self._now_us = max([self._now_us, *[event.exchange_us for event in timed]])
        self._receive_us = max([self._receive_us, *[event.receive_us for event in timed]])
        withdrawn = self._expire(self._now_us + away_us)
        if away_us:
            self._away(self._now_us + away_us)

        quotes = [q for q in heard if q.instrument.expiry_us > self._now_us]
        count(refused, "expired", len(heard) - len(quotes))
        withheld = self._are_withheld(quotes)
        said = self._forwards.hear(quotes, futures, withheld)
        made = BatchOutcome()
        if quotes:
            made = self._filter(self._admit(quotes, said.forward, withheld, refused), refused)
        outcome = made.of_vols.outcome if made.of_vols else None
        return Learnt(outcome, withdrawn, facts(made, refused, said, self._settings.measurement))

    def _gap(self, gap: Gap) -> int:
        """Trust less from here on; returns how long the gap was, where that is known (us)."""
        self._noise_factor = self._settings.dynamics.gap_factor
        self._young.interrupted()
        self._showcase.interrupted()
        for rung in self._rungs.values():
            rung.gap_reason = gap.reason
        return 0 if gap.until_us is None else max(0, gap.until_us - gap.since_us)

    def _away(self, to_us: int) -> None:
        """Add at once what a gap till `to_us` has cost, as the venue's clock should stand when it has ended."""
        d = self._settings.dynamics
        self._joint = joint.predict(self._joint, self._predicted_us, to_us, self._noise_factor, d)
        self._predicted_us = max(self._predicted_us, to_us)

    def _expire(self, now_us: int) -> tuple[int, ...]:
        """Forget every expiry whose instant has come; returns those that had a slice."""
        self._hand.expire(now_us)
        self._joint, gone = joint.expire(self._joint, now_us)
        for expiry_us in gone:
            self._showcase.forget(expiry_us)
            self._marks.forget(expiry_us)
            del self._rungs[expiry_us]
            self._young.forget(expiry_us)
        for expiry_us in {*gone, *self._board.expired(now_us)}:  # some were only ever refused
            self._board.forget(expiry_us)
            self._forwards.forget(expiry_us)
        return gone

    def _admit(
        self, quotes: Sequence[Quote], forward: Floats, withheld: NDArray[np.bool_], refused: dict[str, int]
    ) -> Admitted:
        admitted = doors.admit(quotes, self._board, self._now_us, withheld, self._settings.measurement, forward)
        refused |= admitted.refused
        return admitted

    def _filter(self, admitted: Admitted, refused: dict[str, int]) -> BatchOutcome:
        """Predict to now, let new expiries in, and condition on what was admitted: on vols, then on bounds."""
        if not len(admitted.k) and not len(admitted.one_sided.k):
            return BatchOutcome()
        d, moves = self._settings.dynamics, dynamics.STILL
        since_us = min(self._predicted_us, self._now_us)  # a gap may have been thought longer than it was
        if since_us:
            moves = self._climate.moves(self._joint, self._forwards, since_us, self._now_us)
        aged = Aged(self._joint, since_us or self._now_us, self._now_us, self._noise_factor, d, moves)
        self._joint = joint.predict(*aged)
        self._predicted_us, self._noise_factor = self._now_us, 1.0
        for expiry_us in sorted(set(admitted.expiry_us.tolist()) - set(self._joint.expiry_us.tolist())):
            curved = self._settings.calibrator.residual
            self._joint = joint.admit(self._joint, expiry_us, self._now_us, d, curved, self._clock)
            self._rungs[expiry_us] = Rung(self._now_us)
            self._young.begin(self._joint, expiry_us, self._now_us)
        tau = year_fraction(self._now_us, self._joint.expiry_us)
        of_vols = self._measure(admitted, tau, refused, aged) if len(admitted.k) else None
        of_bounds = self._bound(admitted.one_sided, tau, refused) if len(admitted.one_sided.k) else None
        return BatchOutcome(of_vols, of_bounds)

    def _measure(self, admitted: Admitted, tau: Floats, refused: dict[str, int], aged: Aged) -> Measured | None:
        """Condition on two-sided quotes, and learn from their innovations how noisy they are."""
        d, m = self._settings.dynamics, self._settings.measurement
        place = np.searchsorted(self._joint.expiry_us, admitted.expiry_us)
        buckets = measurement.bucket(tau[place])
        vols = Vols(place, admitted.k, admitted.vol, admitted.R * self._scale.value[buckets], admitted.repetition)
        before = self._joint
        try:
            self._joint, outcome = estimate.update(before, tau, vols, m)
        except kalman.NotPositiveDefiniteError:
            refused["not_positive_definite"] = len(vols.k)
            return None
        self.work = Work(aged, before, tau, vols)
        self._climate.told(before, self._joint, outcome.touched)
        self._joint = self._young.settle(self._joint, tau, vols, self._now_us, (m, d))
        self._scale = measurement.adapted(self._scale, buckets, outcome.innovation, outcome.S, vols.R, m)
        touched = [self._rungs[e] for e in self._joint.expiry_us[outcome.touched].tolist()]
        for rung in touched:
            rung.applied(self._now_us)
        found = measured(outcome, buckets)
        remember(touched, outcome, found.inside, self._settings.watch)
        return found

    def _bound(self, alone: OneSided, tau: Floats, refused: dict[str, int]) -> Outcome | None:
        """Condition on one-sided quotes. They say too little to keep a smile live, or to make one."""
        known = np.isin(alone.expiry_us, self._joint.expiry_us)
        k, vol, side = alone.k[known], alone.vol[known], alone.side[known]
        place, m = np.searchsorted(self._joint.expiry_us, alone.expiry_us[known]), self._settings.measurement
        count(refused, "one_sided", len(known) - len(place))
        R = measurement.variance_alone(vol, m) * self._scale.value[measurement.bucket(tau[place])]
        try:
            self._joint, outcome = censored.update(self._joint, tau, Bounds(place, k, vol, side, R), m)
        except kalman.NotPositiveDefiniteError:
            count(refused, "not_positive_definite", len(place))
            return None
        count(refused, "idle", len(place) - (0 if outcome is None else len(outcome.weight)))
        return outcome

    def _are_withheld(self, quotes: Sequence[Quote]) -> NDArray[np.bool_]:
        withheld, c = np.zeros(len(quotes), dtype=np.bool_), self._settings.calibrator
        if c.hold_out:
            names = [quote.instrument.name for quote in quotes]
            self._withheld |= {name: held_out(c.hold_out_seed, name) for name in names if name not in self._withheld}
            withheld[:] = [self._withheld[name] for name in names]
        return withheld
