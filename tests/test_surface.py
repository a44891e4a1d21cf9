import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from smiles import smile

strikes = st.lists(st.floats(1_000.0, 1_000_000.0), min_size=1, max_size=8)


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=8))
def test_total_variance_is_raw_svi(k):
    s = smile()
    a, b, rho, m, sigma = s.raw
    expected = [a + b * (rho * (x - m) + ((x - m) ** 2 + sigma**2) ** 0.5) for x in k]
    np.testing.assert_allclose(s.total_variance(np.array(k)), expected, rtol=1e-13)
    assert float(s.total_variance(k[0])) == s.total_variance(np.array(k))[0]


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
