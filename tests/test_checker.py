"""The independent checker against published numbers, textbook formulas and certificates that lie."""

from math import hypot, sqrt

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import DAY, NOON, smile, update

from kvd.checker import TOLERANCE, Checker, Curve, least
from kvd.surface import RESIDUAL_KNOTS, Certificate, Parameters, RawSvi

KNOTS = np.array(RESIDUAL_KNOTS)
YEAR = NOON + 365 * DAY
FLAT = (0.0,) * len(RESIDUAL_KNOTS)
VOGT = RawSvi(-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
# Gatheral & Jacquier 2014, example 5.1: the same ATM variance and skew, with the call wing mended
MENDED = RawSvi(0.007740912, 0.06924203, -0.3340365, 0.04203375, 0.1186078)
OPTIMAL = RawSvi(-0.03051987, 0.1027168, 0.1007175, 0.272344, 0.4123978)
MODEST = -9.0  # a claim that nothing falls short of


def published(
    raw=MENDED, tau=1.0, expiry_us=YEAR, residual=FLAT, reach=1.5, butterfly=MODEST, calendar=None, **changes
):
    w0 = raw.a + raw.b * (hypot(raw.m, raw.sigma) - raw.rho * raw.m)
    points = changes.pop("points", 401)
    return smile(
        expiry_us, tau=tau, raw=raw, residual=residual, parameters=Parameters(sqrt(w0 / tau), -0.1, 0.1, 0.4, 0.4),
        quoted_low=None, quoted_high=None,
        certificate=Certificate(-reach, reach, points, butterfly, calendar, "measured"),
    )._replace(**changes)  # fmt: skip


def bumped(size, knot):
    """A residual curve of one knot."""
    return tuple(np.where(np.abs(KNOTS - knot) < 1e-9, size, 0.0).tolist())


def found(*smiles, checker=None):
    return {(v.expiry_us, v.kind) for v in (checker or Checker()).see(update(*smiles))}


# Butterflies


def test_vogts_smile_is_caught_at_its_published_minimum():
    (violation,) = Checker().see(update(published(VOGT)))
    assert (violation.kind, violation.expiry_us) == ("butterfly", YEAR)
    assert violation.value == pytest.approx(-0.0328636, abs=1e-7)
    assert violation.k == pytest.approx(0.87926, abs=1e-5)
    # g < 0 on (0.64241, 1.25691) alone
    assert (YEAR, "butterfly") not in found(published(VOGT, reach=0.6424))
    assert (YEAR, "butterfly") in found(published(VOGT, reach=0.6425))


@pytest.mark.parametrize(("raw", "reach", "least_g", "at"), [(MENDED, 3, 0.26, None), (OPTIMAL, 3, 0.00812, 0.811)])
def test_its_published_repairs_pass(raw, reach, least_g, at):
    mended = published(raw, reach=reach)
    assert found(mended) == set()
    curve = Curve(mended)
    low = least(curve.durrleman, curve.grid())
    assert low.value > least_g if at is None else low.value == pytest.approx(least_g, abs=5e-6)
    assert at is None or low.at == pytest.approx(at, abs=1e-3)


def mp_durrleman(s, k):
    """Durrleman's g from the published record alone, in fifty digits and with numerical derivatives."""
    a, b, rho, m, sigma = map(mpmath.mpf, s.raw)
    w0 = mpmath.mpf(s.parameters.atm_vol) ** 2 * mpmath.mpf(s.tau)
    with mpmath.workdps(50):

        def w(x):
            z = x / mpmath.sqrt(w0)
            rest = mp_spline(s.residual, min(max(z, KNOTS[0]), KNOTS[-1]))
            return w0 * (mpmath.sqrt((a + b * (rho * (x - m) + mpmath.sqrt((x - m) ** 2 + sigma**2))) / w0) + rest) ** 2

        w, w1, w2 = w(k), mpmath.diff(w, k), mpmath.diff(w, k, 2)
        return (1 - k * w1 / (2 * w)) ** 2 - w1**2 / 4 * (1 / w + mpmath.mpf(1) / 4) + w2 / 2


def mp_spline(values, z):
    """The clamped cubic spline by the tridiagonal system for its slopes, solved in full."""
    n = len(values)
    x, y = [mpmath.mpf(knot) for knot in RESIDUAL_KNOTS], [mpmath.mpf(v) for v in values]
    A, rhs = mpmath.zeros(n), mpmath.zeros(n, 1)
    A[0, 0] = A[n - 1, n - 1] = 1
    for i in range(1, n - 1):
        left, right = x[i] - x[i - 1], x[i + 1] - x[i]
        A[i, i - 1], A[i, i], A[i, i + 1] = 1 / left, 2 * (1 / left + 1 / right), 1 / right
        rhs[i] = 3 * ((y[i] - y[i - 1]) / left**2 + (y[i + 1] - y[i]) / right**2)
    slope = mpmath.lu_solve(A, rhs)
    i = max(0, min(n - 2, int(np.searchsorted(KNOTS, float(z), side="right")) - 1))
    h = x[i + 1] - x[i]
    t = (z - x[i]) / h
    return (
        (1 + 2 * t) * (1 - t) ** 2 * y[i] + t * (1 - t) ** 2 * h * slope[i]
        + t**2 * (3 - 2 * t) * y[i + 1] + t**2 * (t - 1) * h * slope[i + 1]
    )  # fmt: skip


def test_g_is_durrlemans_for_backbone_and_residual_together():
    residual = tuple((0.02 * np.sin(KNOTS) * (KNOTS != 0)).tolist())
    s = published(MENDED, residual=residual, reach=2.5)
    for k in (-2.4, -0.31, -0.05, 0.011, 0.4, 1.1, 2.4):  # the last knots lie at 1.06
        assert Curve(s).durrleman(np.array([k]))[0] == pytest.approx(float(mp_durrleman(s, mpmath.mpf(k))), rel=1e-9)
        assert Curve(s).total_variance(np.array([k]))[0] == pytest.approx(float(s.total_variance(k)), rel=1e-12)


def test_a_residual_curve_that_bends_too_sharply_is_caught():
    assert found(published(MENDED, residual=bumped(0.01, 1.2))) == set()
    assert (YEAR, "butterfly") in found(published(MENDED, residual=bumped(0.2, 1.2)))


def test_a_dip_between_grid_points_is_caught():
    """Vogt's smile cut where g has only just become negative, and a dip that the grid of 2,001 points steps over."""

    def lowered(by):
        return OPTIMAL._replace(a=OPTIMAL.a - by)

    def g_least(by, k):
        return float(Curve(published(lowered(by), reach=3)).durrleman(k).min())

    even = np.linspace(-3, 3, 2001)
    fine = np.linspace(0.78, 0.88, 100_001)
    low, high = 0.0, 0.002
    for _ in range(60):  # as low as the even grid allows
        middle = 0.5 * (low + high)
        low, high = (middle, high) if g_least(middle, even) > -TOLERANCE else (low, middle)
    assert g_least(low, even) > 0 > TOLERANCE > g_least(low, fine)
    assert found(published(lowered(low), reach=3)) == {(YEAR, "butterfly")}


def test_a_corner_at_a_knot_is_caught():
    """The third derivative of the residual curve jumps at its knots, so g may have its minimum in a corner there."""

    def bent(size):
        return published(MENDED, residual=bumped(size, 1.2), reach=2)

    def g_least(size, k):
        return float(Curve(bent(size)).durrleman(k).min())

    even = np.linspace(-2, 2, 2001)
    low, high = 0.01, 0.2
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if g_least(middle, even) > 0 else (low, middle)
    corner = 1.2 * bent(low).parameters.atm_vol
    assert g_least(low, even) > 0 > g_least(low, np.array([corner]))
    (violation,) = Checker().see(update(bent(low)))
    assert violation.kind == "butterfly" and violation.k == pytest.approx(corner)


@pytest.mark.parametrize(
    "raw", [RawSvi(-0.05, 0.1331, 0.3060, 0.3586, 0.4153), RawSvi(0.04, 0.05, 0.0, 0.0, float("nan"))]
)
def test_a_smile_without_a_positive_vol_everywhere_is_caught(raw):
    s = published(VOGT)._replace(raw=raw)
    assert (YEAR, "butterfly") in found(s)


# Calendars


def flat(vol, days, **changes):
    tau = days / 365
    raw = RawSvi(vol * vol * tau, 0.0, 0.0, 0.0, 0.1)
    return published(raw, tau, NOON + days * DAY, reach=6 * vol * sqrt(tau), **changes)


def test_crossed_slices_are_caught_on_both_sides():
    assert found(flat(0.6, 10), flat(0.5, 20), flat(0.45, 40)) == set()
    crossed = found(flat(0.6, 10), flat(0.4, 20), flat(0.5, 40))
    assert crossed == {(NOON + 10 * DAY, "calendar"), (NOON + 20 * DAY, "calendar")}


def test_a_smile_is_held_against_the_newest_of_its_neighbours_alone():
    checker = Checker()
    assert found(flat(0.6, 10), flat(0.6, 20), flat(0.6, 40), checker=checker) == set()
    assert found(flat(0.9, 10), checker=checker) == {(NOON + 10 * DAY, "calendar")}
    assert found(flat(0.6, 40), checker=checker) == set()
    assert found(flat(0.6, 20), checker=checker) == {(NOON + 20 * DAY, "calendar")}
    checker.see(update(withdrawn=(NOON + 10 * DAY,)))
    assert found(flat(0.6, 20), checker=checker) == set()


def test_slices_that_cross_in_a_wing_alone_are_caught_within_the_range_alone():
    tau = 30 / 365
    steep = RawSvi(0.01, 0.08, -0.5, 0.0, 0.05)
    later = published(RawSvi(0.02, 0.02, 0.0, 0.0, 0.05), 2 * tau, NOON + 60 * DAY, reach=0.8)
    for reach, wrong in ((0.05, set()), (0.8, {(NOON + 30 * DAY, "calendar")})):
        checker = Checker()
        checker.see(update(later))
        earlier = published(steep, tau, NOON + 30 * DAY, reach=reach)
        assert {v for v in found(earlier, checker=checker) if v[1] == "calendar"} == wrong


# Certificates


def test_a_range_that_leaves_out_quotes_or_five_standard_deviations_is_false():
    root = published().parameters.atm_vol
    assert found(published(reach=5.001 * root)) == set()
    assert found(published(reach=4.99 * root)) == {(YEAR, "false_range")}
    assert found(published(reach=5.001 * root, quoted_high=5.1 * root)) == {(YEAR, "false_range")}
    assert found(published(reach=5.001 * root, quoted_low=-5.1 * root)) == {(YEAR, "false_range")}


def test_a_minimum_better_than_the_true_one_is_false():
    true = 0.0081184
    for claim, wrong in ((0.5 * true, set()), (true, set()), (0.00813, {(YEAR, "false_butterfly")})):
        assert found(published(OPTIMAL, butterfly=claim)) == wrong
    assert found(published(OPTIMAL, butterfly=float("nan"))) == {(YEAR, "false_butterfly")}


def test_a_calendar_gap_is_claimed_against_the_nearest_neighbour():
    near, far = flat(0.6, 10), flat(0.6, 20)  # the gap is the nearer one's total variance once more
    assert found(near._replace(certificate=near.certificate._replace(calendar=1.0)), far) == set()
    lying = near._replace(certificate=near.certificate._replace(calendar=1.01))
    assert found(lying, far) == {(NOON + 10 * DAY, "false_calendar")}
    assert found(lying._replace(state="held"), far) == set()


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_it_finds_no_more_and_no_less_than_a_much_finer_grid(seed):
    rng = np.random.default_rng(seed)
    raw = RawSvi(0.02, rng.uniform(0.05, 0.3), rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.3), rng.uniform(0.02, 0.4))
    residual = tuple((rng.normal(0, 0.02, len(KNOTS)) * (KNOTS != 0)).tolist())
    curve = Curve(published(raw, residual=residual, reach=3))
    low = least(curve.durrleman, curve.grid())
    finer = curve.durrleman(np.linspace(-3, 3, 60_001)).min()
    assert low.value <= finer + 1e-9 or low.value > 0.02
    assert (low.value < TOLERANCE) == (finer < TOLERANCE) or abs(low.value) < 1e-6
