"""The engine against the textbook, the information form and filterpy itself; and what its guard keeps out."""

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given
from hypothesis import strategies as st

from kvd.core import kalman

dims = st.tuples(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))


def problem(dims):
    """A state and a measurement of any size, conditioned as options are: variances from 1e-6 to 1, noise of 1."""
    n, m, seed = dims
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n)) * np.exp(rng.uniform(np.log(1e-3), 0, n))[:, None]
    P = root @ root.T + 1e-8 * np.eye(n)
    H = rng.normal(size=(m, n)) * np.exp(rng.uniform(-2, 5, m))[:, None]
    return rng.normal(size=n), P, H, rng.normal(size=m), rng


def update(x, P, H, z):
    """Of all coordinates at once."""
    return kalman.update(x, P, H, z, np.arange(len(x)))


@given(dims)
def test_update_is_the_textbooks(dims):
    x, P, H, z, _ = problem(dims)
    S = H @ P @ H.T + np.eye(len(z))
    K = P @ H.T @ np.linalg.inv(S)
    got_x, got_P = update(x, P, H, z)
    np.testing.assert_allclose(got_x, x + K @ (z - H @ x), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(got_P, P - K @ H @ P, rtol=1e-6, atol=1e-9)


@given(dims, st.data())
def test_coordinates_that_no_row_speaks_of_follow_those_that_one_does(dims, data):
    """The engine works on the measured coordinates alone: the posterior is that of all with columns of zeros."""
    x, P, H, z, _ = problem(dims)
    own = np.array(data.draw(st.lists(st.sampled_from(range(len(x))), min_size=1, unique=True).map(sorted)))
    wide = np.zeros_like(H)
    wide[:, own] = H[:, own]
    got_x, got_P = kalman.update(x, P, H[:, own], z, own)
    expected_x, expected_P = update(x, P, wide, z)
    sd = np.sqrt(np.diag(expected_P))
    np.testing.assert_allclose(got_x / sd, expected_x / sd, atol=1e-4)
    np.testing.assert_allclose(got_P / np.outer(sd, sd), expected_P / np.outer(sd, sd), atol=1e-4)
    assert (got_P == got_P.T).all()


@given(dims)
def test_update_is_that_of_the_information_form(dims):
    x, P, H, z, _ = problem(dims)
    got_x, got_P = update(x, P, H, z)
    information = np.linalg.inv(P) + H.T @ H
    np.testing.assert_allclose(got_P @ information, np.eye(len(x)), atol=1e-5)
    np.testing.assert_allclose(information @ got_x, np.linalg.inv(P) @ x + H.T @ z, rtol=1e-5, atol=1e-5)


@given(dims)
def test_a_step_is_filterpys_own(dims):
    x, P, H, z, rng = problem(dims)
    n = len(x)
    F, u, Q = rng.uniform(0.5, 1, n), rng.normal(size=n), np.diag(rng.uniform(0, 0.1, n))
    engine = KalmanFilter(dim_x=n, dim_z=len(z))
    engine.x, engine.P, engine.F, engine.Q, engine.H, engine.R, engine.B = (
        x[:, None],
        P,
        np.diag(F),
        Q,
        H,
        np.eye(len(z)),
        np.eye(n),
    )
    engine.predict(u=u[:, None])
    engine.update(z[:, None])
    got_x, got_P = update(*kalman.predict(x, P, F, u, Q), H, z)
    np.testing.assert_allclose(got_x, engine.x[:, 0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got_P, engine.P, rtol=1e-9, atol=1e-12)


@given(dims)
def test_predict_is_the_textbooks(dims):
    x, P, _, _, rng = problem(dims)
    F, u, q = rng.normal(size=len(x)), rng.normal(size=len(x)), rng.normal(size=(len(x), 2))
    got_x, got_P = kalman.predict(x, P, F, u, q @ q.T)
    np.testing.assert_allclose(got_x, F * x + u, rtol=1e-12)
    np.testing.assert_allclose(got_P, np.diag(F) @ P @ np.diag(F) + q @ q.T, rtol=1e-9, atol=1e-12)


@given(dims)
def test_the_posterior_is_positive_definite_symmetric_and_no_wider(dims):
    x, P, H, z, _ = problem(dims)
    kept_x, kept_P = x.copy(), P.copy()
    _, got = update(x, P, H, z)
    assert (got == got.T).all()
    assert np.linalg.eigvalsh(got).min() > 0
    assert np.linalg.eigvalsh(P - got).min() > -1e-9
    np.testing.assert_array_equal(x, kept_x)
    np.testing.assert_array_equal(P, kept_P)


def test_a_long_life_does_not_wear_the_covariance_out():
    x, P, H, z, rng = problem((10, 5, 1))
    for _ in range(2000):
        x, P = kalman.predict(x, P, np.ones(10), np.zeros(10), 1e-12 * np.eye(10))
        x, P = update(x, P, rng.normal(size=H.shape) * 1e3, z)
    assert np.linalg.eigvalsh(P).min() > 0


def test_no_rows_no_change():
    x, P = np.zeros(3), np.eye(3)
    assert update(x, P, np.zeros((0, 3)), np.zeros(0)) == (x, P)


def test_a_measurement_vector_leaves_the_state_a_vector():
    """filterpy turns x into a matrix when z has one dimension."""
    engine = KalmanFilter(dim_x=3, dim_z=2)
    engine.update(np.ones(2), H=np.eye(2, 3), R=np.eye(2))
    assert engine.x.shape != (3, 1)
    x, P = update(np.zeros(3), np.eye(3), np.eye(2, 3), np.ones(2))
    assert x.shape == (3,) and P.shape == (3, 3)
    np.testing.assert_allclose(x, [0.5, 0.5, 0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["x", "P", "H", "z"])
def test_an_update_lets_nothing_in_that_is_not_finite(place, bad):
    arguments = {"x": np.zeros(2), "P": np.eye(2), "H": np.ones((1, 2)), "z": np.ones(1)}
    arguments[place].flat[0] = bad
    with np.errstate(invalid="ignore"), pytest.raises(kalman.NotPositiveDefiniteError):
        update(**arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["x", "P", "F", "u", "Q"])
def test_a_prediction_lets_nothing_out_that_is_not_finite(place, bad):
    arguments = {"x": np.zeros(2), "P": np.eye(2), "F": np.ones(2), "u": np.zeros(2), "Q": np.eye(2)}
    arguments[place].flat[0] = bad
    with np.errstate(invalid="ignore"), pytest.raises(kalman.NotPositiveDefiniteError):
        kalman.predict(**arguments)


@pytest.mark.parametrize("P", [np.diag([1.0, -0.1]), np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros((2, 2))])
def test_a_covariance_that_is_none_is_refused(P):
    with pytest.raises(kalman.NotPositiveDefiniteError):
        kalman.predict(np.zeros(2), P, np.ones(2), np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(kalman.NotPositiveDefiniteError):
        update(np.zeros(2), P, np.array([[0.0, 0.1]]), np.ones(1))
