"""What subscribers have been shown of one underlying, and what of it a batch changed."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.doors import SETTLEMENT_US
from kvd.calibrator.drafts import drafts
from kvd.calibrator.hand import Hand
from kvd.calibrator.ladder import Rung
from kvd.calibrator.overlay import Market, Overlay, overlay
from kvd.calibrator.rehearsal import ForwardsFound
from kvd.calibrator.repair import Repaired, Roots, Slices, repair_as_far, with_neighbours
from kvd.calibrator.scene import Clock, Evidence, Laid, Scene
from kvd.calibrator.shown import ShowcaseState, Shown, Stood, held, same
from kvd.config import Calibrator
from kvd.core.arbitrage import Surface
from kvd.core.daycount import year_fraction
from kvd.core.estimate import Outcome
from kvd.core.joint import Joint, M, covariances
from kvd.core.svi import DIM
from kvd.core.turns import Turns
from kvd.surface import Smile, State

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]

MOVED_SDS = 0.1  # an expiry that was not quoted is shown again once a coordinate has moved by this part of its sd


class Showcase:
    """The newest smile of every expiry. `show` returns those that a batch changed, ready to be published.

    What is shown is the market's surface and what the `hand` makes of it. The market's is judged, repaired and fed back
    as if there were no hand: `_market` keeps where it stands of the expiries that are shown otherwise.
    """

    def __init__(self, venue: str, underlying: str, settings: Calibrator, hand: Hand) -> None:
        self._of = venue, underlying
        self._settings = settings
        self._hand = hand
        self._shown: dict[int, Shown] = {}
        self._market: dict[int, Stood] = {}
        self._judged: dict[int, Floats] = {}  # the state that was last looked at, held or not

    @property
    def shown(self) -> Mapping[int, Shown]:
        """What subscribers have, by expiry."""
        return self._shown

    def state(self) -> ShowcaseState:
        """What it remembers now."""
        return ShowcaseState(self._shown.copy(), self._market.copy(), self._judged.copy())

    def restore(self, state: ShowcaseState) -> None:
        """Remember what it did then."""
        self._shown, self._market, self._judged = state

    def interrupted(self) -> None:
        """The stream was lost: every slice is to be looked at again, and what is shown of it said again."""
        self._judged.clear()

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        for kept in (self._shown, self._market, self._judged):
            kept.pop(expiry_us, None)

    def show(
        self, clock: Clock, joint: Joint, rungs: Mapping[int, Rung], evidence: Evidence
    ) -> Turns[tuple[tuple[Smile, ...], Joint]]:
        """The smiles to publish: quoted, moved by their neighbours or by the hand, or on another rung; `rungs` is
        brought up to date.

        Whatever the market's slices had to be moved to be free of arbitrage they are moved in the joint that is
        returned, too: what the market may not do is information about what it does. A slice that cannot be repaired is
        held: its last good smile is shown again, saying so; a slice that never had one is not shown.
        """
        wanted = self._wanted(clock.now_us, joint, rungs)
        expiries = joint.expiry_us.tolist()
        candidates = np.array([i for i, e in enumerate(expiries) if e in evidence.forwards], dtype=np.intp)
        changed = self._changed(joint, rungs, wanted, evidence.outcome)[candidates]
        stirred = self._stirred(clock.now_us, joint.expiry_us[candidates], evidence.forwards)
        if not changed.any() and not stirred:
            return (), joint
        recent = smiles.recent(evidence.board, joint, clock.now_us, candidates)
        scene = Scene(clock, joint, candidates, recent, rungs, evidence)
        laid, scene = yield from self._judge(scene, changed, wanted)
        if not self._hand.idle or self._market:
            laid = yield from self._lay(scene, laid, stirred)
        self._hand.news.clear()
        return self._publish(scene, laid), scene.joint

    def _judge(self, scene: Scene, changed: Flags, wanted: list[tuple[State, str]]) -> Turns[tuple[Laid, Scene]]:
        """What the market alone would show of the `changed` (T,), and the joint with what had to be moved for it."""
        joint, candidates, now_us = scene.joint, scene.candidates, scene.clock.now_us
        slices = _slices(joint, candidates, now_us, scene.recent)
        sound = np.isfinite(joint.x[candidates].sum(axis=1) + joint.u[candidates].sum(axis=1))
        standing = self._standing(joint, self._market)
        slices, repaired = yield from repair_as_far(slices, changed & sound, standing, _roots(joint, candidates))
        held = repaired.held | (changed & ~sound)
        joint = _moved(joint, candidates, repaired)
        expiries, kept = joint.expiry_us.tolist(), set(candidates[held].tolist())
        for i in candidates[repaired.free | held].tolist():
            scene.rungs[expiries[i]].enter(now_us, *(("held", "not_repairable") if i in kept else wanted[i]))
            self._judged[expiries[i]] = joint.x[i]
        return Laid(slices, repaired, held, {}), scene if joint is scene.joint else scene._replace(joint=joint)

    def _stirred(self, now_us: int, expiry_us: NDArray[np.int64], forwards: ForwardsFound) -> set[int]:
        """The expiries to be shown for the hand's sake, among candidates `expiry_us` (T,)."""
        if self._hand.idle:
            return set()
        tau = year_fraction(now_us, expiry_us).tolist()
        now = {e: (forwards[e].value, t) for e, t in zip(expiry_us.tolist(), tau, strict=True) if e in self._shown}
        stirred = self._hand.stirred(now, {e: self._shown[e].smile for e in now})
        return stirred | (self._market.keys() & now.keys()) if self._hand.news else stirred

    def _lay(self, scene: Scene, market: Laid, stirred: set[int]) -> Turns[Laid]:
        """What the hand makes of what the market alone would show, and of the `stirred` expiries."""
        clock, expiries, slices = scene.clock, scene.expiries, self._of_market(scene, market)
        last = {e: shown.smile for e, shown in self._shown.items()}
        states = zip(expiries, slices.surface.x, strict=True)
        claimed = np.array([not self._hand.leaves(x, e, last.get(e), clock.publish_us) for e, x in states])
        again = np.isin(slices.expiry_us, [*stirred])
        ours = claimed | again | np.isin(slices.expiry_us, [*self._market])
        judged = market.repaired.free | again | (market.held & ours & np.isin(slices.expiry_us, [*last]))
        if not (judged & with_neighbours(ours)).any():
            return market
        forward = [scene.evidence.forwards[e].value for e in expiries]
        whole = Market(slices, judged, _roots(scene.joint, scene.candidates), scene.widened_by, forward)
        laid = yield from overlay(self._hand, whole, claimed, self._standing(scene.joint, {}), last, clock)
        for row, e in enumerate(expiries):
            self._remember(row, e, market, laid)
        repaired = laid.repaired._replace(moved=laid.repaired.moved | market.repaired.moved)
        return Laid(laid.slices, repaired, repaired.held | (market.held & ~judged & ~repaired.free), laid.touched)

    def _of_market(self, scene: Scene, market: Laid) -> Slices:
        """The candidates as the market alone would show them; of those that are held, what stands of them."""
        x, u, tau = market.repaired.surface
        x, u = x.copy(), u.copy()
        for row, e in enumerate(scene.expiries):
            if scene.rungs[e].state == "held" and e in self._shown:
                stood = self._market.get(e) or self._shown[e].stood
                x[row], u[row] = stood.x, stood.u
        return market.slices._replace(surface=Surface(x, u, tau))

    def _remember(self, row: int, e: int, market: Laid, laid: Overlay) -> None:
        """Keep where the market stands of an expiry as long as it is shown otherwise."""
        ours, free = _stood(laid.slices, laid.repaired, row), bool(laid.repaired.free[row])
        if market.repaired.free[row]:
            stood = _stood(market.slices, market.repaired, row)
            if free and same(stood, ours):
                self._market.pop(e, None)
            else:
                self._market[e] = stood
        elif free and e not in self._market:
            self._market[e] = self._shown[e].stood

    def _publish(self, scene: Scene, laid: Laid) -> tuple[Smile, ...]:
        """Show what is laid out."""
        made, (x, u, _) = drafts(*self._of, scene, laid), laid.repaired.surface
        expiries, published = scene.expiries, []
        for row in np.flatnonzero(laid.repaired.free | laid.held).tolist():
            e = expiries[row]
            if not laid.held[row]:
                self._shown[e] = Shown(made[row], x[row], u[row])
                self._hand.told(made[row])
            elif e in self._shown:
                self._shown[e] = held(self._shown[e], scene.rungs[e], scene.clock)
            else:
                continue
            published.append(self._shown[e].smile)
        return tuple(published)

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

    def _standing(self, joint: Joint, instead: Mapping[int, Stood]) -> Slices:
        """Everything that is shown, in ascending expiry, with what stands `instead` of some."""
        expiries = [e for e in joint.expiry_us.tolist() if e in self._shown or e in instead]
        stood = [instead[e] if e in instead else self._shown[e].stood for e in expiries]
        x, u, tau, low, high = zip(*stood, strict=True) if stood else ((),) * 5
        surface = Surface(np.array(x).reshape(-1, DIM), np.array(u).reshape(-1, M), np.array(tau))
        return Slices(surface, np.array(low), np.array(high), np.array(expiries, dtype=np.int64))


