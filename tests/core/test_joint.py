import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.core import dynamics, joint
from kvd.core.daycount import YEAR_US, Calendar, VarianceTime
from kvd.core.dynamics import Dynamics
from kvd.core.joint import EMPTY, Joint, admit
from kvd.core.residual import DIM as U
from kvd.core.svi import DIM, LEVEL

DAY_US = YEAR_US // 365
NOW = 1_700_000_000_000_000
D = Dynamics()

expiries = st.lists(st.integers(1, 400), min_size=1, max_size=5, unique=True)


def some(days, seed=0):
    rng = np.random.default_rng(seed)
    n, S = DIM * len(days), len(days)
    root, rest = rng.normal(size=(n, n)) / n, rng.normal(size=(S, U, U)) / U
    return Joint(
        rng.normal(size=(S, DIM)),
        root @ root.T + np.eye(n),
        rng.normal(size=(S, U)),
        rng.normal(size=(S, U, DIM)),
        rest @ rest.transpose(0, 2, 1) + 0.1 * np.eye(U),
        NOW + DAY_US * np.sort(days),
    )


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@given(expiries, st.integers(1, 10**9))
def test_predict_is_the_transition_applied(days, elapsed_us):
    before, to_us = some(days), NOW + elapsed_us
    F, u, Q = dynamics.transition((before.expiry_us - to_us) / YEAR_US, elapsed_us / YEAR_US, 1.5, D)
    after = joint.predict(before, NOW, to_us, 1.5, D)
    np.testing.assert_allclose(after.x.ravel(), F * before.x.ravel() + u, rtol=1e-12)
    np.testing.assert_allclose(after.P, np.outer(F, F) * before.P + Q, rtol=1e-9, atol=1e-12)
    assert np.linalg.eigvalsh(after.P).min() > 0


