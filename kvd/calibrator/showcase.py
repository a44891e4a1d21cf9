"""What subscribers have been shown of one underlying, and what of it a batch changed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.board import Board
from kvd.calibrator.doors import SETTLEMENT_US
from kvd.calibrator.forwards import Forwards
from kvd.calibrator.ladder import Rung
from kvd.calibrator.repair import Repaired, Slices, repair
from kvd.config import Calibrator
from kvd.core.arbitrage import Surface
from kvd.core.daycount import year_fraction
from kvd.core.estimate import Outcome
from kvd.core.joint import Joint, M, covariances
from kvd.core.svi import DIM
from kvd.surface import Certificate, Smile, State

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

MOVED_SDS = 0.1  # an expiry that was not quoted is shown again once a coordinate has moved by this part of its sd
JITTER = 1e-12


class Clock(NamedTuple):
    """The instants of one publication: the batch's grid instant, the newest exchange time and the newest arrival."""

    publish_us: int
    now_us: int
    receive_us: int


class Shown(NamedTuple):
    """A published smile and the slice it was made from; `judged` is the state that was last looked at, held or not."""

    smile: Smile
    x: Floats
    u: Floats
    judged: Floats


class Showcase:
    """The newest smile of every expiry. `show` returns those that a batch changed, ready to be published."""

    def __init__(self, venue: str, underlying: str, settings: Calibrator) -> None:
        self._of = venue, underlying
        self._settings = settings
        self._shown: dict[int, Shown] = {}

    @property
    def shown(self) -> Mapping[int, Shown]:
        """What subscribers have, by expiry."""
        return self._shown

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        self._shown.pop(expiry_us, None)

    def show(
        self, clock: Clock, joint: Joint, rungs: Mapping[int, Rung], evidence: tuple[Board, Forwards, Outcome | None]
    ) -> tuple[tuple[Smile, ...], Joint]:
        """The smiles to publish: quoted, moved by their neighbours, or on another rung; `rungs` is brought up to date.

        Whatever had to be moved to be free of arbitrage is moved in the joint that is returned, too: what the market
        may not do is information about what it does. A slice that cannot be repaired is held: its last good smile is
        shown again, saying so; a slice that never had one is not shown.
        """
        board, forwards, outcome = evidence
        expiries = joint.expiry_us.tolist()
        wanted = self._wanted(clock.now_us, joint, rungs)
        changed = self._changed(joint, rungs, wanted, outcome)
        judged = np.array([i for i, e in enumerate(expiries) if changed[i] and e in forwards], dtype=np.intp)
        if not len(judged):
            return (), joint
        recent = smiles.recent(board, joint, clock.now_us, judged)
        slices = _slices(joint, judged, clock.now_us, recent)
        covariance = covariances(joint, judged)
        root = np.asarray(np.linalg.cholesky(covariance + JITTER * np.eye(DIM + M)))
        repaired = repair(slices, root, self._slices(joint))
        joint.x[judged[repaired.moved]] = repaired.surface.x[repaired.moved]
        joint.u[judged[repaired.moved]] = repaired.surface.u[repaired.moved]

        inside, (low, high, quotes) = recent.inside(repaired.surface), recent.bounds(len(judged))
        fit = {} if outcome is None else _fit(outcome)
        published = []
        widened_by = np.array([r.record.widened_by if (r := rungs[expiries[i]]).record else 1.0 for i in judged])
        wider = covariance * (widened_by * widened_by)[:, None, None]
        for row, shape in enumerate(smiles.shapes(repaired.surface, wider)):
            i = int(judged[row])
            e, rung = expiries[i], rungs[expiries[i]]
            held = bool(repaired.held[row]) or not np.isfinite(shape.sd).all()
            rung.enter(clock.now_us, *(("held", "not_repairable") if held else wanted[i]))
            if held and e not in self._shown:
                continue
            standing: dict[str, Any] = {"state": rung.state, "reason": rung.reason, "since_us": rung.since_us}
            if held:
                smile = self._shown[e].smile._replace(publish_us=clock.publish_us, **standing)
                self._shown[e] = self._shown[e]._replace(smile=smile, judged=joint.x[i])
            else:
                quoted = (float(low[row]), float(high[row])) if quotes[row] else (None, None)
                smile = Smile(
                    venue=self._of[0],
                    underlying=self._of[1],
                    expiry_us=e,
                    forward=forwards[e],
                    **shape._asdict(),
                    quoted_low=quoted[0],
                    quoted_high=quoted[1],
                    certificate=_certificate(slices, repaired, row),
                    nis=fit.get(i, (None, 0))[0],
                    nis_dof=fit.get(i, (None, 0))[1],
                    inside=float(inside[row]) if quotes[row] else None,
                    quotes=int(quotes[row]),
                    record=rung.record,
                    exchange_us=clock.now_us if rung.applied_us is None else rung.applied_us,
                    receive_us=clock.receive_us,
                    publish_us=clock.publish_us,
                    **standing,
                )
                self._shown[e] = Shown(smile, repaired.surface.x[row], repaired.surface.u[row], joint.x[i])
            published.append(smile)
        return tuple(published), joint

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
        judged = np.array([self._shown[e].judged if e in self._shown else never for e in expiries]).reshape(-1, DIM)
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


def _slices(joint: Joint, judged: Index, now_us: int, recent: smiles.Recent) -> Slices:
    """The slices to be judged with the ranges of their certificates."""
    surface = Surface(joint.x[judged], joint.u[judged], year_fraction(now_us, joint.expiry_us[judged]))
    low, high, _ = recent.bounds(len(judged))
    reach = smiles.reach(surface)
    return Slices(surface, np.minimum(low, -reach), np.maximum(high, reach), joint.expiry_us[judged])


def _certificate(slices: Slices, repaired: Repaired, row: int) -> Certificate:
    gap = float(repaired.calendar[row])
    return Certificate(
        k_low=float(slices.low[row]),
        k_high=float(slices.high[row]),
        points=repaired.points,
        butterfly=float(repaired.butterfly[row]),
        calendar=gap if np.isfinite(gap) else None,
        method="projected" if repaired.moved[row] else "measured",
    )


def _fit(outcome: Outcome) -> dict[int, tuple[float | None, int]]:
    """NIS and its degrees of freedom by slice."""
    rows = zip(outcome.touched.tolist(), outcome.nis.tolist(), outcome.nis_dof.tolist(), strict=True)
    return {slice_: (nis, dof) for slice_, nis, dof in rows}