def _stood(slices: Slices, repaired: Repaired, row: int) -> Stood:
    x, u, tau = repaired.surface
    return Stood(x[row], u[row], float(tau[row]), float(slices.low[row]), float(slices.high[row]))


def _slices(joint: Joint, candidates: Index, now_us: int, recent: smiles.Recent) -> Slices:
    """The slices that may be published, with the ranges of their certificates."""
    surface = Surface(joint.x[candidates], joint.u[candidates], year_fraction(now_us, joint.expiry_us[candidates]))
    low, high, _ = recent.bounds(len(candidates))
    reach = smiles.reach(surface)
    return Slices(surface, np.minimum(low, -reach), np.maximum(high, reach), joint.expiry_us[candidates])


def _roots(joint: Joint, candidates: Index) -> Roots:
    """Roots R of the covariances R R' of (x, u) of the rows `chosen` (n,) among the candidates, (n, D, D); a direction
    whose variance rounding has made negative has none.
    """

    def roots(chosen: Index) -> Floats:
        values, vectors = np.linalg.eigh(covariances(joint, candidates[chosen]))
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])

    return roots


def _moved(joint: Joint, candidates: Index, repaired: Repaired) -> Joint:
    """The joint with what had to be moved where it was moved to."""
    if not repaired.moved.any():
        return joint
    x, u, chosen = joint.x.copy(), joint.u.copy(), candidates[repaired.moved]
    x[chosen], u[chosen] = repaired.surface.x[repaired.moved], repaired.surface.u[repaired.moved]
    return joint._replace(x=x, u=u)
