"""The measures of a replay, by their definitions, on quotes and smiles made by hand."""

import math
from math import log, sqrt

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, F, chain, instrument, quote, smile_vol
from smiles import FACTS, smile

from kvd.quality import (
    BUCKETS,
    Contest,
    Counted,
    LastValue,
    Ledger,
    Mark,
    Published,
    Quality,
    Refit,
    Tally,
    columns,
    count,
    tenor_bucket,
)
from kvd.quotes import held_out
from kvd.surface import RESIDUAL_KNOTS, RawSvi, SurfaceUpdate

EXPIRY = NOW + 30 * DAY
MINUTE = 60 * SECOND
OPTION = instrument(EXPIRY, 1.1 * F)
GOOD = quote(OPTION)
STRAIGHT = (0.0,) * len(RESIDUAL_KNOTS)  # no residual curve


def flat(vol, expiry_us=EXPIRY, state="live"):
    """A smile of one vol at every strike."""
    tau = (expiry_us - NOW) / (365 * DAY)
    return smile(expiry_us, tau=tau, raw=RawSvi(vol * vol * tau, 0.0, 0.0, 0.0, 0.1), residual=STRAIGHT, state=state)


def update(*smiles, withdrawn=(), facts=FACTS):
    return SurfaceUpdate("deribit", "BTC", NOW, smiles, withdrawn, facts)


def offered(of, bid_vol, ask_vol, at_us=NOW):
    return msgspec.structs.replace(quote(of, at_us), bid_vol=bid_vol, ask_vol=ask_vol)


def options(withheld, n):
    """The first n call options of the expiry that are, or are not, held out by the seed "0"."""
    found = (instrument(EXPIRY, F + i) for i in range(1000))
    return [o for o in found if held_out("0", o.name) == withheld][:n]


def test_a_quote_counts_at_the_log_moneyness_of_its_own_forward():
    got = count(msgspec.structs.replace(GOOD, forward=1.05 * F), False)
    of = OPTION.name, EXPIRY
    assert got == Counted(*of, log(1.1 / 1.05), GOOD.bid_vol, GOOD.ask_vol, GOOD.mark_vol, False, NOW)
    assert count(GOOD, True).held_out


NEARLY = EXPIRY - 3600 * SECOND
DOES_NOT_COUNT = {
    "no bid": msgspec.structs.replace(GOOD, bid=None),
    "no ask": msgspec.structs.replace(GOOD, ask=None),
    "no bid vol": msgspec.structs.replace(GOOD, bid_vol=None),
    "no ask vol": msgspec.structs.replace(GOOD, ask_vol=None),
    "no forward": msgspec.structs.replace(GOOD, forward=None),
    "in the money": quote(instrument(EXPIRY, 1.1 * F, "put")),
    "crossed": offered(OPTION, 0.61, 0.6),
    "half-spread of a quarter of the mid": offered(OPTION, 0.375, 0.625),
    "an hour to expiry": quote(OPTION, NEARLY),
}


@pytest.mark.parametrize("why", DOES_NOT_COUNT)
def test_what_does_not_count(why):
    assert count(DOES_NOT_COUNT[why], False) is None


def test_what_only_just_counts():
    assert count(offered(OPTION, 0.376, 0.624), False)
    assert count(quote(OPTION, NEARLY - 1), False)
    assert count(quote(instrument(EXPIRY, F, "put")), False) and count(quote(instrument(EXPIRY, F, "call")), False)


def counts(rows, expiry_us=EXPIRY):
    """Counted quotes at (k, bid, ask, held out), a second apart."""
    return columns([Counted(f"o{i}", expiry_us, k, bid, ask, 0.6, held, NOW + i) for i, (k, bid, ask, held) in
                    enumerate(rows)])  # fmt: skip


quotes = st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0), st.floats(0.0, 0.5))


