"""What subscribers have been shown of one underlying, and what of it a batch changed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.board import Board
from kvd.calibrator.doors import SETTLEMENT_US
from kvd.calibrator.forwards import Forwards
from kvd.calibrator.ladder import Rung
from kvd.config import Calibrator
from kvd.core.estimate import Outcome
from kvd.core.joint import Joint
from kvd.core.svi import DIM, LEVEL
from kvd.surface import Forward, Smile, State

Floats = NDArray[np.float64]

MOVED_SDS = 0.1  # an expiry that was not quoted is shown again once a coordinate has moved by this part of its sd


class Clock(NamedTuple):
    """The instants of one publication: the batch's grid instant, the newest exchange time and the newest arrival."""

    publish_us: int
    now_us: int
    receive_us: int


class Showcase:
    """The newest smile of every expiry. `show` returns those that a batch changed, ready to be published."""

    def __init__(self, venue: str, underlying: str, settings: Calibrator) -> None:
        self._of = venue, underlying
        self._settings = settings
        self._shown: dict[int, tuple[Smile, Floats]] = {}

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        self._shown.pop(expiry_us, None)

    def show(
        self, clock: Clock, joint: Joint, rungs: Mapping[int, Rung], evidence: tuple[Board, Forwards, Outcome | None]
    ) -> tuple[Smile, ...]:
        """The smiles to publish: quoted, moved by their neighbours, or on another rung; `rungs` is brought up to date.

        A slice that may not be published (its variance is not positive on the certificate's range) is held: its last
        good smile is shown again, saying so; a slice that never had one is not shown.
        """
        board, forwards, outcome = evidence
        expiries = joint.expiry_us.tolist()
        wanted = self._wanted(clock.now_us, joint, rungs)
        changed = self._changed(joint, rungs, wanted, outcome)
        judged = np.array([i for i, e in enumerate(expiries) if changed[i] and e in forwards], dtype=np.intp)
        if not len(judged):
            return ()
        quoted = smiles.quoted(board, joint, clock.now_us, judged)
        fit = {} if outcome is None else _fit(outcome)
        published = []
        for i, shape in zip(judged.tolist(), smiles.shapes(joint, clock.now_us, judged, quoted), strict=True):
            e, rung = expiries[i], rungs[expiries[i]]
            rung.enter(clock.now_us, *(wanted[i] if shape.sound else ("held", "variance_not_positive")))
            if shape.sound:
                smile = self._smile(clock, e, shape, forwards[e], quoted[e], rung, fit.get(i, (None, 0)))
            elif e in self._shown:
                smile = self._shown[e][0]._replace(
                    state=rung.state, reason=rung.reason, since_us=rung.since_us, publish_us=clock.publish_us
                )
            else:
                continue
            self._shown[e] = smile, joint.x[i]
            published.append(smile)
        return tuple(published)

    def _wanted(self, now_us: int, joint: Joint, rungs: Mapping[int, Rung]) -> list[tuple[State, str]]:
        level_sd = np.sqrt(np.diag(joint.P)[LEVEL::DIM]).tolist()
        return [
            rungs[e].judge(now_us, sd, e - now_us < SETTLEMENT_US, self._settings)
            for e, sd in zip(joint.expiry_us.tolist(), level_sd, strict=True)
        ]

    def _changed(
        self, joint: Joint, rungs: Mapping[int, Rung], wanted: list[tuple[State, str]], outcome: Outcome | None
    ) -> NDArray[np.bool_]:
        """Which slices are quoted, moved, or about to change their rung, (S,); a held one waits until it moves."""
        never = np.full(DIM, np.inf)
        expiries = joint.expiry_us.tolist()
        shown = np.array([self._shown[e][1] if e in self._shown else never for e in expiries]).reshape(-1, DIM)
        sd = np.sqrt(np.diag(joint.P)).reshape(-1, DIM)
        changed = np.asarray((np.abs(joint.x - shown) > MOVED_SDS * sd).any(axis=1))
        if outcome is not None:
            changed[outcome.touched] = True
        for i, e in enumerate(expiries):
            changed[i] |= rungs[e].state != "held" and wanted[i] != (rungs[e].state, rungs[e].reason)
        return changed

    def _smile(
        self,
        clock: Clock,
        expiry_us: int,
        shape: smiles.Shape,
        forward: Forward,
        quoted: smiles.Quoted,
        rung: Rung,
        fit: tuple[float | None, int],
    ) -> Smile:
        return Smile(
            *self._of,
            expiry_us=expiry_us,
            tau=shape.tau,
            forward=forward,
            parameters=shape.parameters,
            sd=shape.sd,
            raw=shape.raw,
            jump_wings=shape.jump_wings,
            covariance=shape.covariance,
            quoted_low=quoted.low,
            quoted_high=quoted.high,
            certificate=shape.certificate,
            nis=fit[0],
            nis_dof=fit[1],
            inside=quoted.inside,
            quotes=quoted.quotes,
            state=rung.state,
            reason=rung.reason,
            since_us=rung.since_us,
            exchange_us=clock.now_us if rung.applied_us is None else rung.applied_us,
            receive_us=clock.receive_us,
            publish_us=clock.publish_us,
        )


def _fit(outcome: Outcome) -> dict[int, tuple[float | None, int]]:
    """NIS and its degrees of freedom by slice."""
    rows = zip(outcome.touched.tolist(), outcome.nis.tolist(), outcome.nis_dof.tolist(), strict=True)
    return {slice_: (nis, dof) for slice_, nis, dof in rows}
