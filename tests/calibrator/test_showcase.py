"""Which smiles a batch publishes: quoted, moved, or on another rung; and what is held."""

import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, F, instrument, quote

from kvd.calibrator.board import Board
from kvd.calibrator.forwards import Forwards
from kvd.calibrator.hand import Hand
from kvd.calibrator.ladder import Rung
from kvd.calibrator.scene import Clock, Evidence
from kvd.calibrator.showcase import MOVED_SDS, Showcase
from kvd.config import Calibrator, Limits
from kvd.core import svi
from kvd.core.dynamics import Dynamics
from kvd.core.estimate import Outcome
from kvd.core.joint import Joint
from kvd.core.residual import DIM as U
from kvd.core.svi import DIM
from kvd.core.turns import finish
from kvd.quotes import Lock, Unlock
from kvd.surface import Regime, TrackRecord

NEAR, FAR = NOW + 10 * DAY, NOW + 40 * DAY
X = np.array([[-0.5, -0.12, -1.3, 0.3, 0.2], [-0.55, -0.1, -1.2, 0.2, 0.1]])
SD, SURE = 0.02, 1e-3  # standard deviations of every coordinate
TAU = np.array([10 / 365])
# Vogt's smile, lowered until its variance is negative somewhere, at this tenor
SUNK = svi.from_raw(np.array([[-0.053, 0.1331, 0.3060, 0.3586, 0.4153]]) * TAU ** [1, 0.5, 0, 0.5, 0.5], TAU)


class Stage:
    """A showcase with two expiries, each quoted once."""

    def __init__(self):
        self.hand = Hand(Limits(), Dynamics())
        self.showcase = Showcase("deribit", "BTC", Calibrator(), self.hand)
        self.forwards, self.board = Forwards(), Board()
        self.forwards.hear([quote(instrument(e, F)) for e in (NEAR, FAR)], [])
        self.rungs = {e: Rung(NOW) for e in (NEAR, FAR)}
        for rung in self.rungs.values():
            rung.applied(NOW)

    def show(self, x=X, touched=(), at_us=NOW, sd=SD):
        return self.judge(x, touched, at_us, sd)[0]

    def judge(self, x=X, touched=(), at_us=NOW, sd=SD):
        """The smiles to publish, and the joint that comes back."""
        return self.present(self.joint(x, sd), touched, at_us)

    def joint(self, x, sd=SD):
        none = np.zeros((2, U)), np.zeros((2, U, DIM)), 0.25 * sd**2 * np.tile(np.eye(U), (2, 1, 1))
        return Joint(x.copy(), sd**2 * np.eye(2 * DIM), *none, np.array([NEAR, FAR]))

    def present(self, joint, touched=(), at_us=NOW):
        outcome = Outcome(np.array(touched, dtype=np.intp), np.full(len(touched), 2.5),
                          np.full(len(touched), 3), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))  # fmt: skip
        calm = Regime(1.0, 0.0, 0.0, 1.0, 0.5)
        evidence = Evidence(self.board, self.forwards, outcome if len(touched) else None, calm)
        return finish(self.showcase.show(Clock(at_us + 5, at_us, at_us + 1), joint, self.rungs, evidence))


def expiries(shown):
    return [smile.expiry_us for smile in shown]


def test_everything_is_shown_once_and_then_what_was_quoted():
    stage = Stage()
    assert expiries(stage.show()) == [NEAR, FAR]
    assert expiries(stage.show()) == []
    (smile,) = stage.show(touched=[1], at_us=NOW + SECOND)
    assert (smile.expiry_us, smile.nis, smile.nis_dof) == (FAR, 2.5, 3)
    assert (smile.publish_us, smile.receive_us, smile.exchange_us) == (NOW + SECOND + 5, NOW + SECOND + 1, NOW)
    assert (smile.venue, smile.underlying) == ("deribit", "BTC")


@pytest.mark.parametrize("coordinate", range(DIM))
def test_a_neighbour_is_shown_when_it_moved_by_a_part_of_its_deviation(coordinate):
    stage = Stage()
    stage.show()
    moved = X.copy()
    moved[0, coordinate] += 0.99 * MOVED_SDS * SD
    assert expiries(stage.show(moved)) == []
    moved[0, coordinate] += 0.02 * MOVED_SDS * SD
    assert expiries(stage.show(moved)) == [NEAR]
    assert expiries(stage.show(moved)) == []


def test_a_change_of_rung_is_shown_once():
    stage = Stage()
    assert {s.state for s in stage.show()} == {"live"}
    stage.rungs[FAR].gap_reason = "closed"
    (smile,) = stage.show(at_us=NOW + SECOND)
    assert (smile.expiry_us, smile.state, smile.reason, smile.since_us) == (FAR, "widened", "closed", NOW + SECOND)
    assert stage.show(at_us=NOW + 2 * SECOND) == ()
    later = stage.show(at_us=NOW + 300 * SECOND)
    assert [(s.state, s.reason) for s in later] == [("predicted", "no_quotes")] * 2


def test_an_expiry_without_a_forward_waits():
    stage = Stage()
    stage.forwards.forget(NEAR)
    assert expiries(stage.show()) == [FAR]
    stage.forwards.hear([quote(instrument(NEAR, F))], [])
    assert expiries(stage.show()) == [NEAR]


