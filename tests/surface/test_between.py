"""Vols, forwards and greeks at any expiry, and tenors, against what the listed smiles say on either side."""

import bisect

import numpy as np
import pytest
from drawn_smiles import drawn, moved, perturbed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm
from smiles import DAY, NOON

from kvd.core import black
from kvd.surface import Greeks, Surface

LISTED_D = (0.8, 6.0, 21.0, 45.0, 120.0, 200.0)
seeds, any_days = st.integers(0, 10**6), st.floats(0.05, 199.0)


def surface(seed, days=LISTED_D):
    """Smiles of one shape, their ATM variance rising, and so free of calendar arbitrage; each with its own forward."""
    shape = drawn(seed)
    smiles = []
    for i, each in enumerate(drawn(seed + i, day) for i, day in enumerate(days)):
        F, level = shape.forward.value * (1 + 0.01 * i), shape.parameters.atm_vol * (1 - 0.02 * i)
        there = moved(shape, F, level, each.tau)
        smiles.append(there._replace(expiry_us=each.expiry_us, vol_sd=each.vol_sd, vol_root=each.vol_root))
    return Surface("deribit", "BTC", tuple(smiles))


def at(days):
    return NOON + round(days * DAY)


def neighbours(s, expiry_us):
    """The listed smiles around an instant, and how far it lies between them; None before the first."""
    i = bisect.bisect_left([smile.expiry_us for smile in s.smiles], expiry_us)
    right = s.smiles[i]
    if i == 0:
        return None, right, (expiry_us - NOON) / (right.expiry_us - NOON)
    left = s.smiles[i - 1]
    return left, right, (expiry_us - left.expiry_us) / (right.expiry_us - left.expiry_us)


@given(seeds, any_days, st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=6).map(np.array))
def test_total_variance_is_linear_in_time_at_equal_moneyness_and_so_is_the_log_of_the_forward(seed, days, k):
    s = surface(seed)
    left, right, share = neighbours(s, at(days))
    w = share * right.total_variance(k) + ((1 - share) * left.total_variance(k) if left else 0.0)
    F = left.forward.value ** (1 - share) * right.forward.value**share if left else right.forward.value
    got = s.forward(at(days))
    assert got.value == pytest.approx(F, rel=1e-12)
    assert got.source == ("interpolated" if share < 1 else right.forward.source)
    np.testing.assert_allclose(s.vol(F * np.exp(k), at(days)), np.sqrt(w / (days / 365)), rtol=1e-9)


def test_at_a_listed_expiry_a_surface_is_its_smile():
    s, strikes = surface(2), np.array([[20_000.0, 50_000.0], [60_000.0, 1e5]])
    for smile in s.smiles:
        assert s.smile(smile.expiry_us) is smile
        assert s.forward(smile.expiry_us) == smile.forward
        np.testing.assert_allclose(s.vol(strikes, smile.expiry_us), smile.vol(strikes), rtol=1e-12)
        for got, expected in zip(s.greeks(strikes, smile.expiry_us, "put"), smile.greeks(strikes, "put"), strict=True):
            np.testing.assert_array_equal(got, expected)


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_there_is_no_calendar_arbitrage_at_any_instant(seed):
    s, k = surface(seed), np.linspace(-1.5, 1.5, 61)
    days = np.unique(np.concatenate((np.geomspace(0.02, 200.0, 300), LISTED_D)))
    w = [s.vol(s.forward(at(day)).value * np.exp(k), at(day)) ** 2 * (at(day) - NOON) / (365 * DAY) for day in days]
    assert np.diff(w, axis=0).min() > -1e-12


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_tenors_have_no_calendar_arbitrage(seed):
    tenors = surface(seed).tenors(np.geomspace(0.5, 200.0, 200).tolist())
    assert len(tenors) == 200
    assert np.diff([tenor.atm_vol**2 * tenor.days for tenor in tenors]).min() > 0


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.2, 199.0))
def test_a_tenor_is_what_the_vols_of_its_expiry_say(seed, days):
    s = surface(seed)
    (tenor,) = s.tenors([days])
    F, tau = s.forward(tenor.expiry_us).value, (tenor.expiry_us - NOON) / (365 * DAY)

    def vol(k):
        return float(s.vol(F * np.exp(k), tenor.expiry_us))

    def point(sign):
        d1 = sign * norm.ppf(0.25)
        v = vol(0.0) * tau**0.5
        return vol(brentq(lambda k: -k / (vol(k) * tau**0.5) + vol(k) * tau**0.5 / 2 - d1, -4 * v, 4 * v, xtol=1e-15))

    h = 1e-4 * vol(0.0) * tau**0.5
    assert (tenor.days, tenor.expiry_us) == (days, at(days))
    assert tenor.forward == pytest.approx(F, rel=1e-14)
    assert tenor.atm_vol == pytest.approx(vol(0.0), rel=1e-12)
    assert tenor.skew == pytest.approx((vol(h) - vol(-h)) / (2 * h) * tau**0.5, abs=1e-7)
    assert tenor.rr25 == pytest.approx(point(1) - point(-1), abs=1e-10)
    assert tenor.bf25 == pytest.approx((point(1) + point(-1)) / 2 - vol(0.0), abs=1e-10)