@given(st.lists(st.lists(quotes, min_size=1, max_size=5), max_size=4))
def test_a_tally_is_a_sum_over_samples(samples):
    tally = Tally()
    for i, sample in enumerate(samples):
        model, mid, half = np.array(sample).T
        batch = counts([(0.0, m - h, m + h, False) for m, h in zip(mid, half, strict=True)])
        tally.add(model, batch, np.ones(len(model), dtype=bool), NOW + i * 1800 * SECOND)
    every = [(model, mid - half, mid + half) for sample in samples for model, mid, half in sample]
    assert tally.n == len(every)
    if not every:
        assert tally.inside_ratio is tally.rmse_vol is None and tally.measures() == {}
        return
    found = tally.measures("x_")
    share = sum(bid <= model <= ask for model, bid, ask in every) / len(every)
    errors = [abs(model - 0.5 * (bid + ask)) for model, bid, ask in every]
    assert tally.inside_ratio == found["x_inside"] == pytest.approx(share)
    assert tally.rmse_vol == found["x_rmse"] == pytest.approx(sqrt(sum(e * e for e in errors) / len(errors)))
    assert found["x_median"] == pytest.approx(np.median(errors)) and found["x_n"] == len(every)
    off = [sum((mid - half <= model <= mid + half) - share for model, mid, half in sample) for sample in samples]
    assert found["x_inside_se"] == pytest.approx(sqrt(sum(o * o for o in off)) / len(every), abs=1e-9)


