"""What subscribers have been shown of one underlying, and what of it a batch changed."""

from collections.abc import Mapping
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.board import Board
from kvd.calibrator.doors import SETTLEMENT_US
from kvd.calibrator.ladder import Rung
from kvd.calibrator.rehearsal import ForwardsFound
from kvd.calibrator.repair import Repaired, Slices, repair
from kvd.config import Calibrator
from kvd.core import svi
from kvd.core.arbitrage import Surface
from kvd.core.daycount import year_fraction
from kvd.core.estimate import Outcome
from kvd.core.joint import Joint, M, covariances
from kvd.core.svi import DIM
from kvd.surface import Certificate, Regime, Smile, State

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

MOVED_SDS = 0.1  # an expiry that was not quoted is shown again once a coordinate has moved by this part of its sd


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


class Shown(NamedTuple):
    """A published smile and the slice it was made from."""

    smile: Smile
    x: Floats
    u: Floats


class Showcase:
    """The newest smile of every expiry. `show` returns those that a batch changed, ready to be published."""

    def __init__(self, venue: str, underlying: str, settings: Calibrator) -> None:
        self._of = venue, underlying
        self._settings = settings
        self._shown: dict[int, Shown] = {}
        self._judged: dict[int, Floats] = {}  # the state that was last looked at, held or not

    @property
    def shown(self) -> Mapping[int, Shown]:
        """What subscribers have, by expiry."""
        return self._shown

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        self._shown.pop(expiry_us, None)
        self._judged.pop(expiry_us, None)

    def show(
        self, clock: Clock, joint: Joint, rungs: Mapping[int, Rung], evidence: Evidence
    ) -> tuple[tuple[Smile, ...], Joint]:
        """The smiles to publish: quoted, moved by their neighbours, or on another rung; `rungs` is brought up to date.

        Whatever had to be moved to be free of arbitrage is moved in the joint that is returned, too: what the market
        may not do is information about what it does. A slice that cannot be repaired is held: its last good smile is
        shown again, saying so; a slice that never had one is not shown.
        """
        board, forwards, outcome, _ = evidence
        expiries = joint.expiry_us.tolist()
        wanted = self._wanted(clock.now_us, joint, rungs)
        candidates = np.array([i for i, e in enumerate(expiries) if e in forwards], dtype=np.intp)
        changed = self._changed(joint, rungs, wanted, outcome)[candidates]
        if not changed.any():
            return (), joint
        recent = smiles.recent(board, joint, clock.now_us, candidates)
        slices = _slices(joint, candidates, clock.now_us, recent)
        sound = np.isfinite(joint.x[candidates].sum(axis=1) + joint.u[candidates].sum(axis=1))
        prior = joint
        repaired = repair(slices, changed & sound, self._slices(joint), lambda rows: _roots(prior, candidates[rows]))
        held = repaired.held | (changed & ~sound)
        joint = _moved(joint, candidates, repaired)
        rows, kept = candidates[repaired.free | held].tolist(), set(candidates[held].tolist())
        for i in rows:
            rungs[expiries[i]].enter(clock.now_us, *(("held", "not_repairable") if i in kept else wanted[i]))
            self._judged[expiries[i]] = joint.x[i]
        drafts = self._drafts(clock, joint, rungs, candidates, slices, repaired, recent, evidence)
        published = []
        for i in rows:
            shown = self._held(expiries[i], rungs, clock) if i in kept else Shown(drafts[i], joint.x[i], joint.u[i])
            if shown is not None:
                self._shown[expiries[i]] = shown
                published.append(shown.smile)
        return tuple(published), joint

    def _held(self, e: int, rungs: Mapping[int, Rung], clock: Clock) -> Shown | None:
        """What was shown of expiry `e`, saying that it is held; None if nothing was."""
        if e not in self._shown:
            return None
        last, rung = self._shown[e], rungs[e]
        smile = last.smile._replace(
            state=rung.state, reason=rung.reason, since_us=rung.since_us, publish_us=clock.publish_us
        )
        return last._replace(smile=smile)

    def _drafts(
        self,
        clock: Clock,
        joint: Joint,
        rungs: Mapping[int, Rung],
        candidates: Index,
        slices: Slices,
        repaired: Repaired,
        recent: smiles.Recent,
        evidence: Evidence,
    ) -> dict[int, Smile]:
        """New smiles of the free among the candidates, by their place in the joint; `recent` are the candidates'."""
        _, forwards, outcome, regime = evidence
        rows = np.flatnonzero(repaired.free)
        if not len(rows):
            return {}
        chosen, surface = candidates[rows], repaired.surface.take(rows)
        prepared, fit = svi.slices(surface.x), {} if outcome is None else _fit(outcome)
        standing = [rungs[e] for e in joint.expiry_us[chosen].tolist()]
        widened_by = np.array([rung.record.widened_by if rung.record else 1.0 for rung in standing])
        wider = covariances(joint, chosen) * (widened_by * widened_by)[:, None, None]
        columns = (
            chosen.tolist(),
            joint.expiry_us[chosen].tolist(),
            standing,
            smiles.shapes(surface, prepared, wider),
            recent.of(rows, len(candidates)).judged(surface, prepared),
            _certificates(slices, repaired, rows),
        )
        return {
            i: Smile(
                venue=self._of[0],
                underlying=self._of[1],
                expiry_us=e,
                forward=forwards[e],
                **shape._asdict(),
                **quoted._asdict(),
                certificate=certificate,
                nis=fit[i][0] if i in fit else None,
                nis_dof=fit[i][1] if i in fit else 0,
                record=rung.record,
                regime=regime,
                locked=(),
                exchange_us=clock.now_us if rung.applied_us is None else rung.applied_us,
                receive_us=clock.receive_us,
                publish_us=clock.publish_us,
                state=rung.state,
                reason=rung.reason,
                since_us=rung.since_us,
            )
            for i, e, rung, shape, quoted, certificate in zip(*columns, strict=True)
        }

    def _wanted(self, now_us: int, joint: Joint, rungs: Mapping[int, Rung]) -> list[tuple[State, str]]:
        return [
            rungs[e].judge(now_us, sd, e - now_us < SETTLEMENT_US, self._settings)
            for e, sd in zip(joint.expiry_us.tolist(), smiles.level_sd(joint).tolist(), strict=True)
        ]

    def _changed(
        self, joint: Joint, rungs: Mapping[int, Rung], wanted: list[tuple[State, str]], outcome: Outcome | None
    ) -> NDArray[np.bool_]:
        """Which slices are quoted, moved, or about to change their rung, (S,); a held one waits until it moves."""
        never = np.full(DIM, np.inf)
        expiries = joint.expiry_us.tolist()
        judged = np.array([self._judged.get(e, never) for e in expiries]).reshape(-1, DIM)
        sd = np.sqrt(joint.P.diagonal()).reshape(-1, DIM)
        changed = np.asarray((np.abs(joint.x - judged) > MOVED_SDS * sd).any(axis=1))
        if outcome is not None:
            changed[outcome.touched] = True
        standing = [rungs[e] for e in expiries]
        another = [
            rung.state != "held" and (rung.state, rung.reason) != want
            for rung, want in zip(standing, wanted, strict=True)
        ]
        return changed | np.array(another, dtype=np.bool_)

    def _slices(self, joint: Joint) -> Slices:
        """Everything that is shown, in ascending expiry."""
        expiries = [e for e in joint.expiry_us.tolist() if e in self._shown]
        shown = [self._shown[e] for e in expiries]
        surface = Surface(
            np.array([s.x for s in shown]).reshape(-1, DIM),
            np.array([s.u for s in shown]).reshape(-1, M),
            np.array([s.smile.tau for s in shown]),
        )
        ranges = np.array([(s.smile.certificate.k_low, s.smile.certificate.k_high) for s in shown]).reshape(-1, 2)
        return Slices(surface, ranges[:, 0], ranges[:, 1], np.array(expiries, dtype=np.int64))


