"""The slice coordinates against raw SVI, SSVI, the published jump-wing numbers and plain differences."""

import backbone
import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvd.core import svi

VOGT = (-0.0410, 0.1331, 0.3586, 0.3060, 0.4153)  # a, b, m, rho, sigma in the order of the paper
DAYS = 1 / 365

# Gatheral's fit of SPX, 15 September 2005 (The Volatility Surface, figures 3.2 and 3.3), and the jump-wings beside it
SPX_RAW = """
-0.0001449630 0.0092965440 0.0196713280 -0.2941176470 -0.0054273230
-0.000832134  0.024439766  0.069869455  -0.299975308   0.02648364
-0.0008676750 0.0282906450 0.0873835580 -0.2892204290  0.0592703000
-0.0000591593 0.0331790820 0.0812872370 -0.3014043240  0.0652549210
 0.0011431940 0.0462796440 0.1040682980 -0.3530782140  0.0942000770
 0.0022640980 0.0562604150 0.1305339330 -0.4387409470  0.1111230690
 0.0040335530 0.0733707550 0.1707947600 -0.4968970370  0.1496609160
 0.0034526910 0.0917230540 0.2236814130 -0.4942213210  0.1854128490
"""  # a, b, sigma, rho, m
SPX_JW = """
0.005475702 0.101300479 0.177960301 0.254620123 0.503764545 0.752908966 1.251197810 1.749486653
0.005461444 0.011729194 0.014634977 0.015913797 0.018220317 0.019460020 0.020901180 0.022010229
-0.02393127 -0.23199502 -0.23575331 -0.24169930 -0.24736379 -0.25260651 -0.26222826 -0.26465446
2.1999949 0.9217058 0.7146813 0.6783336 0.6536137 0.6687175 0.6791513 0.6984348
1.1999972 0.4963300 0.3940218 0.3641304 0.3125000 0.2608696 0.2282609 0.2364130
0.005446544 0.007865899 0.008422155 0.009867464 0.011214052 0.011772234 0.011915278 0.012168504
"""  # tau, v, psi, p, c, v_min

states = st.tuples(
    st.floats(np.log(0.05), np.log(3.0)), st.floats(-0.8, 0.8), st.floats(-4.0, 2.0), *[st.floats(-1.5, 1.5)] * 2
).map(lambda x: np.array([x]))
taus = st.floats(np.log(DAYS / 24), np.log(2.0)).map(lambda t: np.array([np.exp(t)]))
reach = st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=20).map(np.array)


def five_numbers(x):
    sl = svi.slices(x)
    return svi.parameters_and_jacobian(sl, svi.wing_gradient(sl))


def table(text):
    return np.array([[float(number) for number in line.split()] for line in text.strip().splitlines()])


def raw_variance(raw, k):
    """Gatheral's formula."""
    a, b, rho, m, sigma = raw
    return a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + sigma**2))


def wings(x):
    """Wing slopes by the definition of the coordinates, not floored."""
    _, psi, ln_kappa, excess_p, excess_c = x
    r = np.sqrt(psi**2 + np.exp(ln_kappa) / 2)
    return (r + psi) * np.exp(excess_p) - 2 * psi, (r - psi) * np.exp(excess_c) + 2 * psi


def are_free(x):
    return min(wings(x[0])) > 1.01 * svi.MIN_WING


def one(length):
    return np.zeros(length, dtype=np.intp)


@given(states, taus)
def test_coordinates_survive_the_way_through_raw_svi(x, tau):
    assume(are_free(x))
    np.testing.assert_allclose(svi.from_raw(svi.to_raw(x, tau), tau), x, rtol=0, atol=1e-12)


@given(states, taus, reach)
def test_vol_is_that_of_the_raw_formula(x, tau, z):
    k = z * np.exp(x[0, 0]) * np.sqrt(tau[0])
    w = raw_variance(svi.to_raw(x, tau)[0], k)
    w0 = np.exp(2 * x[0, 0]) * tau[0]
    expected = np.sqrt(np.maximum(w, svi.MIN_OMEGA * w0) / tau[0])
    index = one(len(k))
    np.testing.assert_allclose(svi.vol(x, tau, index, k), expected, rtol=1e-8)
    np.testing.assert_allclose(backbone.vol_and_jacobian(x, tau, index, k)[0], svi.vol(x, tau, index, k), rtol=1e-13)


