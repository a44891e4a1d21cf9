"""The whitened, iterated update against the dense textbook one, scipy's optimum, and what innovations ought to be.

The oracle is one dense Gaussian over all backbones and all residual coefficients, (5S + US,), backbones first.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag
from scipy.optimize import least_squares

from kvd.core import estimate, smile
from kvd.core.daycount import YEAR_US
from kvd.core.dynamics import Dynamics, correlation, transition
from kvd.core.estimate import Vols
from kvd.core.joint import Joint, predict
from kvd.core.measurement import Measurement, student_weight
from kvd.core.residual import DIM as U
from kvd.core.svi import DIM, LEVEL

M = Measurement()
GAUSSIAN = Measurement(student_nu=1e9)
TAU = np.array([3, 21, 75]) / 365
S = len(TAU)
NOW = 1_700_000_000_000_000
EXPIRY_US = NOW + np.array([3, 21, 75]) * 86_400_000_000
SD = np.array([0.08, 0.05, 0.2, 0.3, 0.3])
CENTRE = np.array([[np.log(0.65), -0.12, np.log(0.12), 0.6, 0.3], [np.log(0.6), -0.1, np.log(0.15), 0.7, 0.3],
                   [np.log(0.58), -0.05, np.log(0.2), 0.7, 0.2]])  # fmt: skip

seeds = st.integers(0, 2**32 - 1)


def prior(width=1.0):
    """Three slices, correlated across expiries as after many predictions, whose residuals depend on the backbones."""
    rng = np.random.default_rng(3)
    across = correlation(TAU, Dynamics())
    root = rng.normal(size=(S, U, U)) / np.sqrt(U)
    return Joint(
        CENTRE,
        np.kron(across, np.diag((width * SD) ** 2)),
        rng.normal(size=(S, U)),
        0.3 * rng.normal(size=(S, U, DIM)) / SD,
        width**2 * (0.3 * np.eye(U) + 0.3 * root @ root.transpose(0, 2, 1)),
        EXPIRY_US,
    )


def dense(joint):
    """Mean (5S + US,) and covariance of all backbones and residuals, from u = u_mean + A (x - x_mean) + e."""
    A = block_diag(*joint.A)
    cross = A @ joint.P
    P = np.block([[joint.P, cross.T], [cross, cross @ A.T + block_diag(*joint.V)]])
    return np.concatenate((joint.x.ravel(), joint.u.ravel())), P


def model(flat, vols):
    x, u = flat[: S * DIM].reshape(S, DIM), flat[S * DIM :].reshape(S, U)
    return smile.vol(x, u, TAU, vols.place, vols.k)


def quotes(rng, joint, places, noise=0.004, each=9):
    """Vols of a smile drawn from the prior, with noise, at strikes within three standard deviations; and its truth."""
    mean, P = dense(joint)
    truth = rng.multivariate_normal(mean, P, method="cholesky")
    place = np.repeat(np.sort(places), each)
    k = rng.uniform(-3, 3, len(place)) * 0.6 * np.sqrt(TAU[place])
    R = (noise * np.exp(rng.uniform(-1, 1, len(place)))) ** 2
    vols = Vols(place, k, np.zeros(len(place)), R)
    return vols._replace(vol=model(truth, vols) + np.sqrt(R) * rng.normal(size=len(place))), truth


def take(vols, n):
    return Vols(vols.place[n], vols.k[n], vols.vol[n], vols.R[n])


def jacobian(flat, vols):
    """The dense gradient of all vols in all states and coefficients, (N, 5S + US), by central differences."""
    step = 1e-6
    nudges = step * np.eye(len(flat))
    return np.stack([(model(flat + e, vols) - model(flat - e, vols)) / (2 * step) for e in nudges], axis=-1)


def textbook(mean, P, vols, R, at):
    """The extended Kalman update of all quotes at once, linearised at `at`."""
    H = jacobian(at, vols)
    innovation = vols.vol - model(at, vols) - H @ (mean - at)
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + np.diag(R))
    return mean + K @ innovation, P - K @ H @ P


def weights(joint, vols, m):
    mean, P = dense(joint)
    H = jacobian(mean, vols)
    return student_weight(vols.vol - model(mean, vols), np.einsum("ni,ij,nj->n", H, P, H) + vols.R, m)


def dense_nis(joint, vols, i):
    """e' (H P H' + R)^-1 e of slice i's prior innovations."""
    mean, P = dense(joint)
    mine = vols.place == i
    H, e = jacobian(mean, vols)[mine], (vols.vol - model(mean, vols))[mine]
    return e @ np.linalg.solve(H @ P @ H.T + np.diag(vols.R[mine]), e)


