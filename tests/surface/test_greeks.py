"""Greeks against bumps of the published smile, against Black (1976) in forty digits, and against what moves them."""

import mpmath
import numpy as np
import pytest
from drawn_smiles import drawn, moved, perturbed
from hypothesis import given, settings
from hypothesis import strategies as st

from kvd.core import black
from kvd.surface import Greeks

SIGN = {"call": 1.0, "put": -1.0}
NUMBERS = Greeks._fields[0::2]
BETWEEN_KNOTS = np.array([-2.6, -1.7, -1.05, -0.45, 0.15, 0.45, 1.05, 1.7, 2.6])

seeds, days = st.integers(0, 10**6), st.sampled_from([1.0, 7.0, 30.0, 180.0])
types, conventions = st.sampled_from(["call", "put"]), st.sampled_from(["quote", "coin"])


def strikes(s):
    """Between the knots: at them the third derivative of a smile jumps, and differences lose an order."""
    return s.forward.value * np.exp(BETWEEN_KNOTS * s.parameters.atm_vol * s.tau**0.5)


def value(s, strike, option_type):
    """Of an option on a smile, undiscounted."""
    return black.price(s.forward.value, strike, s.vol(strike) * s.tau**0.5, SIGN[option_type])


def bumps(s, strike, option_type, ssr, coin):
    """The greeks as differences of values on smiles that were really moved; F, level and tau in relative steps."""
    F, a, e = s.forward.value, s.parameters.atm_vol, ssr * s.parameters.skew / (s.parameters.atm_vol * s.tau**0.5)

    def worth(x, eta, t):
        there = moved(s, F * (1 + x), (a + a * eta) * (1 + x) ** e, s.tau * (1 + t))
        return value(there, strike, option_type) / (there.forward.value if coin else 1.0)

    one, two = 2e-3 * s.tau**0.5, 8e-3 * s.tau**0.5  # steps in F: a part of what it moves
    x, xx = derivative(lambda h: worth(h, 0, 0), one), second(lambda h: worth(h, 0, 0), two)
    eta, eta2 = derivative(lambda h: worth(0, h, 0), 2e-3), second(lambda h: worth(0, h, 0), 8e-3)
    x_eta = derivative(lambda g: derivative(lambda h: worth(h, g, 0), two), 8e-3)
    t = derivative(lambda h: worth(0, 0, h), 2e-3)
    # in coin, delta is F dv/dF, how much of the coin to hold, and gamma and vanna are its derivatives
    delta, gamma, vanna = (x, (x + xx) / F, x_eta) if coin else (x / F, xx / F**2, x_eta / F)
    return worth(0, 0, 0), delta, gamma, eta / a / 100, -t / s.tau / 365, vanna / a / 100, eta2 / a**2 / 1e4


def derivative(g, h):
    return extrapolated([(g(h / 2**i) - g(-h / 2**i)) * 2**i / (2 * h) for i in range(3)])


def second(g, h):
    return extrapolated([(g(h / 2**i) - 2 * g(0.0) + g(-h / 2**i)) * 4**i / (h * h) for i in range(3)])


def extrapolated(differences):
    """Richardson (1911): of central differences with steps h, h/2, h/4."""
    a, b, c = differences
    return (16 * (4 * c - b) / 3 - (4 * b - a) / 3) / 15


@settings(max_examples=40, deadline=None)
@given(seeds, days, types, conventions, st.sampled_from([0.0, 1.0, -0.5, 2.0]))
def test_smile_adjusted_greeks_are_bumps_of_the_published_smile(seed, days, option_type, convention, ssr):
    s = drawn(seed, days)
    strike = strikes(s)
    got = s.greeks(strike, option_type, convention, ssr)
    expected = bumps(s, strike, option_type, ssr, convention == "coin")
    for name, bumped in zip(NUMBERS, expected, strict=True):
        np.testing.assert_allclose(
            getattr(got, name), bumped, rtol=1e-6, atol=2e-8 * np.abs(bumped).max(), err_msg=name
        )


def test_the_smiles_own_stickiness_is_what_it_moves_with():
    s = drawn(3)
    strike = strikes(s)
    own, given = s.greeks(strike, "call"), s.greeks(strike, "call", ssr=s.regime.ssr)
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(own, name), getattr(given, name))
    assert (own.delta_sd > given.delta_sd).all()  # what is not known of it is in what depends on it
    np.testing.assert_array_equal(own.vega_sd, given.vega_sd)


def textbook(F, K, tau, vol, sign):
    """Black (1976) in the arguments' own precision."""
    d1 = mpmath.log(F / K) / (vol * mpmath.sqrt(tau)) + vol * mpmath.sqrt(tau) / 2
    return sign * (F * mpmath.ncdf(sign * d1) - K * mpmath.ncdf(sign * (d1 - vol * mpmath.sqrt(tau))))


