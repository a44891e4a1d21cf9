"""What subscribers have been shown of one underlying, and what of it a batch changed."""

from collections.abc import Mapping
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
        slices = _slices(joint, candidates, clock.now_us, smiles.recent(board, joint, clock.now_us, candidates))
        sound = np.isfinite(joint.x[candidates].sum(axis=1) + joint.u[candidates].sum(axis=1))
        prior = joint
        repaired = repair(slices, changed & sound, self._slices(joint), lambda rows: _roots(prior, candidates[rows]))
        held = repaired.held | (changed & ~sound)
        joint = _moved(joint, candidates, repaired)
        drafts = self._drafts(clock, joint, rungs, candidates, slices, repaired, evidence)
        published = []
        for row in np.flatnonzero(repaired.free | held).tolist():
            i = int(candidates[row])
            e, rung = expiries[i], rungs[expiries[i]]
            rung.enter(clock.now_us, *(("held", "not_repairable") if held[row] else wanted[i]))
            self._judged[e] = joint.x[i]
            if not held[row]:
                self._shown[e] = Shown(drafts[row], joint.x[i], joint.u[i])
            if e in self._shown:
                published.append(self._standing(e, rung, clock))
        return tuple(published), joint

    def _standing(self, e: int, rung: Rung, clock: Clock) -> Smile:
        """The smile that is shown of expiry `e`, as it stands now."""
        smile = self._shown[e].smile._replace(
            state=rung.state, reason=rung.reason, since_us=rung.since_us, publish_us=clock.publish_us
        )
        if rung.state != "held" and rung.applied_us is not None:
            smile = smile._replace(exchange_us=rung.applied_us)
        self._shown[e] = self._shown[e]._replace(smile=smile)
        return smile

    def _drafts(
        self,
        clock: Clock,
        joint: Joint,
        rungs: Mapping[int, Rung],
        candidates: Index,
        slices: Slices,
        repaired: Repaired,
        evidence: Evidence,
    ) -> dict[int, Smile]:
        """New smiles of the free among the candidates, by row; on which rung they stand is yet to be said."""
        board, forwards, outcome, regime = evidence
        rows = np.flatnonzero(repaired.free)
        if not len(rows):
            return {}
        chosen = candidates[rows]
        surface, recent = repaired.surface.take(rows), smiles.recent(board, joint, clock.now_us, chosen)
        inside, (low, high, quotes) = recent.inside(surface), recent.bounds(len(rows))
        fit = {} if outcome is None else _fit(outcome)
        records = [rungs[e].record for e in joint.expiry_us[chosen].tolist()]
        widened_by = np.array([record.widened_by if record else 1.0 for record in records])
        wider = covariances(joint, chosen) * (widened_by * widened_by)[:, None, None]
        drafts = {}
        for n, shape in enumerate(smiles.shapes(surface, wider)):
            i, row = int(chosen[n]), int(rows[n])
            quoted = (float(low[n]), float(high[n])) if quotes[n] else (None, None)
            nis, nis_dof = fit.get(i, (None, 0))
            drafts[row] = Smile(
                venue=self._of[0],
                underlying=self._of[1],
                expiry_us=int(joint.expiry_us[i]),
                forward=forwards[int(joint.expiry_us[i])],
                **shape._asdict(),
                quoted_low=quoted[0],
                quoted_high=quoted[1],
                certificate=_certificate(slices, repaired, row),
                nis=nis,
                nis_dof=nis_dof,
                inside=float(inside[n]) if quotes[n] else None,
                quotes=int(quotes[n]),
                record=records[n],
                regime=regime,
                exchange_us=clock.now_us,
                receive_us=clock.receive_us,
                publish_us=clock.publish_us,
                state="live",
                reason="",
                since_us=clock.now_us,
            )
        return drafts

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
        sd = np.sqrt(np.diag(joint.P)).reshape(-1, DIM)
        changed = np.asarray((np.abs(joint.x - judged) > MOVED_SDS * sd).any(axis=1))
        if outcome is not None:
            changed[outcome.touched] = True
        for i, e in enumerate(expiries):
            changed[i] |= rungs[e].state != "held" and wanted[i] != (rungs[e].state, rungs[e].reason)
        return changed

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


def _certificate(slices: Slices, repaired: Repaired, row: int) -> Certificate:
    gap = float(repaired.calendar[row])
    return Certificate(
        k_low=float(slices.low[row]),
        k_high=float(slices.high[row]),
        points=int(repaired.points[row]),
        butterfly=float(repaired.butterfly[row]),
        calendar=gap if np.isfinite(gap) else None,
        method="projected" if repaired.moved[row] else "measured",
    )


def _fit(outcome: Outcome) -> dict[int, tuple[float | None, int]]:
    """NIS and its degrees of freedom by slice."""
    rows = zip(outcome.touched.tolist(), outcome.nis.tolist(), outcome.nis_dof.tolist(), strict=True)
    return {slice_: (nis, dof) for slice_, nis, dof in rows}