def _slices(joint: Joint, candidates: Index, now_us: int, recent: smiles.Recent) -> Slices:
    """The slices that may be published, with the ranges of their certificates."""
    surface = Surface(joint.x[candidates], joint.u[candidates], year_fraction(now_us, joint.expiry_us[candidates]))
    low, high, _ = recent.bounds(len(candidates))
    reach = smiles.reach(surface)
    return Slices(surface, np.minimum(low, -reach), np.maximum(high, reach), joint.expiry_us[candidates])


def _roots(joint: Joint, chosen: Index) -> Floats:
    """Roots R of the covariances R R' of (x, u) of the slices `chosen` (n,), (n, D, D); a direction whose variance
    rounding has made negative has none.
    """
    values, vectors = np.linalg.eigh(covariances(joint, chosen))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])


def _moved(joint: Joint, candidates: Index, repaired: Repaired) -> Joint:
    """The joint with what had to be moved where it was moved to."""
    if not repaired.moved.any():
        return joint
    x, u, chosen = joint.x.copy(), joint.u.copy(), candidates[repaired.moved]
    x[chosen], u[chosen] = repaired.surface.x[repaired.moved], repaired.surface.u[repaired.moved]
    return joint._replace(x=x, u=u)


def _certificates(slices: Slices, repaired: Repaired, rows: Index) -> list[Certificate]:
    columns = (slices.low, slices.high, repaired.points, repaired.butterfly, repaired.calendar, repaired.moved)
    return [
        Certificate(
            k_low=low,
            k_high=high,
            points=points,
            butterfly=butterfly,
            calendar=calendar if isfinite(calendar) else None,
            method="projected" if moved else "measured",
        )
        for low, high, points, butterfly, calendar, moved in zip(*(c[rows].tolist() for c in columns), strict=True)
    ]


def _fit(outcome: Outcome) -> dict[int, tuple[float | None, int]]:
    """NIS and its degrees of freedom by slice."""
    rows = zip(outcome.touched.tolist(), outcome.nis.tolist(), outcome.nis_dof.tolist(), strict=True)
    return {slice_: (nis, dof) for slice_, nis, dof in rows}