def test_what_may_not_be_published_is_held_with_the_last_good_smile():
    stage = Stage()
    good, _ = stage.show()
    sunk = np.concatenate((SUNK, X[1:]))
    (held,) = stage.show(sunk, touched=[0], at_us=NOW + SECOND, sd=SURE)
    assert (held.state, held.reason, held.since_us) == ("held", "not_repairable", NOW + SECOND)
    assert held.publish_us == NOW + SECOND + 5
    assert (held.parameters, held.raw, held.tau) == (good.parameters, good.raw, good.tau)
    assert stage.show(sunk, at_us=NOW + 2 * SECOND, sd=SURE) == ()
    (again,) = stage.show(sunk, touched=[0], at_us=NOW + 3 * SECOND, sd=SURE)
    assert (again.state, again.since_us) == ("held", NOW + SECOND)
    (well,) = stage.show(touched=[0], at_us=NOW + 4 * SECOND)
    assert (well.state, well.reason, well.since_us) == ("live", "", NOW + 4 * SECOND)


def test_a_smile_that_never_was_good_is_not_shown():
    stage = Stage()
    sunk = np.concatenate((SUNK, X[1:]))
    assert expiries(stage.show(sunk, touched=[0, 1], sd=SURE)) == [FAR]
    assert stage.rungs[NEAR].state == "held"
    # it waits, like any other that is held, until it is quoted or moves
    assert stage.show(sunk, at_us=NOW + SECOND, sd=SURE) == ()


def test_a_state_that_is_no_number_is_held_and_nobody_else():
    stage = Stage()
    stage.show()
    lost = X.copy()
    lost[0, 2] = np.nan
    assert [s.state for s in stage.show(lost, touched=[0, 1], at_us=NOW + SECOND)] == ["held", "live"]


def test_the_joint_that_was_handed_in_is_left_as_it_was():
    stage, crossed = Stage(), X.copy()
    crossed[0, 0] += 0.62
    joint = stage.joint(crossed, sd=0.1)
    kept = joint.x.copy(), joint.u.copy()
    (*_, after) = stage.present(joint, [0, 1])
    np.testing.assert_array_equal(joint.x, kept[0])
    np.testing.assert_array_equal(joint.u, kept[1])
    assert np.abs(after.x - joint.x).max() > 0
    calm = stage.joint(after.x, sd=0.1)._replace(u=after.u)
    assert stage.present(calm, [0])[1] is calm


def test_what_could_be_arbitraged_is_moved_and_the_filter_told():
    """A front month lifted above the next one: a calendar arbitrage that one of two deviations' breadth can mend."""
    stage, crossed = Stage(), X.copy()
    crossed[0, 0] += 0.62  # w0 of ten days is a little above that of forty
    smiles, joint = stage.judge(crossed, touched=[0, 1], sd=0.1)
    assert [s.certificate.method for s in smiles] == ["projected"] * 2
    near, far = smiles
    assert near.certificate.calendar == far.certificate.calendar > 0
    strikes = F * np.exp(np.linspace(near.certificate.k_low, near.certificate.k_high, 301))
    w_near, w_far = near.vol(strikes) ** 2 * near.tau, far.vol(strikes) ** 2 * far.tau
    assert (w_far > w_near).all()
    for smile, x in zip(smiles, joint.x, strict=True):
        assert smile.parameters.atm_vol == pytest.approx(np.exp(x[0]), rel=1e-12)
        assert smile.parameters.skew == pytest.approx(x[1], rel=1e-12)
    assert (np.abs(joint.x - crossed).max(axis=1) < 6 * 0.1).all() and np.abs(joint.x - crossed).max() > 0
    assert stage.judge(joint.x, sd=0.1)[0] == ()


def test_a_forgotten_expiry_starts_anew():
    stage = Stage()
    stage.show()
    stage.showcase.forget(NEAR)
    assert expiries(stage.show()) == [NEAR]


def test_a_doubted_smile_is_shown_with_wider_bands_and_the_filter_goes_on_as_before():
    plain, doubted = Stage(), Stage()
    doubted.rungs[NEAR].record = TrackRecord(150.0, 2.25, (0.4, 0.8, 0.9), 100.0, 1.0, 0.0, 1.5)
    doubted.rungs[NEAR].doubt = "nis"
    (near, far), (wide, same) = plain.show(), doubted.show()
    assert (wide.state, wide.reason, wide.record.widened_by) == ("widened", "nis", 1.5) and near.record is None
    np.testing.assert_allclose(wide.sd, 1.5 * np.array(near.sd))
    np.testing.assert_allclose(wide.vol_sd, 1.5 * np.array(near.vol_sd))
    np.testing.assert_allclose(wide.covariance, 2.25 * near.covariance)
    assert (wide.parameters, wide.residual) == (near.parameters, near.residual)
    assert (same.sd, same.state) == (far.sd, "live")
    np.testing.assert_array_equal(doubted.judge()[1].P, plain.judge()[1].P)


def test_a_held_smile_can_be_locked_where_it_was_last_good():
    stage = Stage()
    good, far = stage.show()
    sunk = np.concatenate((SUNK, X[1:]))
    stage.hand.hear([Lock("1", "deribit", "BTC", NEAR, "atm_vol", None, 0.63, 1e-3, "ann", FAR, NOW)])
    (locked,) = stage.show(sunk, touched=[0], at_us=NOW + SECOND, sd=SURE)
    assert (locked.state, locked.reason) == ("held", "not_repairable")
    assert locked.parameters.atm_vol == pytest.approx(0.63, abs=1e-3)
    assert locked.locked[0].market == pytest.approx(good.parameters.atm_vol, rel=1e-12)
    assert locked.certificate.butterfly > 0 and locked.certificate.calendar > 0
    stage.hand.hear([Unlock("1", "deribit", "BTC", NOW)])
    (again,) = stage.show(sunk, at_us=NOW + 2 * SECOND, sd=SURE)
    assert (again.state, again.parameters, again.locked) == ("held", good.parameters, ())
    (well,) = stage.show(touched=[0], at_us=NOW + 4 * SECOND)
    assert (well.state, well.parameters, far.locked) == ("live", good.parameters, ())