@settings(max_examples=20, deadline=None)
@given(seeds, days, types, conventions)
def test_black_greeks_are_derivatives_of_blacks_formula_at_the_strikes_vol(seed, days, option_type, convention):
    s = drawn(seed, days)
    K = float(strikes(s)[seed % 9])
    got, coin = s.black_greeks(K, option_type, convention), convention == "coin"
    with mpmath.workdps(40):
        at = tuple(map(mpmath.mpf, (s.forward.value, s.tau, float(s.vol(K)))))

        def worth(F, tau, vol):
            return textbook(F, mpmath.mpf(K), tau, vol, SIGN[option_type]) / (F if coin else 1)

        def delta(F, tau, vol):
            return mpmath.diff(lambda x: worth(x, tau, vol), F) * (F if coin else 1)

        expected = (
            worth(*at),
            delta(*at),
            mpmath.diff(lambda F: delta(F, *at[1:]), at[0]),
            mpmath.diff(lambda vol: worth(*at[:2], vol), at[2]) / 100,
            -mpmath.diff(lambda tau: worth(at[0], tau, at[2]), at[1]) / 365,
            mpmath.diff(lambda vol: delta(*at[:2], vol), at[2]) / 100,
            mpmath.diff(lambda vol: worth(*at[:2], vol), at[2], 2) / 10_000,
        )
        for name, number in zip(NUMBERS, map(float, expected), strict=True):
            assert float(getattr(got, name)) == pytest.approx(number, rel=1e-8), name


@settings(max_examples=25, deadline=None)
@given(seeds, days, conventions, st.sampled_from([None, 0.0, 1.5]))
def test_a_call_less_a_put_is_a_forward_in_value_and_in_every_greek(seed, days, convention, ssr):
    s = drawn(seed, days)
    K, F, coin = strikes(s), s.forward.value, convention == "coin"
    for ask in (lambda t: s.greeks(K, t, convention, ssr), lambda t: s.black_greeks(K, t, convention)):
        call, put = ask("call"), ask("put")
        unit = F + K if not coin else 1 + K / F
        np.testing.assert_array_less(np.abs(call.price - put.price - (1 - K / F if coin else F - K)), 1e-12 * unit)
        np.testing.assert_allclose(call.delta - put.delta, K / F if coin else 1.0, rtol=1e-12)
        np.testing.assert_allclose(call.gamma - put.gamma, -K / F**2 if coin else 0.0, rtol=1e-11, atol=1e-12 / F)
        for name in ("vega", "theta", "vanna", "volga"):
            unit = np.abs(getattr(call, name)).max()
            np.testing.assert_allclose(getattr(call, name), getattr(put, name), rtol=1e-12, atol=1e-12 * unit)


@settings(max_examples=8, deadline=None)
@given(seeds, types, conventions, st.booleans())
def test_standard_deviations_are_what_each_uncertainty_does(seed, option_type, convention, along):
    s = drawn(seed)
    strike = strikes(s)

    def greeks(on):
        # what a smile knows of its level and skew is in its curve, not in the parameters that it repeats
        return (
            on.greeks(strike, option_type, convention, 0.8)
            if along
            else on.black_greeks(strike, option_type, convention)
        )

    got, pairs = greeks(s), [tuple(map(greeks, pair)) for pair in perturbed(s)]
    for name in NUMBERS:
        halves = [(getattr(up, name) - getattr(down, name)) / 2 for up, down in pairs]
        expected = np.sqrt(np.sum(np.square(halves), axis=0))
        np.testing.assert_allclose(getattr(got, f"{name}_sd"), expected, rtol=1e-8, err_msg=name)


def test_the_deviation_of_a_price_is_vega_times_the_vols_and_delta_times_the_forwards():
    s = drawn(5)
    strike = strikes(s)
    vega, delta = 100 * s.black_greeks(strike, "call").vega, s.greeks(strike, "call", ssr=0.0).delta
    spline = np.hypot.reduce([up.vol(strike) - s.vol(strike) for up, _ in perturbed(s)[:-1]])
    expected = np.hypot(vega * spline, delta * s.forward.sd)
    np.testing.assert_allclose(s.greeks(strike, "call").price_sd, expected, rtol=5e-3)


def test_where_a_smile_sticks_its_strike_vol_does_not_move_at_the_money():
    """SSR 1 is sticky strike to first order there: the smile-adjusted delta is Black's."""
    s = drawn(11)
    F = s.forward.value
    assert float(s.greeks(F, "call", ssr=1.0).delta) == pytest.approx(float(s.black_greeks(F, "call").delta), rel=1e-12)
    assert float(s.greeks(F, "call", ssr=0.0).delta) != pytest.approx(float(s.black_greeks(F, "call").delta), rel=1e-4)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,)])
def test_strikes_may_have_any_shape(shape):
    s = drawn(0)
    got = s.greeks(np.full(shape, 50_000.0), "put", "coin")
    assert all(number.shape == shape for number in got)
