"""One underlying's book: what a batch is said to have done."""

import msgspec
import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, F, chain, instrument, quote, smile_vol

from kvd.calibrator.book import Book
from kvd.config import Settings
from kvd.quotes import Gap, held_out
from kvd.surface import BatchFacts

NEAR, FAR = NOW + 8 * DAY, NOW + 40 * DAY
HOLD_OUT = msgspec.convert({"calibrator": {"hold_out": True, "hold_out_seed": "seed"}}, Settings)


def book(settings=None):
    return Book("deribit", "BTC", settings or Settings())


def test_a_batch_counts_what_it_used_and_what_it_refused_by_reason():
    quotes = [*chain(NEAR), *chain(FAR)]
    quotes[0] = msgspec.structs.replace(quotes[0], bid=None)
    quotes += [msgspec.structs.replace(q, forward=None) for q in chain(NEAR + DAY)[:2]]
    gone = msgspec.structs.replace(quote(instrument(NOW + DAY, F)), instrument=instrument(NOW - DAY, F))
    update = book().step(NOW, [*quotes, gone])
    assert (update.venue, update.underlying, update.publish_us) == ("deribit", "BTC", NOW)
    facts = update.facts
    assert facts.refused == {"idle": 1, "no_forward": 2, "expired": 1}
    assert facts.quotes == facts.nis_dof == 17 and facts.nis > 0 and facts.inflated == {}
    assert [s.nis_dof for s in update.smiles] == [8, 9]
    assert sum(s.nis for s in update.smiles) == pytest.approx(facts.nis)


def test_a_wild_quote_is_inflated_not_refused():
    b = book()
    for i in range(5):
        b.step(NOW + i * 60 * SECOND, chain(NEAR, NOW + i * 60 * SECOND))
    at_us = NOW + 300 * SECOND
    quotes = chain(NEAR, at_us)
    quotes[4] = quote(quotes[4].instrument, at_us, lift=0.4)
    facts = b.step(at_us, quotes).facts
    assert facts.inflated == {"outlier": 1} and facts.refused == {} and facts.quotes == 9


def test_an_ask_alone_below_the_smile_bounds_it_and_is_counted_apart():
    """It moves the wing, and neither NIS nor coverage know of it; one that the smile keeps is idle."""
    b, at_us = book(), NOW + SECOND
    (before,) = b.step(NOW, chain(NEAR)).smiles
    strike = F * np.exp(-3.5 * 0.6 * np.sqrt(8 / 365))
    lift = float(before.vol(strike)) - 0.05 - smile_vol(np.log(strike / F), 8 / 365)
    ask = msgspec.structs.replace(quote(instrument(NEAR, strike), at_us, lift=lift), bid=None)
    update = b.step(at_us, [ask])
    assert update.facts == BatchFacts(0, {}, {}, 0.0, 0, one_sided=1)
    after = {s.expiry_us: s for s in b.step(at_us + 1, chain(NEAR, at_us + 1)).smiles}[NEAR]
    assert after.vol(strike) < before.vol(strike) - 0.002
    kept = msgspec.structs.replace(ask, ask=ask.ask + 0.01, exchange_us=at_us + 2)
    assert b.step(at_us + 2, [kept]).facts == BatchFacts(0, {"idle": 1}, {}, 0.0, 0)


def test_nothing_of_use_is_nothing_done():
    quotes = [msgspec.structs.replace(q, ask=None) for q in chain(NEAR)]
    update = book().step(NOW, quotes)
    assert update.smiles == () and update.facts == BatchFacts(0, {"one_sided": 9}, {}, 0.0, 0)


def test_forwards_that_parity_contradicts_are_counted():
    pair = [quote(instrument(NEAR, F, kind), half=0.001) for kind in ("call", "put")]
    b = book()
    facts = b.step(NOW, [*chain(NEAR), *chain(FAR), *pair]).facts
    assert (facts.forwards_outside_parity, facts.forwards_gated) == (0, 0)
    told = [msgspec.structs.replace(q, forward=1.02 * F) for q in pair]
    facts = b.step(NOW, told).facts
    assert (facts.forwards_outside_parity, facts.forwards_gated) == (1, 1)
    assert facts.refused == {"no_forward": 2}


def test_a_quote_without_a_forward_is_read_with_what_is_known():
    b = book()
    b.step(NOW, chain(NEAR))
    silent = [msgspec.structs.replace(q, forward=None) for q in chain(NEAR, NOW + SECOND)]
    facts = b.step(NOW + SECOND, silent).facts
    assert facts.quotes == 9 and facts.refused == {}


def test_a_forward_that_jumps_alone_does_not_bend_the_skew():
    """One source says 1 % more for a second, of unmoved prices; then for half an hour, and parity contradicts it."""

    def smiles(rogue):
        b, shown = book(), []
        for n in range(40):
            at_us = NOW + n * 45 * SECOND
            near = [quote(q.instrument, at_us) for q in [*chain(NEAR, NOW), *both_types(NEAR)]]
            told = [msgspec.structs.replace(q, forward=1.01 * F) if n in rogue else q for q in near]
            update = b.step(at_us, [*told, *chain(FAR, at_us)])
            shown += [s for s in update.smiles if s.expiry_us == NEAR]
        return shown

    plain, once, always = smiles(()), smiles({20}), smiles(range(20, 40))
    for one, other in ((plain, once), (plain, always)):
        for straight, bent in zip(one[19:], other[19:], strict=False):
            assert abs(bent.parameters.skew - straight.parameters.skew) < 0.25 * straight.sd.skew
        assert abs(other[-1].forward.value / F - 1) < 5e-4


