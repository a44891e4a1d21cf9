"""One underlying's book: what a batch is said to have done."""

import msgspec
import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, F, chain, instrument, quote

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
    quotes[1] = msgspec.structs.replace(quotes[1], forward=None)
    quotes[2] = msgspec.structs.replace(quotes[2], forward=None)
    gone = msgspec.structs.replace(quote(instrument(NOW + DAY, F)), instrument=instrument(NOW - DAY, F))
    update = book().step(NOW, [*quotes, gone])
    assert (update.venue, update.underlying, update.publish_us) == ("deribit", "BTC", NOW)
    facts = update.facts
    assert facts.refused == {"one_sided": 1, "no_forward": 2, "expired": 1}
    assert facts.quotes == facts.nis_dof == 15 and facts.nis > 0 and facts.inflated == {}
    assert [s.nis_dof for s in update.smiles] == [6, 9]
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


def test_nothing_of_use_is_nothing_done():
    quotes = [msgspec.structs.replace(q, ask=None) for q in chain(NEAR)]
    update = book().step(NOW, quotes)
    assert update.smiles == () and update.facts == BatchFacts(0, {"one_sided": 9}, {}, 0.0, 0)


def test_forwards_that_parity_contradicts_are_counted():
    pair = [quote(instrument(NEAR, F, kind), half=0.001) for kind in ("call", "put")]
    b = book()
    assert b.step(NOW, [*chain(NEAR), *pair]).facts.forwards_outside_parity == 0
    told = [msgspec.structs.replace(q, forward=1.02 * F) for q in pair]
    assert b.step(NOW, told).facts.forwards_outside_parity == 1


def test_a_gap_multiplies_the_noise_of_the_next_prediction_only():
    """Covariances are compared where nothing is quoted but a far expiry, once and twice after the gap."""

    def widths(gap):
        b = book()
        b.step(NOW, [*chain(NEAR), *chain(FAR)])
        b.step(NOW, [gap] if gap else [])
        return [
            {s.expiry_us: s.sd.atm_vol for s in b.step(at, chain(FAR, at, lift=0.05 * n)).smiles}[FAR]
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