def test_a_tenor_that_is_listed_is_its_smile():
    s = surface(9)
    for smile, tenor in zip(s.smiles, s.tenors(LISTED_D), strict=True):
        points = smile.delta_points()
        assert tenor.atm_vol == pytest.approx(smile.parameters.atm_vol, rel=1e-12)
        assert tenor.skew == pytest.approx(smile.parameters.skew, rel=1e-9)
        assert (tenor.rr25, tenor.bf25) == pytest.approx((points.rr25, points.bf25), abs=1e-11)
        assert (tenor.rr25_sd, tenor.bf25_sd) == pytest.approx((points.rr25_sd, points.bf25_sd), rel=1e-4)


@settings(max_examples=6, deadline=None)
@given(seeds, st.floats(0.2, 199.0))
def test_standard_deviations_of_tenors_and_vols_are_what_each_uncertainty_does(seed, days):
    """Of one expiry at a time; but what is wrong with the forwards is wrong with both of them."""
    s = surface(seed)
    small = [e._replace(vol_sd=tuple(1e-3 * np.array(e.vol_sd)), forward=e.forward._replace(sd=1.0)) for e in s.smiles]
    s = s._replace(smiles=tuple(small))
    strike = s.forward(at(days)).value * np.exp(np.array([-0.2, 0.1]) * (days / 365) ** 0.5)
    (tenor,) = s.tenors([days])
    ups, downs = [], []
    for i, smile in enumerate(s.smiles):
        if any(smile is one for one in neighbours(s, at(days))):
            for pair in perturbed(smile)[:-1]:
                up, down = (s._replace(smiles=(*s.smiles[:i], one, *s.smiles[i + 1 :])) for one in pair)
                ups.append((up.tenors([days])[0], up.vol(strike, at(days))))
                downs.append((down.tenors([days])[0], down.vol(strike, at(days))))

    def sd(read):
        return np.linalg.norm([(read(up) - read(down)) / 2 for up, down in zip(ups, downs, strict=True)], axis=0)

    for name in ("atm_vol", "skew", "rr25", "bf25"):
        expected = sd(lambda one, name=name: getattr(one[0], name))
        assert getattr(tenor, f"{name}_sd") == pytest.approx(expected, rel=2e-4), name
    np.testing.assert_allclose(s.sd_of_vol(strike, at(days)), sd(lambda one: one[1]), rtol=1e-4)
    left, right, share = neighbours(s, at(days))
    relative = [0.0 if e is None else e.forward.sd / e.forward.value for e in (left, right)]
    expected = tenor.forward * ((1 - share) * relative[0] + share * relative[1] if left else relative[1])
    assert tenor.forward_sd == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(0.5, 199.0), st.sampled_from([0.0, 1.0]))
