"""Bounds on what is published and on its speed."""

import numpy as np
from smiles import NOON, SECOND, smile

from kvd.calibrator.limits import bounds, in_force, reachable
from kvd.config import Limits

WAS = smile()  # ATM vol 0.5512, skew -0.0731, curvature 0.1213, published at NOON
MINUTE = 60 * SECOND


def test_there_is_none_by_default():
    assert not in_force(Limits()) and in_force(Limits(skew_per_min=0.1))
    low, high = bounds(Limits())
    assert low.tolist() == [0.0, -np.inf, 0.0] and high.tolist() == [np.inf] * 3
    for side, of in zip(reachable(Limits(), WAS, NOON), (low, high), strict=True):
        np.testing.assert_array_equal(side, of)


def test_the_skew_is_bounded_on_either_side():
    low, high = bounds(Limits(atm_vol_low=0.2, atm_vol_high=1.5, skew_amount=0.3, curvature_high=2.0))
    assert low.tolist() == [0.2, -0.3, 0.0] and high.tolist() == [1.5, 0.3, 2.0]


def test_a_speed_bounds_how_far_it_may_have_gone_since():
    speeds = Limits(atm_vol_per_min=0.02, skew_per_min=0.01, curvature_per_min=0.1)
    low, high = reachable(speeds, WAS, NOON + MINUTE // 2)
    np.testing.assert_allclose(low, [0.5412, -0.0781, 0.0713])
    np.testing.assert_allclose(high, [0.5612, -0.0681, 0.1713])
    for side in reachable(speeds, WAS, NOON):
        np.testing.assert_array_equal(side, WAS.parameters[:3])


def test_towards_a_bound_that_is_further_it_goes_as_far_as_it_may():
    low, high = reachable(Limits(atm_vol_high=0.4, atm_vol_per_min=0.01), WAS, NOON + MINUTE)
    np.testing.assert_allclose((low[0], high[0]), (0.5412, 0.5412))
    low, high = reachable(Limits(atm_vol_high=0.4, atm_vol_per_min=0.01), WAS, NOON + 60 * MINUTE)
    np.testing.assert_allclose((low[0], high[0]), (0.0, 0.4), atol=1e-12)
