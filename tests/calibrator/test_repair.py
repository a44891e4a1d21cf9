"""Which slices are moved, which are held, and against what their neighbours are judged then."""

import numpy as np
from option_chain import DAY, NOW

from kvd.calibrator import repair as repairs
from kvd.calibrator.repair import Slices
from kvd.core.arbitrage import Surface, margins
from kvd.core.residual import DIM as U
from kvd.core.svi import DIM
from kvd.core.turns import finish

DAYS = np.array([5, 20, 60])
EXPIRY_US = NOW + DAYS * DAY
TAU = DAYS / 365
X = np.tile([np.log(0.6), -0.1, np.log(0.2), 0.5, 0.4], (3, 1))


def slices(chosen=(0, 1, 2), lift=(0.0, 0.0, 0.0)):
    """The chosen expiries with their ln ATM vols lifted."""
    i = list(chosen)
    x = X[i] + np.array(lift)[i, None] * np.eye(DIM)[0]
    surface = Surface(x, np.zeros((len(i), U)), TAU[i])
    reach = 5.25 * np.sqrt(surface.w0)
    return Slices(surface, -reach, reach, EXPIRY_US[i])


def roots(*scale):
    """The covariance roots of the candidates asked for."""
    every = np.array([s * np.diag([0.05, 0.05, 0.2, 0.2, 0.2, *[0.5] * U]) for s in scale])
    return lambda chosen: every[chosen]


def these(*flags):
    return np.array(flags, dtype=np.bool_)


ALL = these(True, True, True)


def least_gaps(surface, of):
    k = np.linspace(of.low.min(), of.high.max(), 501)
    return margins(surface, np.tile(k, (len(surface.tau), 1)))[2].min(axis=1)


def repair(*arguments):
    return finish(repairs.repair(*arguments))


NOTHING = slices(())
ABOVE = 0.5 * np.log(TAU[1] / TAU[0]) + 0.02  # lifts the first slice a little above the second


def test_slices_without_arbitrage_pass_untouched():
    got = repair(slices(), ALL, NOTHING, roots(1, 1, 1))
    np.testing.assert_array_equal(got.surface.x, X)
    assert not got.moved.any() and not got.held.any()
    assert (got.butterfly > 0).all() and (got.calendar > 0).all()


def test_two_judged_slices_share_the_way_the_less_certain_goes_further():
    judged = slices(lift=(ABOVE, 0, 0))
    got = repair(judged, ALL, NOTHING, roots(1, 3, 1))
    assert got.moved[:2].all() and not got.held.any()
    assert (least_gaps(got.surface, judged) > 0).all()
    first, second = np.abs(got.surface.x - judged.surface.x)[:2, 0]
    assert second > first > 0


def test_a_judged_slice_gives_way_to_one_that_is_shown():
    judged, shown = slices([0], lift=(ABOVE, 0, 0)), slices([1, 2])
    got = repair(judged, these(True), shown, roots(2))
    assert got.moved.tolist() == [True] and got.held.tolist() == [False]
    together = Surface(*(np.concatenate((a, b)) for a, b in zip(got.surface, shown.surface, strict=True)))
    assert (least_gaps(together, judged) > 0).all()
    np.testing.assert_array_equal(shown.surface.x, X[1:])


def test_what_was_shown_of_a_judged_slice_does_not_bind_it():
    """It was shown far above its neighbour, which is no reason to hold or to move it now."""
    got = repair(slices([1]), these(True), slices(lift=(0, ABOVE + 1, 3)), roots(1))
    assert not got.held.any() and not got.moved.any()


def test_a_slice_that_cannot_be_repaired_is_held_and_its_neighbour_lives_with_what_is_shown_of_it():
    judged = slices([0, 1], lift=(ABOVE, 0, 0))
    shown = slices()
    got = repair(judged, these(True, True), shown, roots(1e-4, 1e-4))
    assert got.held.tolist() == [True, False] and not got.moved.any()
    assert np.isnan(got.butterfly[0]) and np.isnan(got.calendar[0])
    assert got.butterfly[1] > 0 and got.calendar[1] > 0
    np.testing.assert_array_equal(got.surface.x, judged.surface.x)


def test_of_two_that_cannot_meet_the_nearer_expiry_is_held_and_the_other_is_judged_by_what_is_shown():
    judged = slices(lift=(ABOVE, 0, 0.01))
    got = repair(judged, ALL, slices(), roots(1e-4, 1e-4, 1))
    assert got.held.tolist() == [True, False, False] and got.free.tolist() == [False, True, True]
    assert (got.calendar[1:] > 0).all() and (got.butterfly[1:] > 0).all()


def test_a_neighbour_that_was_not_judged_meets_half_way_what_could_not_be_repaired_alone():
    """The first slice is sure of itself and far above what is shown of the second, which has long been unsure."""
    candidates, shown = slices(lift=(ABOVE, 0, 0)), slices()
    judged = these(True, False, False)
    alone = repair(slices([0], lift=(ABOVE, 0, 0)), these(True), shown, roots(1e-3))
    assert alone.held.all()
    got = repair(candidates, judged, shown, roots(1e-3, 1, 1))
    assert not got.held.any() and got.free.tolist() == [True, True, False] and got.moved[1]
    assert (least_gaps(got.surface, candidates) > 0).all()
    # it is left as it was where it is of no use: the judged slice is held, nobody else
    got = repair(candidates, judged, shown, roots(1e-4, 1e-4, 1))
    assert got.held.tolist() == [True, False, False] and not got.moved.any()


def test_slices_far_apart_are_judged_at_once_each_beside_its_own_neighbours():
    got = repair(slices(), these(True, False, True), slices(lift=(0.1, 0, 0)), roots(1, 1, 1))
    assert got.free.tolist() == [True, False, True] and not got.moved.any()
    assert (got.calendar[[0, 2]] > 0).all() and np.isnan(got.calendar[1])
    assert (got.points[[0, 2]] > 50).all() and got.points[1] == 0
