"""The record of a slice against plain weighted sums, and against innovations whose law is known."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.core.whiteness import LARGEST, Sums, Watch, absorbed, judged

W = Watch(memory=200.0, least=100.0, nis_above=2.0, coverage_below=0.75, whiteness_above=0.33, whiteness_sds=4.0)
BANDS = np.array([NormalDist().inv_cdf(0.5 + q / 200) for q in (50, 90, 95)])
normal = st.floats(-6, 6)
batches = st.lists(st.tuples(st.lists(normal, min_size=1, max_size=5), normal), min_size=1, max_size=12)


def remembered(z, levels, memory=W.memory, sums=None):
    """The sums after batches of independent innovations `z`, in standard deviations, and their level innovations."""
    sums = sums or Sums()
    for own, level in zip(map(np.atleast_1d, z), levels, strict=True):
        inside = (np.abs(own)[:, None] < BANDS).sum(axis=0).tolist()
        sums = absorbed(sums, float(own @ own), len(own), inside, float(level), memory)
    return sums


@given(batches)
def test_a_record_is_made_of_sums_that_fade(drawn):
    memory = 7.0
    record, _ = judged(remembered(*zip(*drawn, strict=True), memory=memory), "", W)
    n = np.array([len(z) for z, _ in drawn])
    fade = np.exp(-(n.sum() - np.cumsum(n)) / memory)
    z = [np.array(z) for z, _ in drawn]
    assert record.quotes == pytest.approx(fade @ n)
    assert record.nis == pytest.approx(fade @ [min(e @ e, 9 * len(e)) for e in z] / (fade @ n))
    for share, band in zip(record.coverage, BANDS, strict=True):
        assert share == pytest.approx(fade @ [(np.abs(e) < band).sum() for e in z] / (fade @ n))
    a, weight = np.clip([level for _, level in drawn], -3, 3), np.exp(-np.arange(len(drawn))[::-1] / memory)
    assert record.common == pytest.approx(weight @ a**2 / weight.sum(), abs=1e-12)
    assert record.batches == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    if (a**2).sum() > 1e-6:
        assert record.whiteness == pytest.approx(weight[1:] @ (a[1:] * a[:-1]) / (weight @ a**2), abs=1e-12)


def test_white_innovations_of_the_right_size_are_never_doubted():
    """Over four hundred records: the figures are what they should be, and whiteness sqrt(batches) standard normal."""
    rng = np.random.default_rng(5)
    records = []
    for _ in range(400):
        record, doubt = judged(remembered(rng.normal(size=(300, 3)), rng.normal(size=300)), "", W)
        assert doubt == "" and record.widened_by == 1
        records.append(record)
    assert np.mean([r.nis for r in records]) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(np.mean([r.coverage for r in records], axis=0), (0.5, 0.9, 0.95), atol=0.01)
    assert np.mean([r.common for r in records]) == pytest.approx(1, abs=0.02)
    z = [r.whiteness * np.sqrt(r.batches) for r in records]
    assert np.mean(z) == pytest.approx(0, abs=0.15) and np.std(z) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("r", [0.6, -0.6])
def test_innovations_that_foretell_each_other_are_found_and_widen_as_an_ar1_asks(r):
    rng = np.random.default_rng(6)
    a = [0.0]
    for shock in rng.normal(size=2000) * np.sqrt(1 - r * r):
        a.append(r * a[-1] + shock)
    record, doubt = judged(remembered(rng.normal(size=2001), a), "", W)
    assert doubt == "whiteness" and record.whiteness == pytest.approx(r, abs=0.12)
    lag = abs(record.whiteness)
    assert record.widened_by == pytest.approx(((1 + lag) / (1 - lag)) ** 0.5)


def test_innovations_twice_as_large_as_predicted_widen_until_the_figure_is_right():
    rng = np.random.default_rng(7)
    record, doubt = judged(remembered(1.6 * rng.normal(size=3000), rng.normal(size=3000)), "", W)
    assert doubt == "nis" and record.widened_by == pytest.approx(1.6, rel=0.1)


def test_a_band_that_holds_too_few_is_widened_until_it_would_hold_nine_in_ten():
    """A third of the innovations at 1.7 standard deviations, the others small: NIS is below one."""
    z = np.tile([1.7, 0.1, 0.1], 200)
    record, doubt = judged(remembered(z, np.tile([1.0, -1.0, 1.0, 1.0], 150)), "", W)
    assert doubt == "coverage" and record.nis < 1.2
    assert record.coverage[1] == pytest.approx(2 / 3, abs=0.01)
    held = NormalDist().cdf(1.6449 / record.widened_by)
    assert 2 * held - 1 == pytest.approx(record.coverage[1], abs=1e-4)


def test_one_outlier_is_no_doubt_and_nothing_widens_more_than_threefold():
    rng = np.random.default_rng(8)
    z = rng.normal(size=400)
    z[-5], levels = 1000.0, rng.normal(size=400)
    levels[-5] = 1000.0
    assert judged(remembered(z, levels), "", W)[1] == ""
    record, doubt = judged(remembered(np.full(400, 50.0), np.full(400, 50.0)), "", W)
    assert doubt == "nis" and record.widened_by == LARGEST and record.nis == pytest.approx(9)


def test_a_short_record_says_nothing():
    z = np.full(95, 3.0)
    assert judged(remembered(z, z), "", W)[1] == ""
    assert judged(remembered(np.full(400, 3.0), np.full(400, 3.0)), "", W)[1] == "nis"


def test_a_doubt_ends_a_quarter_of_the_way_back():
    def doubts(nis, before):
        """A long record of that NIS, two quotes a batch, levels as they should be."""
        z = np.sqrt(nis) * np.ones((400, 2))
        sums = remembered(z, np.tile([1.0, 1.0, -1.0, -1.0], 100))._replace(inside_90=180.0)
        return judged(sums, before, W)[1]

    assert doubts(2.05, "") == "nis" and doubts(1.9, "") == ""
    assert doubts(1.9, "nis") == "nis" and doubts(1.9, "whiteness") == "nis"
    assert doubts(1.7, "nis") == ""
