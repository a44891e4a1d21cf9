import numpy as np
import pytest

from kvd.calibrator.young import REST_S, YOUNG_S, Young
from kvd.core import estimate, joint, smile
from kvd.core.dynamics import Dynamics
from kvd.core.estimate import Vols
from kvd.core.measurement import Measurement

M, D = Measurement(), Dynamics()
NOW_US = 1_700_000_000_000_000
TAU = np.array([9.0, 40.0]) / 365
EXPIRY_US = [int(NOW_US + tau * 365 * 86_400e6) for tau in TAU]
TRUE = np.array([[-0.2, -0.15, -1.0, 0.9, 0.1], [-0.3, -0.2, -1.2, 0.7, 0.4]])


def quotes(count=24, seed=1):
    rng = np.random.default_rng(seed)
    place = np.sort(rng.integers(0, 2, count))
    k = rng.uniform(-3, 3, count) * np.exp(TRUE[place, 0]) * np.sqrt(TAU[place])
    vol = smile.vol(TRUE, np.zeros((2, joint.M)), TAU, place, k) + 0.002 * rng.normal(size=count)
    return Vols(place, k, vol, np.full(count, 0.003**2), np.ones(count))


def begun():
    whole, young = joint.EMPTY, Young()
    for expiry_us in EXPIRY_US:
        whole = joint.admit(whole, expiry_us, NOW_US, D)
        young.begin(whole, expiry_us, NOW_US)
    return whole, young


def heard(whole, young, vols, one_by_one, now_us=NOW_US):
    parts = np.random.default_rng(2).permutation(len(vols.k))[:, None] if one_by_one else [np.arange(len(vols.k))]
    for n, rows in enumerate(parts):
        part = Vols(*(column[rows] for column in vols))
        whole, _ = estimate.update(whole, TAU, part, M)
        whole = young.settle(whole, TAU, part, now_us + n * int(REST_S * 1e6), (M, D))
    return whole


def test_a_young_slice_is_what_all_its_quotes_say_however_they_came():
    together, apart = (heard(*begun(), quotes(), one_by_one) for one_by_one in (False, True))
    sd = np.sqrt(np.diag(together.P)).reshape(2, -1)
    assert (np.abs(together.x - apart.x) < 0.1 * sd).all()  # Gauss-Newton ends where quotes can tell no more
    assert np.allclose(together.u, apart.u, rtol=0, atol=0.05) and np.allclose(together.V, apart.V, rtol=0, atol=0.01)
    assert np.allclose(np.sqrt(np.diag(together.P)), np.sqrt(np.diag(apart.P)), rtol=0.05)
    assert np.linalg.eigvalsh(apart.P).min() > 0


def test_without_it_the_order_of_quotes_bends_the_smile():
    whole, _ = begun()
    vols = quotes()
    together, _ = estimate.update(whole, TAU, vols, M)
    for row in np.random.default_rng(2).permutation(len(vols.k)):
        whole, _ = estimate.update(whole, TAU, Vols(*(column[[row]] for column in vols)), M)
    assert np.abs(whole.x - together.x).max() > 0.05


def test_what_was_heard_long_ago_counts_for_less():
    whole, young = begun()
    young.settle(*(whole, TAU, quotes(), NOW_US), (M, D))
    fresh = Vols(*(column[:1] for column in quotes(seed=3)))
    sds = []
    for later_us in (NOW_US, NOW_US + 120_000_000):
        whole, young = begun()
        heard(whole, young, quotes(), False)
        found = young.settle(whole, TAU, fresh, later_us, (M, D))
        sds.append(np.sqrt(found.P[0, 0]))
    assert sds[1] > 1.1 * sds[0]


@pytest.mark.parametrize("grown", [False, True])
def test_a_slice_that_has_grown_up_or_gone_is_left_alone(grown):
    whole, young = begun()
    whole = heard(whole, young, quotes(), False)
    more = quotes(seed=3)
    after, _ = estimate.update(whole, TAU, more, M)
    now_us = NOW_US + (int(YOUNG_S * 1e6) + 1 if grown else 0)
    if not grown:
        for expiry_us in EXPIRY_US:
            young.forget(expiry_us)
    assert young.settle(after, TAU, more, now_us, (M, D)) is after


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_mistyped_quote_among_the_first_is_overruled_by_the_others(seed):
    """Believed while the slice knew nothing, it would have the right ones doubted."""
    vols = quotes(seed=seed)
    wild = vols._replace(vol=vols.vol.copy())
    wild.vol[0] += 0.4
    own = int(vols.place[0])
    without, with_it = heard(*begun(), vols, True), heard(*begun(), wild, True)
    sd = np.sqrt(np.diag(without.P)).reshape(2, -1)[own]
    assert (np.abs(with_it.x - without.x)[own] < 0.5 * sd).all()


def test_quote_by_quote_it_would_have_stayed():
    vols, (whole, _) = quotes(seed=4), begun()
    without = heard(*begun(), vols, True)
    vols.vol[0] += 0.4
    own = int(vols.place[0])
    for row in np.random.default_rng(2).permutation(len(vols.k)):
        whole, _ = estimate.update(whole, TAU, Vols(*(column[[row]] for column in vols)), M)
    sd = np.sqrt(np.diag(without.P)).reshape(2, -1)[own]
    assert (np.abs(whole.x - without.x)[own] > 10 * sd).any()
