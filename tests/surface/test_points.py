"""Delta points against the deltas of the vols that the smile publishes there, and against perturbed smiles."""

import numpy as np
import pytest
from drawn_smiles import drawn, perturbed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from kvd.surface import RESIDUAL_KNOTS, RawSvi, delta_points

seeds, days = st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 7.0, 30.0, 180.0, 365.0])
conventions = st.sampled_from(["forward", "premium_adjusted"])
WANTED = {"10p": -0.10, "25p": -0.25, "25c": 0.25, "10c": 0.10}


def delta(s, strike, sign, convention):
    """The textbook's delta in the forward of an option on the smile, of a call (+1) or a put (-1)."""
    k, v = np.log(strike / s.forward.value), s.vol(strike) * s.tau**0.5
    if convention == "forward":
        return sign * norm.cdf(sign * (-k / v + v / 2))
    return sign * np.exp(k) * norm.cdf(sign * (-k / v - v / 2))


@given(seeds, days, conventions)
def test_points_invert_to_their_deltas(seed, days, convention):
    s = drawn(seed, days)
    points = s.delta_points(convention).points
    assert [point.delta for point in points] == ["10p", "25p", "atm", "25c", "10c"]
    for point in points:
        assert point.vol == pytest.approx(float(s.vol(point.strike)), rel=1e-10)
        if point.delta == "atm":
            assert point.strike == pytest.approx(s.forward.value, rel=1e-11)
        else:
            wanted = WANTED[point.delta]
            assert delta(s, point.strike, np.sign(wanted), convention) == pytest.approx(wanted, abs=1e-9)
    assert sorted(point.strike for point in points) == [point.strike for point in points]


@given(seeds, conventions)
def test_risk_reversals_and_butterflies_are_of_the_vols_at_the_points(seed, convention):
    found = drawn(seed).delta_points(convention)
    vol = {point.delta: point.vol for point in found.points}
    for size in (10, 25):
        call, put = vol[f"{size}c"], vol[f"{size}p"]
        assert getattr(found, f"rr{size}") == pytest.approx(call - put, abs=2e-12)
        assert getattr(found, f"bf{size}") == pytest.approx((call + put) / 2 - vol["atm"], abs=2e-12)


@given(st.floats(0.8, 4.0), st.sampled_from(["25c", "10c"]))
def test_of_two_strikes_with_one_premium_adjusted_delta_the_larger_is_taken_and_none_where_none_has_it(vol, name):
    """A flat smile with much variance: as the strike rises the delta of a call does, too, and then falls."""
    s = flat(vol, 365.0)
    found = {point.delta: point.strike for point in s.delta_points("premium_adjusted").points}
    strikes = s.forward.value * np.exp(np.linspace(-3 * vol, 3 * vol, 2001))
    deltas = delta(s, strikes, 1.0, "premium_adjusted")
    top = int(deltas.argmax())
    if deltas[top] > WANTED[name] + 1e-4:
        expected = brentq(
            lambda K: delta(s, K, 1.0, "premium_adjusted") - WANTED[name], strikes[top], 1e3 * strikes[-1]
        )
        assert found[name] == pytest.approx(expected, rel=1e-8)  # near the greatest delta a strike says little of it
        assert delta(s, found[name], 1.0, "premium_adjusted") == pytest.approx(WANTED[name], abs=1e-12)
    elif deltas[top] < WANTED[name] - 1e-4:
        assert name not in found


def test_what_is_not_reached_is_none_and_the_rest_is_there():
    found = flat(4.0, 365.0).delta_points("premium_adjusted")
    assert [point.delta for point in found.points] == ["10p", "25p", "atm"]
    assert found[1:] == (None,) * 8
    found = flat(1.4, 365.0).delta_points("premium_adjusted")
    assert [point.delta for point in found.points] == ["10p", "25p", "atm", "10c"]
    assert (found.rr25, found.bf25_sd) == (None, None)
    assert found.rr10 == pytest.approx(0.0, abs=1e-12)


def flat(vol, days):
    s = drawn(0, days)
    raw = RawSvi(vol**2 * s.tau, 0.0, 0.0, 0.0, 1.0)
    return s._replace(parameters=s.parameters._replace(atm_vol=vol), raw=raw, residual=(0.0,) * len(RESIDUAL_KNOTS))


@settings(max_examples=20, deadline=None)
@given(seeds, days, conventions)
def test_standard_deviations_are_what_each_uncertainty_does(seed, days, convention):
    """To the first order: the uncertainties are made small."""
    s = drawn(seed, days)
    s = s._replace(vol_sd=tuple(1e-3 * np.array(s.vol_sd)), forward=s.forward._replace(sd=1e-3 * s.forward.sd))
    got, pairs = s.delta_points(convention), [delta_points(pair, convention) for pair in perturbed(s)]

    def sd(read):
        return np.linalg.norm([(read(up) - read(down)) / 2 for up, down in pairs])

    for i, point in enumerate(got.points):
        assert point.vol_sd == pytest.approx(sd(lambda p, i=i: p.points[i].vol), rel=1e-4)
        assert point.strike_sd == pytest.approx(sd(lambda p, i=i: p.points[i].strike), rel=1e-4)
    for name in ("rr25", "bf25", "rr10", "bf10"):
        assert getattr(got, f"{name}_sd") == pytest.approx(sd(lambda p, name=name: getattr(p, name)), rel=1e-4)


def test_the_deviation_at_the_money_is_that_of_the_knot_there():
    s = drawn(4)
    assert s.delta_points().points[2].vol_sd == pytest.approx(s.vol_sd[len(s.vol_sd) // 2], rel=1e-4)
    assert s.delta_points().points[2].strike_sd == pytest.approx(s.forward.sd, rel=1e-4)


@settings(max_examples=50)
@given(st.lists(st.tuples(seeds, days), max_size=6), conventions)
def test_many_at_once_are_each_alone(drawings, convention):
    smiles = [drawn(*drawing) for drawing in drawings]
    for together, smile in zip(delta_points(smiles, convention), smiles, strict=True):
        alone = smile.delta_points(convention)
        for one, other in zip(together.points, alone.points, strict=True):
            assert one.delta == other.delta
            np.testing.assert_allclose(one[1:], other[1:], rtol=2e-5)  # five digits of a standard deviation
        np.testing.assert_allclose(together[1:], alone[1:], rtol=2e-5, atol=1e-11)


@settings(max_examples=200)
@given(seeds, st.floats(0.02, 0.4), st.floats(-0.9, 0.9), st.floats(-2.0, 2.0), conventions)
def test_slices_on_which_newton_goes_astray_are_bracketed(seed, sharp, rho, shift, convention):
    """A hyperbola with a sharp vertex away from the money: far from the flat smile that the search begins with."""
    s = drawn(seed, curved=3.0)
    root = s.parameters.atm_vol * s.tau**0.5
    b = 1.2 * root
    m, sigma = shift * root, sharp * root
    raw = RawSvi(root**2 - b * (-rho * m + np.hypot(m, sigma)), b, rho, m, sigma)
    s = s._replace(raw=raw)
    for point in s.delta_points(convention).points:
        if point.delta != "atm":
            wanted = WANTED[point.delta]
            assert delta(s, point.strike, np.sign(wanted), convention) == pytest.approx(wanted, abs=1e-9)