@given(states, taus)
@settings(max_examples=40, deadline=None)
def test_skew_is_half_the_slope_at_the_money_and_curvature_the_second_derivative(x, tau):
    a, b, rho, m, sigma = map(mpmath.mpf, svi.to_raw(x, tau)[0].tolist())

    def w(k):
        return a + b * (rho * (k - m) + mpmath.sqrt((k - m) ** 2 + sigma**2))

    with mpmath.workdps(40):
        root = mpmath.sqrt(w(0))
        h = mpmath.mpf(10) ** -10 * sigma / root
        up, at, down = (w(z * root) / w(0) for z in (h, mpmath.mpf(0), -h))
        assert float(mpmath.sqrt(w(0) / tau[0])) == pytest.approx(np.exp(x[0, 0]), rel=1e-9)
        assert float((up - down) / (4 * h)) == pytest.approx(x[0, 1], abs=1e-9)
        assert float((up - 2 * at + down) / h**2) == pytest.approx(np.exp(x[0, 2]), rel=1e-9)


@given(states)
def test_wing_slopes_are_those_far_out(x):
    (p, c), far = five_numbers(x)[0][0, 3:], 1e9
    omega, slope, _ = svi.omega_at(svi.slices(x), one(2), np.array([-far, far]))
    np.testing.assert_allclose(slope, [-p, c], rtol=1e-6)
    if are_free(x):
        np.testing.assert_allclose([p, c], wings(x[0]), rtol=1e-9)
    assert np.isfinite(omega).all()


@given(st.floats(-0.95, 0.95), st.floats(0.05, 3.0), st.floats(0.1, 2.0), taus, reach)
def test_no_excess_is_ssvi(rho, eta, sigma, tau, z):
    """Gatheral and Jacquier's theta/2 (1 + rho phi k + sqrt((phi k + rho)^2 + 1 - rho^2)), phi = eta / sqrt(theta)."""
    theta = sigma**2 * tau[0]
    k = z * np.sqrt(theta)
    phi = eta / np.sqrt(theta)
    expected = theta / 2 * (1 + rho * phi * k + np.sqrt((phi * k + rho) ** 2 + 1 - rho**2))
    x = np.array([[np.log(sigma), rho * eta / 2, np.log(eta**2 * (1 - rho**2) / 2), 0.0, 0.0]])
    assume((expected > svi.MIN_OMEGA * theta).all() and are_free(x))
    np.testing.assert_allclose(svi.vol(x, tau, one(len(k)), k) ** 2 * tau, expected, rtol=1e-10)


def differences(f, x, step=1e-6):
    """Central differences of f, an array, in each coordinate of one state; the coordinate is the last axis."""
    columns = []
    for j in range(svi.DIM):
        h = np.zeros_like(x)
        h[0, j] = step
        columns.append((f(x + h) - f(x - h)) / (2 * step))
    return np.stack(columns, axis=-1)


def is_smooth(x, tau, k):
    """No wing within reach of its floor, and no point near the floor of omega, for a kink has no derivative."""
    omega = raw_variance(svi.to_raw(x, tau)[0], k) / (np.exp(2 * x[0, 0]) * tau[0])
    return min(abs(wing - svi.MIN_WING) for wing in wings(x[0])) > 1e-3 and (np.abs(omega - svi.MIN_OMEGA) > 0.02).all()


@given(states, taus, reach)
def test_the_gradient_of_vol_is_its_central_difference(x, tau, z):
    k = z * np.exp(x[0, 0]) * np.sqrt(tau[0])
    assume(is_smooth(x, tau, k))
    index = one(len(k))
    above = svi.omega_at(svi.slices(x), index, z)[0] > svi.MIN_OMEGA
    assume(above.all())
    expected = differences(lambda x: svi.vol(x, tau, index, k), x)
    _, jacobian = backbone.vol_and_jacobian(x, tau, index, k)
    np.testing.assert_allclose(jacobian, expected, rtol=2e-5, atol=2e-6 * np.exp(x[0, 0]))


@given(states)
def test_the_gradient_of_the_five_numbers_is_their_central_difference(x):
    assume(min(abs(wing - svi.MIN_WING) for wing in wings(x[0])) > 1e-3)
    expected = differences(lambda x: five_numbers(x)[0][0], x)
    _, jacobian = five_numbers(x)
    np.testing.assert_allclose(jacobian[0], expected, rtol=1e-5, atol=1e-6)


