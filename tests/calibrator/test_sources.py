"""Whom the level listens to: sources that agree, one that jumps alone, all that jump, one that stays apart."""

import math

import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND

from kvd.calibrator.sources import Said, Sources
from kvd.core import forward
from kvd.core.forward import ForwardFilter

NEAR, MIDDLE, FAR = NOW + 2 * DAY, NOW + 9 * DAY, NOW + 60 * DAY
SETTINGS = ForwardFilter(doubt_s=3.0, rebase_s=30.0)
PRICE = {None: 10.0, NEAR: 10.0002, MIDDLE: 10.001, FAR: 10.006}


def said(expiry_us, at_us=NOW, off=0.0):
    return Said(expiry_us, str(expiry_us), PRICE[expiry_us] + off, 1e-10, at_us)


def settled(*expiries):
    sources = Sources(SETTINGS)
    for n in range(10):
        at_us = NOW - (10 - n) * SECOND
        sources.hear([said(e, at_us) for e in expiries or (NEAR, MIDDLE, FAR)], at_us)
    return sources


def price(sources, expiry_us):
    return float(forward.prices(sources.level)[0][sources.places[expiry_us]])


def test_one_expirys_quote_carries_the_others_along():
    sources = settled()
    for tenths in range(5):
        at_us = NOW + tenths * SECOND // 10
        sources.hear([said(MIDDLE, at_us, off=5e-4)], at_us)
    for e in (NEAR, MIDDLE, FAR):
        assert price(sources, e) == pytest.approx(PRICE[e] + 5e-4, abs=5e-5)
    assert not sources.doubts and sources.gated == 0


def test_a_source_that_jumps_alone_is_not_heeded_and_counts():
    sources = settled()
    shifts = sources.hear([said(NEAR, off=0.01), said(FAR)], NOW)
    assert shifts == {} and sources.gated == 1 and list(sources.doubts) == [(NEAR, str(NEAR))]
    assert price(sources, NEAR) == pytest.approx(PRICE[NEAR], abs=2e-5)
    sources.hear([said(NEAR, NOW + SECOND)], NOW + SECOND)
    assert not sources.doubts


def test_another_source_that_moves_alike_confirms_a_jump():
    sources = settled()
    sources.hear([said(NEAR, off=0.01)], NOW)
    sources.hear([said(MIDDLE, NOW + SECOND, off=0.01)], NOW + SECOND)
    assert not sources.doubts
    assert price(sources, FAR) == pytest.approx(PRICE[FAR] + 0.01, abs=2e-4)


def test_a_source_that_nobody_else_speaks_beside_is_believed_after_a_while():
    sources = settled()
    for tenths in range(36):
        at_us = NOW + tenths * SECOND // 10
        sources.hear([said(NEAR, at_us, off=0.01)], at_us)
        believed = price(sources, NEAR) > PRICE[NEAR] + 0.005
        assert believed == (tenths / 10 > SETTINGS.doubt_s)
    assert not sources.doubts


def test_a_source_that_others_contradict_for_long_is_taken_up_anew():
    sources, shifts = settled(), {}
    for seconds in range(40):
        at_us = NOW + seconds * SECOND
        shifts |= sources.hear([said(NEAR, at_us, off=0.01), said(MIDDLE, at_us), said(FAR, at_us)], at_us)
        assert bool(shifts) == (seconds > SETTINGS.rebase_s)
    assert shifts == {NEAR: pytest.approx(0.01, abs=5e-5)}
    assert price(sources, NEAR) == pytest.approx(PRICE[NEAR] + 0.01, abs=2e-5)
    assert price(sources, FAR) == pytest.approx(PRICE[FAR], abs=2e-5)


def test_an_index_that_others_contradict_for_long_moves_only_its_followers():
    sources, shifts = Sources(SETTINGS), {}
    for seconds in range(-10, 40):
        at_us, off = NOW + seconds * SECOND, 0.01 if seconds >= 0 else 0.0
        words = [said(None, at_us, off), said(MIDDLE, at_us), said(FAR, at_us)]
        shifts |= sources.hear(words, at_us, following=[NEAR])
    assert shifts == {NEAR: pytest.approx(0.01, abs=5e-5)}
    assert price(sources, NEAR) == pytest.approx(10.01, abs=5e-5)
    assert price(sources, FAR) == pytest.approx(PRICE[FAR], abs=2e-5)


def test_a_better_source_replaces_the_index_and_the_price_moves_by_the_difference():
    sources = Sources(SETTINGS)
    sources.hear([said(None)], NOW, following=[NEAR])
    assert price(sources, NEAR) == 10.0 and sources.follows.tolist() == [True]
    shifts = sources.hear([said(NEAR)], NOW, replaced={NEAR})
    assert shifts == {NEAR: pytest.approx(2e-4, abs=1e-7)} and sources.follows.tolist() == [False]
    shifts = sources.hear([said(None)], NOW, following=[NEAR])
    assert shifts == {NEAR: pytest.approx(-2e-4, abs=1e-5)} and sources.follows.tolist() == [True]


def test_a_stale_word_counts_for_less():
    fresh, stale = settled(), settled()
    fresh.hear([said(NEAR, NOW, off=1e-4)], NOW)
    stale.hear([said(NEAR, NOW - 10 * SECOND, off=1e-4)], NOW)
    assert price(stale, NEAR) - PRICE[NEAR] < 0.6 * (price(fresh, NEAR) - PRICE[NEAR])


def test_an_expiry_is_forgotten_with_its_doubts():
    sources = settled()
    before = price(sources, FAR)
    sources.hear([said(NEAR, off=0.01), said(FAR)], NOW)
    sources.forget(NEAR)
    assert list(sources.places.items()) == [(MIDDLE, 0), (FAR, 1)] and not sources.doubts
    assert price(sources, FAR) == pytest.approx(before, abs=1e-5)
    sources.forget(NEAR)
    Sources(SETTINGS).forget(NEAR)


def test_nothing_said_is_nothing_known():
    sources = Sources(SETTINGS)
    assert sources.hear([], NOW) == {} and sources.level is None
    sources.hear([said(NEAR)], NOW)
    assert np.isfinite(sources.level.P).all() and math.isfinite(price(sources, NEAR))