def assert_posterior(got, mean, P, sds=0.01, rtol=1e-3):
    """The joint is the dense Gaussian: means within `sds` of its standard deviations, covariances likewise."""
    got_mean, got_P = dense(got)
    sd = np.sqrt(np.diag(P))
    assert (np.abs(got_mean - mean) / sd).max() <= sds
    np.testing.assert_allclose(got_P / np.outer(sd, sd), P / np.outer(sd, sd), atol=rtol)


def close(got, expected, sds):
    """Whether two joints' means are within `sds` standard deviations of the second in every coordinate."""
    mean, P = dense(expected)
    return (np.abs(dense(got)[0] - mean) <= sds * np.sqrt(np.diag(P))).all()


@given(seeds, st.sampled_from([[0], [1, 2], [0, 1, 2]]))
@settings(deadline=None, max_examples=50)
def test_one_linearisation_is_the_textbooks_update_of_all_quotes_at_once(seed, places):
    """Residuals held on their own backbone lose nothing: the posterior is the dense one of everything, cross terms and
    all. Within a hundredth of a deviation: directions of which the quotes say next to nothing are left out.
    """
    joint, m = prior(0.3), Measurement(passes=0)
    vols, _ = quotes(np.random.default_rng(seed), joint, places)
    weight, (mean, P) = weights(joint, vols, m), dense(joint)
    got, outcome = estimate.update(joint, TAU, vols, m)
    np.testing.assert_allclose(outcome.weight, weight, rtol=1e-4)
    assert_posterior(got, *textbook(mean, P, vols, vols.R / weight, mean))