@given(states, reach)
def test_the_derivatives_of_omega_are_its_central_differences(x, z):
    sl, h = svi.slices(x), 1e-5
    assume(sl.s[0] > 0.02)
    index = one(len(z))
    _, slope, curvature = svi.omega_at(sl, index, z)
    up, down = svi.omega_at(sl, index, z + h), svi.omega_at(sl, index, z - h)
    np.testing.assert_allclose(slope, (up[0] - down[0]) / (2 * h), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(curvature, (up[1] - down[1]) / (2 * h), rtol=1e-4, atol=1e-4)


def test_a_wing_that_would_fall_is_floored():
    """psi = -0.2, kappa = 0.1: an excess below -0.22 asks for a falling call wing."""
    x, tau, z = np.array([[np.log(0.6), -0.2, np.log(0.1), 0.0, -0.3]]), np.array([0.1]), np.linspace(-20, 20, 401)
    assert wings(x[0])[1] < 0 < wings(x[0])[0]
    values, gradient = five_numbers(x)
    assert values[0, svi.CALL_WING] == svi.MIN_WING
    np.testing.assert_allclose(gradient[0, svi.CALL_WING], 0.0, atol=1e-14)

    index, k = one(len(z)), z * 0.6 * np.sqrt(tau[0])
    omega, slope, curvature = svi.omega_at(svi.slices(x), index, z)
    assert slope[-1] <= svi.MIN_WING and (curvature > 0).all() and (omega > 0).all()
    assert slope[200] / 2 == pytest.approx(-0.2, abs=1e-14) and curvature[200] == pytest.approx(0.1, abs=1e-14)
    vol, jacobian = backbone.vol_and_jacobian(x, tau, index, k)
    np.testing.assert_allclose(vol**2 * tau, raw_variance(svi.to_raw(x, tau)[0], k), rtol=1e-10)
    assert np.abs(jacobian[:, svi.CALL_WING]).max() < 1e-14
    np.testing.assert_allclose(jacobian, differences(lambda x: svi.vol(x, tau, index, k), x), rtol=1e-5, atol=1e-7)


def test_a_smile_that_dips_below_zero_has_a_vol_all_the_same():
    a, b, m, rho, sigma = VOGT
    x, tau, k = svi.from_raw(np.array([[a - 0.012, b, rho, m, sigma]]), np.ones(1)), np.ones(1), np.linspace(-1, 1, 51)
    assert raw_variance(svi.to_raw(x, tau)[0], k).min() < 0
    vol, jacobian = backbone.vol_and_jacobian(x, tau, one(51), k)
    assert vol.min() == pytest.approx(np.exp(x[0, 0]) * np.sqrt(svi.MIN_OMEGA), rel=1e-12)
    assert np.isfinite(jacobian).all()


def test_the_jump_wings_of_vogts_smile_and_of_its_two_repairs_are_the_papers():
    """Gatheral and Jacquier, examples 3.1 and 5.1; tau is 1."""
    a, b, m, rho, sigma = VOGT
    raw = np.array([
        [a, b, rho, m, sigma],
        [0.007740912, 0.06924203, -0.3340365, 0.04203375, 0.1186078],
        [-0.03051987, 0.1027168, 0.1007175, 0.272344, 0.4123978],
    ])  # fmt: skip
    v, psi, p = 0.017426252555, -0.175211140809, 0.699738104117
    expected = [
        [v, psi, p, 1.316798218986, 0.011624903235],
        [v, psi, p, 0.3493158, 0.01548182],
        [v, psi, p, 0.8564763, 0.0116249],
    ]
    jump_wings = svi.jump_wings(svi.slices(svi.from_raw(raw, np.ones(3))), raw, np.ones(3))
    np.testing.assert_allclose(jump_wings[0], expected[0], rtol=1e-10)
    np.testing.assert_allclose(jump_wings[1:], expected[1:], rtol=5e-6)


def test_the_jump_wings_of_the_spx_table_are_those_printed_beside_it():
    a, b, sigma, rho, m = table(SPX_RAW).T
    tau, *expected = table(SPX_JW)
    x = svi.from_raw(np.stack((a, b, rho, m, sigma), axis=-1), tau)
    np.testing.assert_allclose(svi.jump_wings(svi.slices(x), svi.to_raw(x, tau), tau).T, expected, rtol=2e-6)


def test_quantlibs_slice_has_variance_a_plus_b_sigma_at_its_centre():
    a, b, sigma, rho, m = -0.0666, 0.229, 0.337, 0.439, 0.193
    tau = np.array([11 * DAYS])
    x = svi.from_raw(np.array([[a, b, rho, m, sigma]]), tau)
    assert svi.vol(x, tau, one(1), np.array([m]))[0] ** 2 * tau[0] == pytest.approx(a + b * sigma, abs=1e-10)


@given(st.lists(st.tuples(states, taus), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_slices_evaluated_together_are_those_evaluated_alone(slices, random):
    x, tau = np.concatenate([x for x, _ in slices]), np.concatenate([tau for _, tau in slices])
    index = np.array([random.randrange(len(x)) for _ in range(12)])
    k = np.array([random.uniform(-1, 1) for _ in range(12)]) * np.sqrt(tau[index])
    vol, jacobian = backbone.vol_and_jacobian(x, tau, index, k)
    for n, i in enumerate(index):
        alone = backbone.vol_and_jacobian(x[i : i + 1], tau[i : i + 1], one(1), k[n : n + 1])
        np.testing.assert_allclose(vol[n], alone[0][0], rtol=1e-14)
        np.testing.assert_allclose(jacobian[n], alone[1][0], rtol=1e-12, atol=1e-15)