@given(expiries, st.integers(1, 10**12), st.floats(1.0, 5.0))
def test_a_residual_returns_to_nothing_and_stays_tied_to_its_backbone(days, elapsed_us, factor):
    """Of each slice the pair (x, u), densely: x' = F x + b + q and u' = keep u + noise of variance 1 - keep**2."""
    before, to_us = some(days), NOW + min(elapsed_us, DAY_US - 1)
    every = np.arange(len(days))
    F, _, Q = dynamics.transition((before.expiry_us - to_us) / YEAR_US, (to_us - NOW) / YEAR_US, factor, D)
    keep = np.exp(-(to_us - NOW) * factor / (D.residual_h * 3600e6))
    after = joint.predict(before, NOW, to_us, factor, D)
    got, prior = joint.covariances(after, every), joint.covariances(before, every)
    for i in every:
        own = slice(DIM * i, DIM * i + DIM)
        step, noise = np.zeros((2, DIM + U, DIM + U))
        step[:DIM, :DIM], step[DIM:, DIM:] = np.diag(F[own]), keep * np.eye(U)
        noise[:DIM, :DIM], noise[DIM:, DIM:] = Q[own, own], (1 - keep**2) * np.eye(U)
        np.testing.assert_allclose(got[i], step @ prior[i] @ step.T + noise, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(after.u, keep * before.u, rtol=1e-12)
    assert np.linalg.eigvalsh(after.V).min() > 0


def test_in_the_long_run_a_residual_is_its_prior():
    before = some([400])
    after = joint.predict(before, NOW, NOW + 30 * DAY_US, 1.0, D)
    np.testing.assert_allclose(after.u, 0, atol=1e-12)
    np.testing.assert_allclose(joint.covariances(after, np.array([0]))[0][DIM:, DIM:], np.eye(U), atol=1e-9)


def test_a_residual_that_may_be_larger_is_so_from_the_start_and_in_the_long_run():
    wide = Dynamics(residual_sd=1.5)
    began = admit(EMPTY, NOW + 40 * DAY_US, NOW, wide)
    later = joint.predict(began, NOW, NOW + 30 * DAY_US, 1.0, wide)
    for V in (began.V[0], later.V[0]):
        np.testing.assert_allclose(V, 1.5**2 * np.eye(U), atol=1e-9)


def test_a_residual_that_is_known_to_be_nothing_stays_so():
    before = joint.admit(EMPTY, NOW + 7 * DAY_US, NOW, D, curved=False)
    after = joint.predict(before, NOW, NOW + DAY_US, 1.0, D)
    assert not after.u.any() and not after.A.any() and not after.V.any()


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
    assert not after.u[place].any() and not after.A[place].any() and np.array_equal(after.V[place], np.eye(U))
    for old, new_ in zip(before[2:5], after[2:5], strict=True):
        np.testing.assert_array_equal(np.delete(new_, place, axis=0), old)


@given(expiries, st.integers(0, 401))
def test_an_expiry_leaves_at_its_instant(days, today):
    before, now = some(days), NOW + DAY_US * today
    after, gone = joint.expire(before, now)
    left = [day for day in sorted(days) if day > today]
    assert gone == tuple(NOW + DAY_US * day for day in sorted(days) if day <= today)
    assert after.expiry_us.tolist() == [NOW + DAY_US * day for day in left]
    kept = np.arange(DIM * len(days))[DIM * (len(days) - len(left)) :]
    np.testing.assert_array_equal(after.P, before.P[np.ix_(kept, kept)])
    for old, new in zip(before, after, strict=True):
        assert old is before.P or np.array_equal(new, old[len(days) - len(left) :])


@given(expiries)
def test_who_comes_and_goes_has_changed_nothing(days):
    before = some(days)
    nearest = int(before.expiry_us.min())
    after, gone = joint.expire(joint.admit(before, nearest - 1, NOW, D), nearest - 1)
    assert gone == (nearest - 1,) and same(after, before)


def test_marginals_are_the_diagonal_blocks():
    P = some([1, 2, 3]).P
    np.testing.assert_array_equal(joint.marginals(P, np.array([0, 2])), [P[:DIM, :DIM], P[2 * DIM :, 2 * DIM :]])


def test_a_residuals_mean_follows_its_own_backbone():
    before, rng = some([1, 30]), np.random.default_rng(5)
    x = before.x + rng.normal(size=before.x.shape)
    after = joint.followed(before, x)
    for i in range(2):
        np.testing.assert_allclose(after[i], before.u[i] + before.A[i] @ (x[i] - before.x[i]), rtol=1e-12)


def test_covariances_are_those_of_u_as_a_regression_on_x():
    """Against draws of x and of e, 200,000 each; the standard error of a correlation is then 0.002."""
    j = some([3, 40])
    rng = np.random.default_rng(1)
    x = rng.multivariate_normal(np.zeros(DIM), j.P[DIM:, DIM:], size=200_000)
    u = x @ j.A[1].T + rng.multivariate_normal(np.zeros(U), j.V[1], size=200_000)
    (got,) = joint.covariances(j, np.array([1]))
    sd = np.sqrt(np.diag(got))
    np.testing.assert_allclose(np.cov(np.hstack((x, u)).T) / np.outer(sd, sd), got / np.outer(sd, sd), atol=0.015)


def test_a_new_expiry_takes_its_neighbours_variance_per_hour_that_counts():
    """Saturday's expiry between Friday's and Sunday's, weekends at rest: it has Friday's variance and hardly more."""
    friday_us, day_us = 1_795_161_600 * 1_000_000, 86_400 * 1_000_000  # a Friday, eight o'clock
    clock = VarianceTime(Calendar(weekend_weight=1e-3))
    now_us = friday_us - 10 * day_us
    state = admit(EMPTY, friday_us, now_us, D, True, clock)
    state = admit(state, friday_us + 7 * day_us, now_us, D, True, clock)
    state = admit(state, friday_us + 2 * day_us, now_us, D, True, clock)
    total = np.exp(2 * state.x[:, LEVEL]) * (state.expiry_us - now_us)
    busy = clock.years(now_us, state.expiry_us)
    assert total / busy == pytest.approx(total[0] / busy[0])
    assert total[1] / total[0] == pytest.approx(1 + 16 / (8 * 24), rel=1e-3)  # Friday's last sixteen hours
