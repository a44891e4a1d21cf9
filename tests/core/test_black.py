"""Black-76 against mpmath, published tables and Deribit's own vols."""

import itertools
import json

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kvd.config import Deribit
from kvd.core import black
from kvd.core.daycount import YEAR_US, year_fraction
from kvd.feeds.replay import replay
from kvd.quotes import Quote
from kvd.venues import deribit

MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
SIGN = {"call": 1.0, "put": -1.0}

forwards, moneyness = st.floats(0.01, 1e5), st.floats(-3.0, 3.0)
total_sds, signs = st.floats(0.005, 5.0), st.sampled_from([-1.0, 1.0])


def textbook(forward, strike, s, sign):
    """Black (1976) in forty digits."""
    with mpmath.workdps(40):
        forward, strike, s = map(mpmath.mpf, (forward, strike, s))
        d1 = mpmath.log(forward / strike) / s + s / 2
        return float(sign * (forward * mpmath.ncdf(sign * d1) - strike * mpmath.ncdf(sign * (d1 - s))))


@given(forwards, moneyness, total_sds, signs)
def test_price_is_the_textbooks(forward, k, s, sign):
    strike = forward * np.exp(k)
    expected = textbook(forward, strike, s, sign)
    assert black.price(forward, strike, s, sign) == pytest.approx(expected, rel=1e-12, abs=1e-14 * (forward + strike))


@given(forwards, moneyness, total_sds)
def test_a_call_less_a_put_is_forward_less_strike(forward, k, s):
    strike = forward * np.exp(k)
    parity = black.price(forward, strike, s, 1.0) - black.price(forward, strike, s, -1.0)
    assert parity == pytest.approx(forward - strike, abs=1e-13 * (forward + strike))


@given(forwards, moneyness, st.floats(1e-3, 3.0), st.floats(0.05, 3.0))
def test_vega_is_the_derivative_of_price(forward, k, tau, vol):
    strike, h = forward * np.exp(k), 1e-4 * vol
    with mpmath.workdps(40):
        up, down = (textbook_mp(forward, strike, (vol + d) * np.sqrt(tau)) for d in (h, -h))
        expected = float((up - down) / (2 * mpmath.mpf(h)))
    assert black.vega(forward, strike, tau, vol) == pytest.approx(expected, rel=1e-4, abs=1e-9 * forward)


@given(forwards, st.floats(-3.0, 3.0), st.floats(1e-2, 3.0), st.floats(0.1, 2.0), signs)
def test_partials_are_derivatives_of_the_textbooks_price(forward, z, tau, vol, sign):
    strike = forward * np.exp(z * vol * tau**0.5)
    got = black.partials(forward, strike, np.array(tau), np.array(vol), sign)
    with mpmath.workdps(40):

        def value(F, v, t):
            call = textbook_mp(F, strike, v * mpmath.sqrt(t))
            return call if sign > 0 else call - F + mpmath.mpf(strike)

        at = tuple(map(mpmath.mpf, (forward, vol, tau)))
        for name, orders in {
            "value": (0, 0, 0),
            "by_forward": (1, 0, 0),
            "by_forward2": (2, 0, 0),
            "by_vol": (0, 1, 0),
            "by_forward_vol": (1, 1, 0),
            "by_vol2": (0, 2, 0),
            "by_tau": (0, 0, 1),
        }.items():
            expected = float(mpmath.diff(value, at, orders))
            unit = forward ** (1 - orders[0]) * max(strike / forward, 1)
            assert getattr(got, name) == pytest.approx(expected, rel=1e-9, abs=1e-12 * unit), name


def test_quantile_inverts_the_normal_distribution():
    np.testing.assert_allclose(
        black.quantile(np.array([0.025, 0.5, 0.975])), [-1.959963984540054, 0, 1.959963984540054]
    )
    assert np.isnan(black.quantile(np.array([-0.1, 1.1]))).all()


def textbook_mp(forward, strike, s):
    forward, strike, s = map(mpmath.mpf, (forward, strike, s))
    d1 = mpmath.log(forward / strike) / s + s / 2
    return forward * mpmath.ncdf(d1) - strike * mpmath.ncdf(d1 - s)


@given(forwards, moneyness, st.floats(1e-3, 3.0), st.floats(0.05, 3.0), signs)
def test_implied_vol_inverts_an_out_of_the_money_price(forward, k, tau, vol, sign):
    strike = forward * np.exp(sign * abs(k))
    value = textbook(forward, strike, vol * np.sqrt(tau), sign)
    assume(value > 1e-200 * forward)
    assert black.implied_vol(np.array([value]), forward, strike, tau, sign)[0] == pytest.approx(vol, rel=1e-10)


