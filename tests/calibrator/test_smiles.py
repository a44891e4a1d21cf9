"""Published smiles against the textbook formulas, one slice at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, chain

from kvd.calibrator import doors, smiles
from kvd.calibrator.board import Board
from kvd.calibrator.smiles import Quoted
from kvd.core import svi
from kvd.core.joint import Joint
from kvd.core.measurement import Measurement
from kvd.core.svi import DIM

DAYS = np.array([2, 20, 60])
EXPIRY_US = NOW + DAYS * DAY
TAU = DAYS / 365
X = np.array([[-0.5, -0.12, -1.3, 0.3, 0.2], [-0.55, -0.1, -1.2, 0.2, 0.1], [-0.6, -0.08, -1.1, 0.1, 0.1]])
NOTHING = Quoted(None, None, 0, None)
UNQUOTED = dict.fromkeys(EXPIRY_US.tolist(), NOTHING)


def joint(x=X, seed=0):
    root = np.random.default_rng(seed).normal(size=(3 * DIM, 3 * DIM)) * 0.01
    return Joint(x, root @ root.T + 1e-6 * np.eye(3 * DIM), EXPIRY_US)


def w(raw, k):
    return raw.a + raw.b * (raw.rho * (k - raw.m) + math.sqrt((k - raw.m) ** 2 + raw.sigma**2))


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, unique=True).map(sorted))
def test_a_smile_is_its_slice_in_every_form(judged):
    j = joint()
    for i, shape in zip(judged, smiles.shapes(j, NOW, np.array(judged), UNQUOTED), strict=True):
        assert shape.sound and shape.tau == pytest.approx(TAU[i], rel=1e-12)
        assert shape.parameters[:2] == pytest.approx((math.exp(X[i, 0]), X[i, 1]), rel=1e-12)
        assert shape.parameters.curvature == pytest.approx(math.exp(X[i, 2]), rel=1e-12)
        w0 = w(shape.raw, 0.0)
        assert w0 == pytest.approx(math.exp(2 * X[i, 0]) * TAU[i], rel=1e-12)
        b, rho = shape.raw.b, shape.raw.rho
        wings = b * (1 - rho) / math.sqrt(w0), b * (1 + rho) / math.sqrt(w0)
        assert shape.parameters[3:] == pytest.approx(wings, rel=1e-10)
        v_min = (shape.raw.a + b * shape.raw.sigma * math.sqrt(1 - rho * rho)) / TAU[i]
        assert shape.jump_wings == pytest.approx((w0 / TAU[i], X[i, 1], *wings, v_min), rel=1e-9)
        np.testing.assert_array_equal(shape.covariance, j.P[5 * i : 5 * i + 5, 5 * i : 5 * i + 5])


def test_the_deviations_of_the_five_numbers_are_those_of_draws_from_the_posterior():
    j = joint()
    (shape,) = smiles.shapes(j, NOW, np.array([1]), UNQUOTED)
    block = j.P[5:10, 5:10] * 1e-4  # so small that the five numbers are linear in the state
    draws = np.random.default_rng(0).multivariate_normal(X[1], block, size=20_000)
    values = svi.parameters_and_jacobian(draws)[0]
    np.testing.assert_allclose(np.array(shape.sd) * 1e-2, values.std(axis=0), rtol=0.03)


def test_the_certificate_covers_five_deviations_and_the_quoted_range():
    reach = 5 * np.exp(X[:, 0]) * np.sqrt(TAU)
    quoted = UNQUOTED | {int(EXPIRY_US[1]): Quoted(-2 * reach[1], 0.1, 7, 1.0)}
    plain, wide, last = (s.certificate for s in smiles.shapes(joint(), NOW, np.arange(3), quoted))
    assert (plain.k_low, plain.k_high) == pytest.approx((-reach[0], reach[0]))
    assert (wide.k_low, wide.k_high) == pytest.approx((-2 * reach[1], reach[1]))
    assert plain.points == wide.points == last.points == 101


def test_the_certificates_margins_are_the_least_on_its_grid():
    shapes = smiles.shapes(joint(), NOW, np.arange(3), UNQUOTED)
    for i, shape in enumerate(shapes):
        c = shape.certificate
        grid = np.linspace(c.k_low, c.k_high, c.points)
        gaps = [w(shapes[n + 1].raw, k) - w(shapes[n].raw, k) for n in (i - 1, i) if 0 <= n < 2 for k in grid]
        assert c.calendar == pytest.approx(min(gaps) / w(shape.raw, 0.0), rel=1e-9)
        h, g = 1e-4, []
        for k in grid:
            down, at, up = (w(shape.raw, k + d) for d in (-h, 0.0, h))
            w1, w2 = (up - down) / (2 * h), (up - 2 * at + down) / h**2
            g.append((1 - k * w1 / (2 * at)) ** 2 - w1**2 / 4 * (1 / at + 0.25) + w2 / 2)
        assert c.butterfly == pytest.approx(min(g), abs=1e-4)


def test_a_lone_expiry_has_no_calendar_margin():
    j = Joint(X[:1], joint().P[:5, :5], EXPIRY_US[:1])
    assert smiles.shapes(j, NOW, np.array([0]), UNQUOTED)[0].certificate.calendar is None


def test_a_smile_whose_variance_dips_below_zero_is_not_sound():
    vogt = np.array([[-0.053, 0.1331, 0.3060, 0.3586, 0.4153]])  # lowered by 0.012; a, b, rho, m, sigma at tau 1
    sunk = svi.from_raw(vogt * TAU[1] ** np.array([1, 0.5, 0, 0.5, 0.5]), TAU[1:2])
    x = np.concatenate((X[:1], sunk, X[2:]))
    assert [s.sound for s in smiles.shapes(joint(x), NOW, np.arange(3), UNQUOTED)] == [True, False, True]


def test_quotes_of_the_last_three_minutes_are_held_against_the_smile():
    """Two expiries quoted, one lately and one long ago; half of the recent quotes lie above the smile."""
    j, board = joint(), Board()
    old = chain(int(EXPIRY_US[2]), NOW - 181 * SECOND)
    recent = chain(int(EXPIRY_US[1]), NOW - 180 * SECOND, strikes=6)
    tau = (EXPIRY_US[1:2] - NOW) / (365 * DAY)
    model = svi.vol(X[1:2], tau, np.zeros(6, dtype=np.intp), np.log([q.instrument.strike / q.forward for q in recent]))
    doors.admit([*old, *recent], board, NOW, np.zeros(15, dtype=np.bool_), Measurement())
    rows = board.rows(recent)
    board.bid_vol[rows], board.ask_vol[rows] = model - 0.01, model + [0.01, -0.001] * 3
    report = smiles.quoted(board, j, NOW, np.array([1, 2]))
    k = [math.log(q.instrument.strike / q.forward) for q in recent]
    assert report[int(EXPIRY_US[1])] == Quoted(pytest.approx(min(k)), pytest.approx(max(k)), 6, 0.5)
    assert report[int(EXPIRY_US[2])] == NOTHING
    board.counted[rows[:2]] = False
    assert smiles.quoted(board, j, NOW, np.array([1]))[int(EXPIRY_US[1])].quotes == 4