def both_types(expiry_us):
    strikes = {q.instrument.strike for q in chain(expiry_us)}
    return [quote(instrument(expiry_us, strike, "put" if strike >= F else "call")) for strike in strikes]


@pytest.mark.parametrize("carry", [0.0005, 0.002])
def test_a_daily_of_which_the_venue_knows_the_index_alone_has_a_straight_smile(carry):
    """Quotes are made with the true forward F (1 + carry); the venue says F. Read with F, they bend the skew."""
    daily, true = NOW + 2 * DAY, F * (1 + carry)
    b, shown = book(), []
    for n in range(20):
        at_us = NOW + n * 10 * SECOND
        quotes = [quote(q.instrument, at_us, half=0.002, forward=true) for q in [*chain(daily), *both_types(daily)]]
        told = [msgspec.structs.replace(q, forward=F, forward_source="index_price") for q in quotes]
        shown += b.step(at_us, told).smiles
    last = shown[-1]
    assert abs(last.forward.value - true) < 2 * last.forward.sd and last.forward.source == "parity"
    assert last.forward.sd < 3e-4 * F
    expected = -0.3 * 0.8 / 2
    assert abs(last.parameters.skew - expected) < 3 * last.sd.skew
    assert abs(last.parameters.atm_vol - 0.6) < 3 * last.sd.atm_vol


def test_a_gap_multiplies_the_noise_of_the_next_prediction_only():
    """Covariances are compared where nothing is quoted but a far expiry, once and twice after the gap."""

    def widths(gap):
        b = book()
        long_ago = NOW - 200 * SECOND  # the slices are young no longer
        b.step(long_ago, [*chain(NEAR, long_ago), *chain(FAR, long_ago)])
        b.step(NOW, [*chain(NEAR), *chain(FAR)])
        b.step(NOW, [gap] if gap else [])
        return [
            {s.expiry_us: s.sd.atm_vol for s in b.step(at, chain(FAR, at, lift=0.005 * n)).smiles}[FAR]
            for n, at in ((1, NOW + 60 * SECOND), (2, NOW + 120 * SECOND))
        ]

    plain, gapped = widths(None), widths(Gap("deribit", NOW, "closed"))
    assert gapped[0] > plain[0]
    assert gapped[1] / plain[1] < gapped[0] / plain[0]


def test_a_book_holds_out_the_fifth_its_seed_chooses():
    quotes = chain(NEAR, strikes=25)
    fifth = {q.instrument.name for q in quotes if held_out("seed", q.instrument.name)}
    assert 1 <= len(fifth) <= 10
    facts = book(HOLD_OUT).step(NOW, quotes).facts
    assert facts.refused == {"held_out": len(fifth)} and facts.quotes == 25 - len(fifth)
    assert book().step(NOW, quotes).facts.refused == {}


def test_time_is_the_venues_newest_and_never_runs_back():
    b = book()
    b.step(NOW, chain(NEAR))
    late = msgspec.structs.replace(chain(FAR, NOW - SECOND)[4], receive_us=NOW + SECOND)
    update = b.step(NOW + SECOND, [late])
    (far,) = [s for s in update.smiles if s.expiry_us == FAR]
    assert far.tau == pytest.approx(40 / 365, rel=1e-12)
    assert (far.exchange_us, far.receive_us, far.publish_us) == (NOW, NOW + SECOND, NOW + SECOND)


def test_an_unquoted_expiry_is_published_when_its_neighbours_have_moved_it():
    b, at_us = book(), NOW + 100 * SECOND
    before = {s.expiry_us: s for s in b.step(NOW, [*chain(NEAR, half=0.002), *chain(FAR, half=0.002)]).smiles}
    near = {s.expiry_us: s for s in b.step(at_us, chain(FAR, at_us, half=0.002, atm=0.62)).smiles}[NEAR]
    assert (near.nis, near.nis_dof, near.exchange_us, near.state) == (None, 0, NOW, "live")
    assert near.parameters.atm_vol > before[NEAR].parameters.atm_vol


def test_settlement_freezes_a_smile_and_says_so():
    soon = NOW + 3600 * SECOND
    b = book()
    b.step(NOW, [*chain(soon), *chain(FAR)])
    at_us = soon - 1700 * SECOND
    update = b.step(at_us, [*chain(soon, at_us, atm=1.2), *chain(FAR, at_us)])
    assert update.facts.refused == {"settling": 9}
    settled = {s.expiry_us: s for s in update.smiles}[soon]
    assert (settled.state, settled.reason) == ("predicted", "settling")
    assert settled.parameters.atm_vol == pytest.approx(0.6, abs=0.05)
    assert np.isfinite(settled.covariance).all()
