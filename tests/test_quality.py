"""The measures of a replay, by their definitions, on quotes and smiles made by hand."""

import math
from math import log, sqrt

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, F, chain, instrument, quote
from smiles import FACTS, smile

from kvd.quality import Counted, Quality, Tally, count
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
    assert got == Counted(EXPIRY, log(1.1 / 1.05), GOOD.bid_vol, GOOD.ask_vol, False, NOW)
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


quotes = st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0), st.floats(0.0, 0.5))


@given(st.lists(st.lists(quotes, max_size=5), max_size=4))
def test_a_tally_is_a_sum_over_samples(samples):
    tally = Tally()
    for sample in samples:
        model, mid, half = np.array(sample).reshape(-1, 3).T
        tally.add(model, mid - half, mid + half)
    every = [q for sample in samples for q in sample]
    assert tally.n == len(every)
    if every:
        assert tally.inside_ratio == sum(mid - half <= model <= mid + half for model, mid, half in every) / len(every)
        squares = sum((model - 0.5 * ((mid - half) + (mid + half))) ** 2 for model, mid, half in every)
        assert tally.rmse_vol == pytest.approx(sqrt(squares / len(every)))
    else:
        assert tally.inside_ratio is tally.rmse_vol is None


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
