import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from smiles import smile

from kvd.surface import RESIDUAL_KNOTS

strikes = st.lists(st.floats(1_000.0, 1_000_000.0), min_size=1, max_size=8)


def backbone(s, k):
    a, b, rho, m, sigma = s.raw
    return a + b * (rho * (k - m) + ((k - m) ** 2 + sigma**2) ** 0.5)


def consistent():
    """A smile whose ATM variance is its slice's."""
    s = smile()
    return s._replace(parameters=s.parameters._replace(atm_vol=(backbone(s, 0.0) / s.tau) ** 0.5))


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=8))
def test_total_variance_without_a_residual_is_raw_svi(k):
    s = consistent()._replace(residual=(0.0,) * len(RESIDUAL_KNOTS))
    np.testing.assert_allclose(s.total_variance(np.array(k)), [backbone(s, x) for x in k], rtol=1e-13)
    assert float(s.total_variance(k[0])) == pytest.approx(s.total_variance(np.array(k))[0], rel=1e-14)


@given(st.lists(st.floats(-9.0, 9.0), min_size=1, max_size=8))
def test_the_residual_is_a_spline_through_its_knots_on_top_relative_to_the_atm_vol(z):
    """Clamped, constant beyond the ends: what a subscriber in another language builds from the wire."""
    s = consistent()
    w0 = backbone(s, 0.0)
    spline = CubicSpline(RESIDUAL_KNOTS, s.residual, bc_type="clamped")
    k = np.array(z) * w0**0.5
    above = s.parameters.atm_vol * spline(np.clip(z, RESIDUAL_KNOTS[0], RESIDUAL_KNOTS[-1]))
    vol = (backbone(s, k) / s.tau) ** 0.5 + above
    np.testing.assert_allclose(s.total_variance(k), vol**2 * s.tau, rtol=1e-12)
    np.testing.assert_allclose(s.vol(s.forward.value * np.exp(k)), vol, rtol=1e-12)


def test_the_deviation_of_the_vol_is_interpolated_between_the_knots():
    s = consistent()
    z = np.array([-20.0, -8.0, -0.6, 0.0, 0.4, 9.0])
    strike = s.forward.value * np.exp(z * s.parameters.atm_vol * s.tau**0.5)
    np.testing.assert_allclose(s.sd_of_vol(strike), [0.017, 0.017, 0.0022, 0.001, 0.0018, 0.017], rtol=1e-9)
    assert s.sd_of_vol(60_000).shape == ()


@given(strikes)
def test_vol_squared_times_tau_is_total_variance_at_the_strikes_log_moneyness(strikes):
    s = smile()
    k = np.log(np.array(strikes) / s.forward.value)
    np.testing.assert_allclose(s.vol(np.array(strikes)) ** 2 * s.tau, s.total_variance(k), rtol=1e-13)


def test_a_vol_may_be_asked_for_at_one_strike_or_many_of_any_shape():
    s = smile()
    assert s.vol(60_000).shape == ()
    assert s.vol(np.full((2, 3), 60_000.0)).shape == (2, 3)
    assert (s.vol(np.full((2, 3), 60_000.0)) == float(s.vol(60_000))).all()


def test_at_the_forward_the_vol_is_that_of_no_moneyness():
    s = smile()
    assert float(s.vol(s.forward.value)) == (float(s.total_variance(0.0)) / s.tau) ** 0.5
