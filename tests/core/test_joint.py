import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvd.core import dynamics, joint
from kvd.core.daycount import YEAR_US
from kvd.core.dynamics import Dynamics
from kvd.core.joint import EMPTY, Joint
from kvd.core.svi import DIM

DAY_US = YEAR_US // 365
NOW = 1_700_000_000_000_000
D = Dynamics()

expiries = st.lists(st.integers(1, 400), min_size=1, max_size=5, unique=True)


def some(days, seed=0):
    rng = np.random.default_rng(seed)
    n = DIM * len(days)
    root = rng.normal(size=(n, n)) / n
    return Joint(rng.normal(size=(len(days), DIM)), root @ root.T + np.eye(n), NOW + DAY_US * np.sort(days))


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@given(expiries, st.integers(1, 10**9))
def test_predict_is_the_transition_applied(days, elapsed_us):
    before, to_us = some(days), NOW + elapsed_us
    F, u, Q = dynamics.transition((before.expiry_us - to_us) / YEAR_US, elapsed_us / YEAR_US, 1.5, D)
    after = joint.predict(before, NOW, to_us, 1.5, D)
    np.testing.assert_allclose(after.x.ravel(), F @ before.x.ravel() + u, rtol=1e-12)
    np.testing.assert_allclose(after.P, F @ before.P @ F.T + Q, rtol=1e-9, atol=1e-12)
    assert np.linalg.eigvalsh(after.P).min() > 0


def test_no_time_no_change():
    before = some([1, 7])
    assert joint.predict(before, NOW, NOW, 1.0, D) is before
    assert joint.predict(before, NOW, NOW - 1, 1.0, D) is before
    assert joint.predict(EMPTY, NOW, NOW + DAY_US, 1.0, D) is EMPTY


def test_time_couples_what_was_independent():
    before = some([7, 30])._replace(P=np.eye(2 * DIM) * 1e-4)
    after = joint.predict(before, NOW, NOW + 3_600_000_000, 1.0, D)
    across = np.diag(after.P[:DIM, DIM:])
    assert (across[:3] > 0).all() and (across**2 < np.diag(after.P)[:DIM] * np.diag(after.P)[DIM:]).all()


@given(expiries, st.integers(1, 400))
def test_a_new_expiry_takes_its_place_and_leaves_the_others_alone(days, new):
    if new in days:
        return
    before = some(days)
    after = joint.admit(before, NOW + DAY_US * new, NOW, D)
    place = sorted([*days, new]).index(new)
    x, block = dynamics.start(new / 365, np.sort(days) / 365, before.x, D)
    assert after.expiry_us.tolist() == [NOW + DAY_US * day for day in sorted([*days, new])]
    np.testing.assert_allclose(after.x[place], x, rtol=1e-12)
    np.testing.assert_array_equal(joint.marginals(after.P, np.array([place]))[0], block)
    rows = np.arange(len(after.P)).reshape(-1, DIM)
    others = np.delete(rows, place, axis=0).ravel()
    assert not after.P[np.ix_(rows[place], others)].any()
    np.testing.assert_array_equal(after.P[np.ix_(others, others)], before.P)
    np.testing.assert_array_equal(np.delete(after.x, place, axis=0), before.x)


@given(expiries, st.integers(0, 401))
def test_an_expiry_leaves_at_its_instant(days, today):
    before, now = some(days), NOW + DAY_US * today
    after, gone = joint.expire(before, now)
    left = [day for day in sorted(days) if day > today]
    assert gone == tuple(NOW + DAY_US * day for day in sorted(days) if day <= today)
    assert after.expiry_us.tolist() == [NOW + DAY_US * day for day in left]
    kept = np.arange(DIM * len(days))[DIM * (len(days) - len(left)) :]
    np.testing.assert_array_equal(after.P, before.P[np.ix_(kept, kept)])
    np.testing.assert_array_equal(after.x, before.x[len(days) - len(left) :])


@given(expiries)
def test_who_comes_and_goes_has_changed_nothing(days):
    before = some(days)
    nearest = int(before.expiry_us.min())
    after, gone = joint.expire(joint.admit(before, nearest - 1, NOW, D), nearest - 1)
    assert gone == (nearest - 1,) and same(after, before)


def test_marginals_are_the_diagonal_blocks():
    P = some([1, 2, 3]).P
    np.testing.assert_array_equal(joint.marginals(P, np.array([0, 2])), [P[:DIM, :DIM], P[2 * DIM :, 2 * DIM :]])