def test_greeks_between_expiries_move_the_interpolated_smile(seed, days, ssr):
    s = surface(seed)
    F, tau = s.forward(at(days)).value, days / 365
    a = float(s.vol(F, at(days)))
    K = F * np.exp(np.array([-1.05, -0.45, 0.45, 1.05]) * a * tau**0.5)
    (tenor,) = s.tenors([days])
    e, h = ssr * tenor.skew / (a * tau**0.5), 1e-3 * tau**0.5

    def worth(x, eta):
        level = (a + eta) * (1 + x) ** e
        z = np.log(K / (F * (1 + x))) / (level * tau**0.5)
        vol = level / a * s.vol(F * np.exp(z * a * tau**0.5), at(days))
        return black.price(F * (1 + x), K, vol * tau**0.5, 1.0)

    got = s.greeks(K, at(days), "call", ssr=ssr)
    np.testing.assert_allclose(got.price, worth(0, 0), rtol=1e-10)
    np.testing.assert_allclose(got.delta, (worth(h, 0) - worth(-h, 0)) / (2 * h * F), rtol=1e-3)
    np.testing.assert_allclose(got.vega, (worth(0, 1e-5) - worth(0, -1e-5)) / 2e-3, rtol=1e-6)
    put = s.black_greeks(K, at(days), "put")
    np.testing.assert_allclose(put.price, black.price(F, K, s.vol(K, at(days)) * tau**0.5, -1.0), rtol=1e-10)


def test_the_smiles_own_stickiness_is_the_newest_ones():
    s = surface(1)
    regime = s.smiles[2].regime._replace(ssr=1.75, ssr_sd=0.0)
    newest = s.smiles[2]._replace(regime=regime, publish_us=NOON + 1)
    s = s._replace(smiles=(*s.smiles[:2], newest, *s.smiles[3:]))
    own, given = s.greeks(50_000.0, at(30), "call"), s.greeks(50_000.0, at(30), "call", ssr=1.75)
    for name in Greeks._fields:
        assert float(getattr(own, name)) == float(getattr(given, name))


def test_smiles_of_different_instants_are_brought_to_the_newest():
    """Each keeps its vol at equal moneyness; what it was quoted to is what it is."""
    s = surface(4)
    older = s.smiles[3]._replace(tau=s.smiles[3].tau + 1 / 365 / 24)
    mixed = s._replace(smiles=(*s.smiles[:3], older, *s.smiles[4:]))
    assert mixed.instant_us == s.instant_us == NOON
    assert float(mixed.vol(60_000.0, older.expiry_us)) == pytest.approx(float(older.vol(60_000.0)), rel=1e-14)
    (tenor,) = mixed.tenors([45.0])
    assert tenor.atm_vol == pytest.approx(float(older.vol(older.forward.value)), rel=1e-12)


def test_a_smile_that_has_expired_is_no_neighbour():
    s = surface(4)
    gone = s.smiles[0]._replace(expiry_us=NOON - 1)
    late = s._replace(smiles=(gone, *s.smiles[1:]))
    first = s.smiles[1]
    strike = first.forward.value * np.exp(0.05)
    assert float(late.vol(strike, at(1))) == pytest.approx(float(first.vol(strike)), rel=1e-12)


def test_beyond_the_last_expiry_and_before_now_nothing_is_said():
    s = surface(0)
    for us in (at(201), at(0), NOON - 1):
        with pytest.raises(
            ValueError, match="ask for an expiry after 2026-07-02T12:00Z and not after 2027-01-18T12:00Z"
        ):
            s.vol(50_000.0, us)
    assert [tenor.days for tenor in s.tenors()] == [7, 30, 60, 90, 180]
    assert [tenor.days for tenor in s.tenors((400.0, 20.0, 201.0))] == [20.0]
    assert s.tenors((201,)) == ()
    assert s.variance_index(201) is None
    with pytest.raises(LookupError, match=r"2026-07-02T12:00Z: there are 2026-07-03T07:12Z, 2026-07-08"):
        s.smile(NOON)


def test_an_empty_surface_says_nothing():
    s = Surface("deribit", "BTC", ())
    assert s.tenors() == () and s.variance_index() is None
    with pytest.raises(ValueError, match="there is no smile yet"):
        s.vol(1.0, NOON)