def test_a_tally_tells_tenors_apart_and_leaves_out_who_has_no_opinion():
    tally, shown = Tally(), np.array([True, True, False])
    near = counts([(0.0, 0.5, 0.7, False)] * 3, NOW + 2 * DAY)
    tally.add(np.array([0.6, np.nan, 0.6]), near, shown, NOW)
    tally.add(np.array([0.8, 0.8, 0.8]), counts([(0.0, 0.5, 0.7, False)] * 3, NOW + 100 * DAY), shown, NOW)
    assert tally.n == 3
    assert [tally.measures("", bucket).get("n") for bucket in range(len(BUCKETS))] == [None, 1, None, None, 2]
    assert (tally.measures("", 1)["inside"], tally.measures("", 4)["inside"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("days", "bucket"), [(0.99, 0), (1.01, 1), (6.9, 1), (7.1, 2), (29, 2), (31, 3), (89, 3), (91, 4)]
)
def test_tenor_buckets(days, bucket):
    assert tenor_bucket(np.array([int(days * DAY)])).tolist() == [bucket]


def test_every_minute_the_newest_quotes_are_held_against_the_smile_of_that_moment():
    a, b, c = options(False, 3)
    (hidden,) = options(True, 1)
    quality = Quality("0")
    quality.hear([offered(a, 0.5, 0.7), offered(b, 0.5, 0.7), offered(hidden, 0.7, 0.8)], NOW)
    quality.see(update(flat(0.65)))
    quality.hear([offered(b, 0.4, 0.5, NOW + SECOND)], NOW + SECOND)
    assert "inside" not in quality.report()
    quality.hear([offered(c, 0.6, 0.7, NOW + MINUTE + 1)], NOW + MINUTE + 1)
    # one sample: a inside, b's newest outside, c not yet quoted
    report = quality.report()
    assert (report["quotes"], report["inside"], report["heldout_quotes"], report["heldout_inside"]) == (2, 0.5, 1, 0.0)
    assert report["rmse_vol"] == pytest.approx(sqrt((0.05**2 + 0.2**2) / 2))
    assert report["heldout_rmse_vol"] == pytest.approx(0.1)
    quality.see(update(flat(0.45)))
    quality.hear([], NOW + 2 * MINUTE + 1)
    report = quality.report()
    assert (report["quotes"], report["inside"]) == (5, pytest.approx(2 / 5))


def test_a_quote_is_forgotten_after_three_minutes_and_so_is_a_withdrawn_smile():
    (a,) = options(False, 1)
    other = instrument(EXPIRY + DAY, 1.01 * F)
    assert not held_out("0", other.name)
    quality = Quality("0")
    quality.see(update(flat(0.6), flat(0.6, EXPIRY + DAY)))
    quality.hear([offered(a, 0.5, 0.7), offered(other, 0.5, 0.7, NOW + MINUTE)], NOW)
    quality.hear([], NOW + 3 * MINUTE + 1)
    assert quality.report()["quotes"] == 3 + 3
    quality.hear([], NOW + 4 * MINUTE + 1)
    assert quality.report()["quotes"] == 3 + 4
    quality.see(update(withdrawn=(EXPIRY + DAY,)))
    quality.hear([], NOW + 5 * MINUTE + 1)
    assert quality.report()["quotes"] == 3 + 4


def test_what_was_published_is_counted():
    quality = Quality("0")
    assert quality.report() == {"quotes": 0, "heldout_quotes": 0, "nis_dof": 0, "smiles_published": 0, "diverged": 0}
    quality.see(update(flat(0.6), flat(0.6, EXPIRY + DAY, state="held"), facts=FACTS._replace(nis=30.0, nis_dof=20)))
    quality.see(update(flat(0.6), flat(0.6, EXPIRY + DAY), facts=FACTS._replace(nis=6.0, nis_dof=10)))
    report = quality.report()
    assert (report["smiles_published"], report["held_ratio"]) == (4, 0.25)
    assert (report["nis_dof"], report["nis_mean"]) == (30, pytest.approx(1.2))


@pytest.mark.parametrize(("outside", "diverged"), [(2, 0), (3, 1), (5, 1)])
def test_a_smile_outside_most_of_five_quotes_has_diverged(outside, diverged):
    quality = Quality("0")
    quality.see(update(flat(0.6)))
    bounds = [(0.65, 0.7)] * outside + [(0.5, 0.7)] * (5 - outside)
    quality.hear([offered(o, *b) for o, b in zip(options(False, 5), bounds, strict=True)], NOW)
    quality.hear([], NOW + MINUTE + 1)
    assert quality.report()["diverged"] == diverged
    assert math.isclose(quality.report()["inside"], 1 - outside / 5)


def test_a_smile_that_encloses_its_own_chain_is_inside():
    quality = Quality("0")
    tau = (EXPIRY - NOW) / (365 * DAY)
    theta, eta, rho = 0.36 * tau, 0.8, -0.3  # SSVI as raw SVI (Gatheral and Jacquier 2014, equation 4.1)
    phi = eta / sqrt(theta)
    raw = RawSvi(theta / 2 * (1 - rho * rho), theta / 2 * phi, rho, -rho / phi, sqrt(1 - rho * rho) / phi)
    quality.see(update(smile(EXPIRY, tau=tau, raw=raw, residual=STRAIGHT)))
    quality.hear(chain(EXPIRY, strikes=21), NOW)
    quality.hear([], NOW + MINUTE + 1)
    report = quality.report()
    assert report["inside"] == report["heldout_inside"] == 1.0
    assert report["rmse_vol"] < 1e-9 and report["quotes"] + report["heldout_quotes"] == 21


# The contenders


def never(_):
    return False


def contested(**contenders):
    return Contest(lambda name: held_out("0", name), contenders)


def test_a_quote_is_predicted_by_what_was_said_before_it_came():
    (a,), (hidden,) = options(False, 1), options(True, 1)
    published = Published()
    contest = contested(kvd=published, mark=Mark(), last_value=LastValue())
    contest.hear([offered(a, 0.5, 0.6)], NOW)  # nobody but the mark (0.6 or so) has an opinion yet
    published.see(update(flat(0.65)))
    contest.hear([offered(a, 0.6, 0.7, NOW + SECOND), offered(hidden, 0.8, 0.9, NOW + SECOND)], NOW + SECOND)
    contest.hear([offered(a, 0.7, 0.74, NOW + 2 * SECOND)], NOW + 2 * SECOND)
    kvd, last, mark = (contest.measures(name) for name in ("kvd", "last_value", "mark"))
    assert (kvd["predictive_n"], kvd["predictive_inside"]) == (2, 0.5)
    assert kvd["predictive_rmse"] == pytest.approx(0.07 / sqrt(2)) and kvd["predictive_median"] == pytest.approx(0.035)
    assert (kvd["heldout_predictive_n"], kvd["heldout_predictive_inside"]) == (1, 0.0)
    assert (last["predictive_n"], last["predictive_inside"]) == (2, 0.0)
    assert last["predictive_median"] == pytest.approx((0.1 + 0.07) / 2)
    assert mark["predictive_n"] == 3 and "heldout_predictive_n" in mark
    assert list(kvd["by_tenor"]) == ["7 to 30 days"]


def test_the_last_value_has_no_opinion_on_itself():
    (a,) = options(False, 1)
    contest = contested(last_value=LastValue(), mark=Mark())
    contest.hear([offered(a, 0.5, 0.7)], NOW)
    contest.hear([], NOW + MINUTE + 1)
    assert contest.measures("last_value") == {"by_tenor": {}}
    assert (contest.measures("mark")["n"], contest.measures("mark")["inside"]) == (1, 1.0)


def test_the_refit_finds_the_smile_of_its_quotes_and_keeps_it():
    clock = iter(range(100))
    refit = Refit(never, lambda: next(clock))
    wide = chain(EXPIRY, strikes=21, half=0.002)
    refit.hear(wide, [])
    refit.minute(NOW + MINUTE)
    assert (refit.fitted, refit.spent_s) == (1, 1)
    k = np.linspace(-0.2, 0.2, 9)
    asked = counts([(x, 0.1, 0.9, False) for x in k])
    truth = [smile_vol(x, (EXPIRY - NOW) / (365 * DAY)) for x in k]
    assert refit.vols(asked) == pytest.approx(truth, abs=5e-4)
    refit.minute(NOW + 4 * MINUTE)  # its quotes are too old by now: the last fit stays
    assert refit.fitted == 1 and refit.vols(asked) == pytest.approx(truth, abs=5e-4)
    assert np.isnan(refit.vols(counts([(0.0, 0.1, 0.9, False)], EXPIRY + DAY))).all()


def test_the_refit_is_shown_what_the_filter_is_shown():
    good = chain(EXPIRY, strikes=5)
    for spoilt in (
        msgspec.structs.replace(good[0], bid=None),
        offered(good[0].instrument, 0.2, 0.9),
        quote(instrument(EXPIRY, 0.8 * F, "call")),
    ):
        refit = Refit(never, lambda: 0.0)
        refit.hear([spoilt, *good[1:]], [])
        refit.minute(NOW + 1)
        assert refit.fitted == 0
    hidden = Refit(lambda name: name == good[2].instrument.name, lambda: 0.0)
    hidden.hear(good, [])
    hidden.minute(NOW + 1)
    assert hidden.fitted == 0
    shown = Refit(never, lambda: 0.0)
    shown.hear(good, [])
    shown.minute(NOW + 1)
    assert shown.fitted == 1


def test_the_ledger_adds_up_what_updates_say_of_themselves():
    ledger = Ledger()
    facts = FACTS._replace(
        nis=12.0, nis_dof=10, coverage={1: (10, 5, 9, 10), 4: (2, 1, 1, 2)}, nis_by_tenor={1: (11.0, 8), 4: (1.0, 2)}
    )
    ledger.see(update(flat(0.6), flat(0.6, EXPIRY + DAY, state="held"), facts=facts))
    ledger.see(update(flat(0.6)._replace(nis=None, nis_dof=0), facts=facts))
    told = ledger.measures()
    assert told["coverage"] == {"50": 12 / 24, "90": 20 / 24, "95": 1.0}
    assert told["coverage_by_tenor"] == {
        "1 to 7 days": {"n": 20, "50": 0.5, "90": 0.9, "95": 1.0},
        "over 90 days": {"n": 4, "50": 0.5, "90": 0.5, "95": 1.0},
    }
    assert told["nis_by_tenor"] == {"1 to 7 days": 11 / 8, "over 90 days": 0.5} and told["nis_mean"] == 1.2
    assert (told["smiles_published"], told["held_ratio"], told["states"]) == (3, 1 / 3, {"live": 2, "held": 1})
    assert ledger.touched == 2
