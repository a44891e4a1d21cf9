"""From what is laid out to smiles, ready to be published."""

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.hand import Touched
from kvd.calibrator.ladder import Rung
from kvd.calibrator.scene import Laid, Scene
from kvd.core import svi
from kvd.core.estimate import Outcome
from kvd.core.joint import covariances
from kvd.surface import Certificate, Smile, State

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

OUT_OF_REACH = "out_of_reach"


def drafts(venue: str, underlying: str, scene: Scene, laid: Laid) -> dict[int, Smile]:
    """New smiles of the free among the candidates, by their row."""
    clock, (_, forwards, outcome, regime) = scene.clock, scene.evidence
    rows = np.flatnonzero(laid.repaired.free)
    if not len(rows):
        return {}
    chosen, surface = scene.candidates[rows], laid.repaired.surface.take(rows)
    prepared, fit = svi.slices(surface.x), {} if outcome is None else _fit(outcome)
    expiries = scene.joint.expiry_us[chosen].tolist()
    columns = (
        rows.tolist(),
        chosen.tolist(),
        expiries,
        [scene.rungs[e] for e in expiries],
        smiles.shapes(surface, prepared, _wider(scene, laid, rows)),
        scene.recent.of(rows, len(scene.candidates)).judged(surface, prepared),
        _certificates(laid, rows),
    )
    made = {}
    for row, i, e, rung, shape, quoted, certificate in zip(*columns, strict=True):
        touched = laid.touched.get(row)
        state, reason, since_us = _standing(rung, touched)
        made[row] = Smile(
            venue=venue,
            underlying=underlying,
            expiry_us=e,
            forward=forwards[e],
            **shape._asdict(),
            **quoted._asdict(),
            certificate=certificate,
            nis=fit[i][0] if i in fit else None,
            nis_dof=fit[i][1] if i in fit else 0,
            record=rung.record,
            regime=regime,
            locked=touched.locked if touched else (),
            exchange_us=clock.now_us if rung.applied_us is None else rung.applied_us,
            receive_us=clock.receive_us,
            publish_us=clock.publish_us,
            state=state,
            reason=reason,
            since_us=since_us,
        )
    return made


def _standing(rung: Rung, touched: Touched | None) -> tuple[State, str, int]:
    """State, reason and since when: the market's, unless a live smile cannot go where the hand would have it."""
    if touched is None or touched.short_since_us is None or rung.state != "live":
        return rung.state, rung.reason, rung.since_us
    return "widened", OUT_OF_REACH, touched.short_since_us


def _wider(scene: Scene, laid: Laid, rows: Index) -> Floats:
    """The covariances that are published of `rows` (n,): the joint's, as much wider as their records say, or what the
    hand has made of those.
    """
    widened_by = scene.widened_by(rows)
    wider = covariances(scene.joint, scene.candidates[rows]) * (widened_by * widened_by)[:, None, None]
    if laid.touched:
        for place, row in enumerate(rows.tolist()):
            if row in laid.touched:
                root = laid.touched[row].slice.root
                wider[place] = root @ root.T
    return wider


def _certificates(laid: Laid, rows: Index) -> list[Certificate]:
    slices, repaired = laid.slices, laid.repaired
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