@given(seeds)
@settings(deadline=None, max_examples=25)
def test_update_after_update_stays_the_textbooks(seed):
    """Three batches of different slices, each linearised where the last one led."""
    joint, m, rng = prior(0.3), Measurement(passes=0, student_nu=1e9), np.random.default_rng(seed)
    mean, P = dense(joint)
    for places in ([0, 2], [1], [0, 1, 2]):
        vols, _ = quotes(rng, joint, places)
        at = dense(joint)[0]
        mean, P = textbook(mean, P, vols, vols.R, at)
        joint, _ = estimate.update(joint, TAU, vols, m)
        assert_posterior(joint, mean, P, sds=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_the_update_is_taken_where_the_iteration_has_led(seed):
    """The truth is 25 % above the prior: one pass (Bell and Cathey 1993) leads there, where all quotes are taken."""
    joint, m, rng = prior(), Measurement(passes=1, student_nu=1e9), np.random.default_rng(seed)
    above = joint._replace(x=joint.x + np.array([0.25, 0, 0, 0, 0]))
    vols, _ = quotes(rng, above, [0, 1, 2])
    x, u = joint.x.copy(), joint.u.copy()
    mean, P = dense(joint)
    for i in range(S):
        alone = dense(joint._replace(P=np.kron(np.diag(np.eye(S)[i]), joint.P[DIM * i :, DIM * i :][:DIM, :DIM])))[1]
        mine = vols.place == i
        first, _ = textbook(mean, alone, take(vols, mine), vols.R[mine], mean)
        step = first[DIM * i :][:DIM] - joint.x[i]
        rest = first[DIM * S + U * i :][:U] - joint.u[i] - joint.A[i] @ step
        step = np.clip(step, -estimate.LONGEST_STEP, estimate.LONGEST_STEP)
        x[i] = np.clip(x[i] + step, estimate.LOWEST, estimate.HIGHEST)
        u[i] += joint.A[i] @ (x[i] - joint.x[i]) + rest
    got, _ = estimate.update(joint, TAU, vols, m)
    assert_posterior(got, *textbook(mean, P, vols, vols.R, np.concatenate((x.ravel(), u.ravel()))))


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_is_the_maximum_of_the_posterior(seed):
    """scipy on the same objective, prior and weighted quotes of one slice: within a fifth of a standard deviation.

    A step that is short of `estimate.SETTLED_STEP` is not followed by another.
    """
    joint = prior()
    vols, _ = quotes(np.random.default_rng(seed), joint, [1], each=12)
    R, (mean, P) = vols.R / weights(joint, vols, M), dense(joint)
    root = np.linalg.cholesky(np.linalg.inv(P)).T

    def residuals(flat):
        return np.concatenate((root @ (flat - mean), (vols.vol - model(flat, vols)) / np.sqrt(R)))

    best = least_squares(residuals, mean, xtol=1e-12, ftol=1e-12, gtol=1e-12).x
    got, posterior_P = dense(estimate.update(joint, TAU, vols, M)[0])
    assert (np.abs(got - best) <= 0.2 * np.sqrt(np.diag(posterior_P))).all()


@given(seeds)
def test_the_order_of_the_quotes_of_a_slice_does_not_matter(seed):
    joint, rng = prior(), np.random.default_rng(seed)
    vols, _ = quotes(rng, joint, [0, 2])
    shuffled = rng.permutation(len(vols.place))
    order = shuffled[np.argsort(vols.place[shuffled], kind="stable")]
    got, outcome = estimate.update(joint, TAU, vols, M)
    again, other = estimate.update(joint, TAU, take(vols, order), M)
    for one, two in zip(again, got, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(other.nis, outcome.nis, rtol=1e-7)
    np.testing.assert_allclose(other.weight, outcome.weight[order], rtol=1e-7)


@given(seeds)
@settings(deadline=None)
def test_a_batch_is_its_quotes_one_by_one_where_the_model_is_linear(seed):
    """A prior 10,000 times tighter makes vol linear in the state; equal within a hundredth of a standard deviation."""
    joint, rng = prior(1e-4), np.random.default_rng(seed)
    vols, _ = quotes(rng, joint, [0, 1, 2], noise=4e-6, each=4)
    together, outcome = estimate.update(joint, TAU, vols, GAUSSIAN)
    one_by_one = joint
    for n in rng.permutation(len(vols.place)):
        one_by_one, _ = estimate.update(one_by_one, TAU, take(vols, [n]), GAUSSIAN)
    np.testing.assert_allclose(outcome.weight, 1.0, atol=1e-6)
    assert_posterior(one_by_one, *dense(together))


@given(seeds)
def test_a_repeated_quote_counts_for_less_but_its_innovation_in_full(seed):
    joint, rng = prior(0.3), np.random.default_rng(seed)
    vols, _ = quotes(rng, joint, [0, 2])
    repetition = np.exp(rng.uniform(0, 3, len(vols.place)))
    m = Measurement(passes=0, student_nu=1e9)
    got, outcome = estimate.update(joint, TAU, vols._replace(repetition=repetition), m)
    expected, _ = estimate.update(joint, TAU, vols._replace(R=vols.R * repetition), m)
    _, plain = estimate.update(joint, TAU, vols, m)
    assert_posterior(got, *dense(expected))
    np.testing.assert_array_equal(outcome.nis, plain.nis)


@given(seeds)
def test_nis_is_that_of_all_innovations_not_down_weighted(seed):
    joint, rng = prior(), np.random.default_rng(seed)
    vols, _ = quotes(rng, joint, [0, 2])
    vols.vol[3] += 1.0
    _, outcome = estimate.update(joint, TAU, vols, M)
    assert outcome.weight.min() < 0.5
    assert outcome.touched.tolist() == [0, 2] and outcome.nis_dof.tolist() == [9, 9]
    np.testing.assert_allclose(outcome.nis, [dense_nis(joint, vols, i) for i in (0, 2)], rtol=1e-5)
    mean, P = dense(joint)
    np.testing.assert_allclose(outcome.innovation, vols.vol - model(mean, vols), atol=1e-14)
    H = jacobian(mean, vols)
    np.testing.assert_allclose(outcome.S, np.einsum("ni,ij,nj->n", H, P, H) + vols.R, rtol=1e-5)


def test_nis_is_one_a_degree_of_freedom_where_the_model_is_true():
    """200 batches of 30 vols drawn from the filter's own law: a chi square, within three of its standard deviations."""
    joint, rng = prior(0.01), np.random.default_rng(7)
    nis, dof = 0.0, 0
    for _ in range(200):
        vols, _ = quotes(rng, joint, [0, 1, 2], noise=1e-4, each=10)
        outcome = estimate.update(joint, TAU, vols, GAUSSIAN)[1]
        nis, dof = nis + outcome.nis.sum(), dof + outcome.nis_dof.sum()
    assert dof == 6000
    # slices are correlated, so their sums vary together: at most threefold the variance of independent ones
    assert abs(nis / dof - 1) < 3 * np.sqrt(2 / dof) * np.sqrt(3)


def test_the_posterior_is_as_uncertain_as_it_says():
    """Truths drawn from the prior, 500 times: posterior errors over posterior deviations have variance one."""
    joint, rng = prior(0.1), np.random.default_rng(11)
    scores = []
    for _ in range(500):
        vols, truth = quotes(rng, joint, [0, 2], noise=1e-3)
        mean, P = dense(estimate.update(joint, TAU, vols, GAUSSIAN)[0])
        scores.append((truth - mean) / np.sqrt(np.diag(P)))
    variance = np.var(scores, axis=0)
    # the standard error of a variance from 500 draws is sqrt(2 / 500)
    assert np.abs(variance - 1).max() < 4 * np.sqrt(2 / 500)


def test_a_slice_without_a_residual_keeps_none():
    """V = 0 and A = 0 say that the curve is zero and known to be: the update is that of the backbones alone."""
    joint = prior()._replace(u=np.zeros((S, U)), A=np.zeros((S, U, DIM)), V=np.zeros((S, U, U)))
    vols, _ = quotes(np.random.default_rng(0), joint._replace(V=prior().V), [0, 2])
    got, _ = estimate.update(joint, TAU, vols, M)
    assert not got.u.any() and not got.A.any() and not got.V.any()


@pytest.mark.parametrize(("wild", "sds"), [(-0.5, 0.2), (0.3, 0.3), (1.0, 0.1), (3.0, 0.03)])
@pytest.mark.parametrize("seed", range(5))
def test_a_wild_quote_is_all_but_ignored_and_the_wilder_the_more(wild, sds, seed):
    """Held against the posterior that never saw it, in its standard deviations; the prior is a settled filter's."""
    joint, rng, n = prior(0.05), np.random.default_rng(seed), 5
    vols, _ = quotes(rng, joint, [1], each=12)
    without, _ = estimate.update(joint, TAU, take(vols, np.arange(12) != n), M)
    vols.vol[n] += wild
    moved, outcome = estimate.update(joint, TAU, vols, M)
    gullible, _ = estimate.update(joint, TAU, vols, GAUSSIAN)
    assert outcome.weight[n] == outcome.weight.min() < 0.03
    assert close(moved, without, sds)
    assert not close(gullible, without, 1.5)


def test_a_quoted_expiry_moves_the_unquoted_ones_with_it():
    """Independent slices become coupled by the first prediction; a higher vol on one then lifts the others, the nearer
    in log tenor the more."""
    still = np.zeros((S, U)), np.zeros((S, U, DIM)), np.zeros((S, U, U))
    independent = Joint(CENTRE, np.diag(np.tile((0.01 * SD) ** 2, 3)), *still, EXPIRY_US)
    k = np.linspace(-0.1, 0.1, 9)
    place = np.full(9, 1, dtype=np.intp)
    vols = Vols(place, k, 1.02 * smile.vol(CENTRE, independent.u, TAU, place, k), np.full(9, 0.002**2))
    before, _ = estimate.update(independent, TAU, vols, M)
    np.testing.assert_array_equal(before.x[[0, 2]], CENTRE[[0, 2]])

    predicted = predict(independent, NOW - 3_600_000_000, NOW, 1.0, Dynamics())
    after, _ = estimate.update(predicted, TAU, vols, M)
    lift = (after.x - predicted.x)[:, LEVEL]
    assert lift[1] > 0.015
    assert lift[0] > 0 and 0 < lift[2] < lift[1]
    assert (np.diag(after.P) <= np.diag(predicted.P) * (1 + 1e-9)).all()
    gain = predicted.P[LEVEL::DIM, LEVEL::DIM][:, 1] / predicted.P[DIM + LEVEL, DIM + LEVEL]
    np.testing.assert_allclose(lift / lift[1], gain, rtol=0.05)


@given(seeds, st.lists(st.floats(0.01, 10.0), min_size=1, max_size=12), st.floats(1e-4, 0.5))
@settings(deadline=None)
def test_whatever_the_vols_the_posterior_is_finite_positive_definite_and_bounded(seed, vol, noise):
    joint, rng = prior(2.0), np.random.default_rng(seed)
    place = np.sort(rng.integers(0, 3, len(vol)))
    vols = Vols(place, rng.uniform(-1, 1, len(vol)), np.array(vol), np.full(len(vol), noise**2))
    for _ in range(3):
        joint, outcome = estimate.update(joint, TAU, vols, M)
        assert ((joint.x >= estimate.LOWEST) & (joint.x <= estimate.HIGHEST)).all()
        assert np.linalg.eigvalsh(joint.P).min() > 0
        assert np.linalg.eigvalsh(joint.V).min() > 0
        assert np.isfinite(joint.u).all() and np.isfinite(joint.A).all()
        assert np.isfinite(outcome.nis).all() and (outcome.nis >= -1e-9).all()
        assert ((outcome.weight > 0) & (outcome.weight <= 1)).all()


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_the_level_innovation_is_the_score_along_the_level_in_its_own_deviations(seed):
    """By the dense Gaussian: H_0' R^-1 e over the root of H_0' R^-1 (H P H' + R) R^-1 H_0."""
    joint = prior()
    vols, _ = quotes(np.random.default_rng(seed), joint, [0, 2])
    _, outcome = estimate.update(joint, TAU, vols, GAUSSIAN)
    mean, P = dense(joint)
    H, e = jacobian(mean, vols), vols.vol - model(mean, vols)
    covariance = H @ P @ H.T + np.diag(vols.R)
    for level, i in zip(outcome.level, (0, 2), strict=True):
        mine = vols.place == i
        along = H[mine] @ dense_move(joint, i) / vols.R[mine]
        sd = np.sqrt(along @ covariance[np.ix_(mine, mine)] @ along)
        assert level == pytest.approx(along @ e[mine] / sd, rel=1e-4, abs=1e-4)


def dense_move(joint, i):
    """The dense state's move when the level of slice i moves by one and its residual follows."""
    move = np.zeros(S * DIM + S * U)
    move[i * DIM + LEVEL] = 1.0
    move[S * DIM + i * U : S * DIM + (i + 1) * U] = joint.A[i][:, LEVEL]
    return move


def test_level_innovations_are_standard_normal_and_white_if_the_model_is_right():
    """Two hundred batches of a market that moves as the filter believes, linear enough: mean, variance, lag one."""
    rng, d = np.random.default_rng(9), Dynamics()
    joint, levels, minute = prior(0.3), [], 60_000_000
    mean, P = dense(joint)
    x = rng.multivariate_normal(mean, P, method="cholesky")[: S * DIM]
    joint = joint._replace(u=np.zeros((S, U)), A=np.zeros((S, U, DIM)), V=np.zeros((S, U, U)))
    F, drift, Q = transition(TAU, minute / YEAR_US, 1.0, d)
    for n in range(300):
        if n:
            x = F * x + drift + rng.multivariate_normal(np.zeros(S * DIM), Q, method="cholesky")
            joint = predict(
                joint._replace(expiry_us=EXPIRY_US + (n + 1) * minute), NOW + n * minute, NOW + (n + 1) * minute, 1.0, d
            )
        k = np.tile(np.linspace(-2, 2, 5), S) * 0.6 * np.sqrt(np.repeat(TAU, 5))
        place = np.repeat(np.arange(S), 5)
        truth = smile.vol(x.reshape(S, DIM), np.zeros((S, U)), TAU, place, k)
        vols = Vols(place, k, truth + 0.004 * rng.normal(size=len(k)), np.full(len(k), 0.004**2))
        joint, outcome = estimate.update(joint, TAU, vols, GAUSSIAN)
        levels.append(outcome.level)
    a = np.array(levels)[20:]
    assert np.abs(a.mean(axis=0)).max() < 0.2
    np.testing.assert_allclose((a * a).mean(axis=0), 1, atol=0.25)
    assert np.abs((a[1:] * a[:-1]).mean(axis=0)).max() < 0.2