@pytest.mark.parametrize(
    ("strike", "sign", "values"),
    [
        (80.0, 1.0, [20.0, 19.0, 100.0, 101.0, np.nan, np.inf]),
        (120.0, 1.0, [0.0, -1.0]),
        (120.0, -1.0, [20.0, 120.0]),
    ],
)
def test_a_price_that_no_vol_explains_has_none(strike, sign, values):
    """At or below intrinsic value, at or above the bound, or no number; the forward is 100."""
    assert np.isnan(black.implied_vol(np.array(values), 100.0, strike, 0.5, sign)).all()


def test_no_forward_no_vol():
    assert np.isnan(black.implied_vol(np.array([1.0]), np.nan, 100.0, 0.5, 1.0)).all()


@given(forwards, moneyness, signs)
def test_without_variance_a_price_is_intrinsic_value(forward, k, sign):
    strike = forward * np.exp(k)
    assert black.price(forward, strike, 0.0, sign) == max(sign * (forward - strike), 0.0)


def test_prices_broadcast():
    strikes, sds = np.array([80.0, 100.0, 125.0]), np.array([[0.1], [0.4]])
    got = black.price(100.0, strikes, sds, 1.0)
    expected = [[textbook(100, strike, sd, 1) for strike in strikes] for sd in sds[:, 0]]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_published_point():
    value = black.price(100.0, 100.0, 0.2 * np.sqrt(0.5), 1.0)
    assert value == pytest.approx(5.637197779701664, rel=1e-14)
    assert black.implied_vol(np.array([5.637197779701664]), 100.0, 100.0, 0.5, 1.0)[0] == pytest.approx(0.2, rel=1e-13)


def test_a_captured_ticker_of_deribit():
    """BTC-5JUN20-9250-C at 1590969652595: the mark price and vega that the venue sent with its mark vol."""
    tau = year_fraction(1_590_969_652_595_000, np.array([1_591_344_000_000_000]))
    value = black.price(9440.73, 9250.0, 0.6321 * np.sqrt(tau), 1.0)[0]
    assert value / 9440.73 == pytest.approx(0.03847784, abs=5e-7)
    assert value / 9440.73 == pytest.approx(0.038478, abs=5e-7)
    assert black.vega(9440.73, 9250.0, tau, 0.6321)[0] / 100 == pytest.approx(3.88498, abs=5e-6)


@pytest.mark.data
def test_the_table_of_vollib(market_data):
    table = json.loads((market_data / "reference" / "vollib_test_data.json").read_text())
    S, K, R, t, v, call, put, *rest = np.array(table["data"]).T
    vega = rest[table["columns"].index("CV") - 7]
    forward, discount = S * np.exp(R * t), np.exp(-R * t)
    # nine digits are printed, of prices as large as the strike
    np.testing.assert_allclose(discount * black.price(forward, K, v * np.sqrt(t), 1.0), call, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(discount * black.price(forward, K, v * np.sqrt(t), -1.0), put, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(discount * black.vega(forward, K, t, v), vega, rtol=2e-6, atol=1e-6)


@pytest.mark.data
def test_deribits_own_vols(market_data):
    """Their bid and ask vols, printed to a hundredth of a vol point, from their prices on their forward.

    Their clock lags by up to a minute, which shows in the shortest expiries.
    """
    events = replay(market_data / "tapes" / "deribit-btc-2023-04-12.ndjson.gz", deribit.Session(Deribit()))
    quotes = [q for q in itertools.islice(events, 8000) if isinstance(q, Quote)]
    sides = [(q, q.bid, q.bid_vol) for q in quotes] + [(q, q.ask, q.ask_vol) for q in quotes]
    rows = [
        (
            q.forward,
            q.instrument.strike,
            price,
            vol,
            q.instrument.expiry_us - q.exchange_us,
            SIGN[q.instrument.option_type],
        )
        for q, price, vol in sides
        if price is not None and vol is not None
    ]
    assert len(rows) > 8000
    forward, strike, price, expected, left_us, sign = np.array(rows).T
    error = 100 * np.abs(black.implied_vol(price * forward, forward, strike, left_us / YEAR_US, sign) - expected)
    lag = 100 * expected * (np.sqrt(1 + MINUTE_US / left_us) - 1)
    assert (error < 0.0051 + lag).all()
    assert error[left_us > 30 * DAY_US].max() < 0.0053
