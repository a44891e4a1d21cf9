"""The whole calibrator on chains made by hand: what it publishes, and what it must never publish."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, F, batch, chain, instrument, quote, smile_vol
from smiles import same

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.quotes import ForwardQuote, Gap, Quote, held_out
from kvd.surface import Smile, SurfaceUpdate

EXPIRIES = [NOW + days * DAY for days in (2, 9, 30, 120)]
HOLD_OUT = msgspec.convert({"calibrator": {"hold_out": True}}, Settings)


def run(*batches, settings=None):
    calibrator = Calibrator(settings or Settings())
    return [update for b in batches for update in calibrator.step(b)]


def surface(at_us=NOW, **how):
    return [q for expiry_us in EXPIRIES for q in chain(expiry_us, at_us, **how)]


def newest(updates: list[SurfaceUpdate]) -> dict[int, Smile]:
    return {smile.expiry_us: smile for update in updates for smile in update.smiles}


def equal(left: SurfaceUpdate, right: SurfaceUpdate) -> bool:
    return (
        left._replace(smiles=()) == right._replace(smiles=())
        and len(left.smiles) == len(right.smiles)
        and all(map(same, left.smiles, right.smiles))
    )


def numbers(thing):
    """Every number in a record, however deep."""
    if isinstance(thing, (tuple, list)):
        for part in thing:
            yield from numbers(part)
    elif isinstance(thing, dict):
        yield from numbers(list(thing.values()))
    elif isinstance(thing, np.ndarray):
        yield from thing.ravel().tolist()
    elif isinstance(thing, (int, float)):
        yield thing


def assert_publishable(updates):
    """Promise R8, but for arbitrage."""
    for update in updates:
        assert all(math.isfinite(number) for number in numbers(update))
        for smile in update.smiles:
            assert np.linalg.eigvalsh(smile.covariance).min() > 0
            assert smile.tau > 0 and min(smile.sd) > 0 and smile.parameters.atm_vol > 0
            k = np.linspace(smile.certificate.k_low, smile.certificate.k_high, 301)
            assert smile.total_variance(k).min() > -1e-9


def test_it_finds_the_smile_behind_the_quotes():
    rounds = [batch(*surface(NOW + 60 * i * SECOND, half=0.002)) for i in range(20)]
    smiles = newest(run(*rounds))
    assert list(smiles) == EXPIRIES
    for smile in smiles.values():
        k = np.linspace(smile.quoted_low, smile.quoted_high, 11)
        expected = [smile_vol(x, smile.tau) for x in k]
        np.testing.assert_allclose(smile.vol(F * np.exp(k)), expected, atol=0.002)  # their half-spread
        assert smile.parameters.atm_vol == pytest.approx(0.6, abs=0.001)
        assert smile.parameters.skew == pytest.approx(-0.3 * 0.8 / 2, abs=0.01)
        assert smile.parameters.curvature == pytest.approx(0.64 * 0.91 / 2, abs=0.05)
        assert smile.inside == 1.0 and smile.state == "live" and smile.quotes >= 9
        assert smile.certificate.butterfly > 0 and smile.certificate.calendar > 0


@given(st.lists(st.sampled_from(surface()), min_size=1, unique_by=lambda q: q.instrument.name), st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_same_batches_give_the_same_updates_in_whatever_order_their_quotes_stand(quotes, random):
    shuffled = random.sample(quotes, len(quotes))
    later = [batch(*chain(expiry_us, NOW + SECOND, lift=0.01)) for expiry_us in EXPIRIES]
    first, again = run(batch(*quotes), *later), run(batch(*quotes), *later)
    assert all(map(equal, first, again))
    reordered = run(batch(*shuffled), *later)
    for expiry_us, smile in newest(first).items():
        np.testing.assert_allclose(newest(reordered)[expiry_us].parameters, smile.parameters, rtol=1e-6)


def test_a_new_expiry_starts_from_its_neighbours_and_widely_uncertain():
    first, last, new = NOW + 7 * DAY, NOW + 60 * DAY, NOW + 20 * DAY
    known = batch(*chain(first), *chain(last, atm=0.7, rho=0.2))
    one = batch(quote(instrument(new, F), NOW + SECOND, half=0.25, lift=0.05))
    smiles = newest(run(known, one))
    share = math.log(20 / 7) / math.log(60 / 7)
    low, high, got = (smiles[e] for e in (first, last, new))
    assert got.parameters.skew == pytest.approx(
        (1 - share) * low.parameters.skew + share * high.parameters.skew, abs=0.01
    )
    assert low.parameters.atm_vol < got.parameters.atm_vol < high.parameters.atm_vol
    assert all(new_sd > 2 * old_sd for new_sd, old_sd in zip(got.sd[:3], low.sd[:3], strict=True))
    assert (got.state, got.reason) == ("widened", "uncertain")


def test_an_expired_one_leaves_and_is_said_to_be_withdrawn():
    soon = NOW + DAY
    before = batch(*chain(soon), *chain(NOW + 9 * DAY))
    after = batch(*chain(NOW + 9 * DAY, soon), *[quote(instrument(NOW + 30 * DAY, F), soon)])
    late = batch(msgspec.structs.replace(chain(soon)[0], exchange_us=soon - 1, receive_us=soon + SECOND))
    first, second, third = run(before, after, late)
    assert {smile.expiry_us for smile in first.smiles} == {soon, NOW + 9 * DAY}
    assert second.withdrawn == (soon,)
    assert soon not in {smile.expiry_us for smile in second.smiles}
    assert third.facts.refused == {"expired": 1} and not third.withdrawn and not third.smiles


def test_a_gap_widens_and_resets_nothing():
    quiet = [batch(*surface(NOW + i * SECOND)) for i in range(3)]
    gap = batch(Gap("deribit", NOW + 2 * SECOND, "feed interrupted"), at_us=NOW + 3 * SECOND)
    back = batch(*chain(EXPIRIES[1], NOW + 100 * SECOND))
    before = newest(run(*quiet))
    without, widened = run(*quiet, back)[-1], run(*quiet, gap, back)[-2:]

    at_once, later = widened
    assert {s.expiry_us for s in at_once.smiles} == set(EXPIRIES)
    for smile in at_once.smiles:
        assert (smile.state, smile.reason) == ("widened", "feed interrupted")
        assert smile.parameters == before[smile.expiry_us].parameters

    # the next prediction carries the configured multiple of noise, and only quotes make a smile live again
    now, plain = newest([later]), newest([without])
    assert now[EXPIRIES[1]].state == "live"
    for expiry_us in EXPIRIES:
        if expiry_us in now and expiry_us in plain:
            assert now[expiry_us].sd.atm_vol > plain[expiry_us].sd.atm_vol
    assert all(now[e].reason == "feed interrupted" for e in EXPIRIES if e != EXPIRIES[1] and e in now)


def test_a_gap_concerns_the_surfaces_of_its_venue():
    calibrator = Calibrator(Settings())
    calibrator.step(batch(*chain(EXPIRIES[1])))
    assert calibrator.step(batch(Gap("elsewhere", NOW, "closed"))) == []
    assert [u.underlying for u in calibrator.step(batch(Gap("deribit", NOW, "closed")))] == ["BTC"]


def of_another_family(q: Quote) -> Quote:
    linear = msgspec.structs.replace(q.instrument, underlying="BTC_USDC", name="L" + q.instrument.name, inverse=False)
    linear = msgspec.structs.replace(linear, tick_size=q.instrument.tick_size * F)
    return msgspec.structs.replace(q, instrument=linear, bid=q.bid * F, ask=q.ask * F)


def test_two_families_of_a_coin_are_two_surfaces():
    quotes = chain(EXPIRIES[1])
    coin, linear = run(batch(*quotes, *map(of_another_family, quotes)))
    assert (coin.underlying, linear.underlying) == ("BTC", "BTC_USDC")
    np.testing.assert_allclose(coin.smiles[0].parameters, linear.smiles[0].parameters, rtol=1e-6)
    alone = run(batch(*quotes))[0]
    assert equal(alone, coin)


def test_an_index_alone_publishes_nothing():
    (update,) = run(batch(ForwardQuote("btc_usd", "deribit", "BTC", None, F, F, NOW, NOW)))
    assert update.smiles == () and update.facts.quotes == 0


def pairs(expiry_us):
    """A chain with both types at every strike, so that put-call parity has something to say."""
    strikes = {q.instrument.strike for q in chain(expiry_us, strikes=15)}
    return [quote(instrument(expiry_us, strike, kind)) for strike in sorted(strikes) for kind in ("call", "put")]


PAIRS = [q for expiry_us in EXPIRIES for q in pairs(expiry_us)]
WITHHELD = [q for q in PAIRS if held_out("0", q.instrument.name)]
lifts = st.lists(st.none() | st.floats(-0.5, 3.0), min_size=len(WITHHELD), max_size=len(WITHHELD))


@given(lifts, st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_nothing_that_is_published_knows_a_held_out_price(lifts, rounds):
    moved = {
        q.instrument.name: msgspec.structs.replace(q, bid=None) if lift is None else quote(q.instrument, lift=lift)
        for q, lift in zip(WITHHELD, lifts, strict=True)
    }
    assert len(moved) > 10
    plain = run(*[batch(*PAIRS, at_us=NOW + i) for i in range(rounds)], settings=HOLD_OUT)
    others = [moved.get(q.instrument.name, q) for q in PAIRS]
    assert all(map(equal, plain, run(*[batch(*others, at_us=NOW + i) for i in range(rounds)], settings=HOLD_OUT)))


prices = st.none() | st.floats(1e-4, 2.0) | st.sampled_from([0.0005, 1.0, 1e-9, 5e4, 1e300])


@st.composite
def anything(draw):
    """A quote that the first door would let through: positive prices, or none, and whatever the market says."""
    expiry_us = draw(st.sampled_from(EXPIRIES)) + draw(st.sampled_from([0, -2 * DAY + SECOND, DAY]))
    strike = F * math.exp(draw(st.sampled_from([-2.0, -0.3, 0.0, 0.01, 0.3, 2.0])))
    option = instrument(expiry_us, strike, draw(st.sampled_from(["call", "put"])))
    at_us = NOW + draw(st.integers(-SECOND, 3600 * SECOND))
    forward = draw(st.none() | st.floats(0.2 * F, 5 * F))
    return Quote(option, draw(prices), draw(prices), 1.0, 1.0, None, None, None, forward, "SYN", at_us, at_us)


@given(st.lists(st.lists(st.one_of(anything(), st.sampled_from(surface())), min_size=1, max_size=8), max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_the_market_says_what_is_published_is_finite_and_has_a_variance(batches):
    calibrator = Calibrator(Settings())
    for events in batches:
        unique = {q.instrument.name: q for q in events}
        assert_publishable(calibrator.step(batch(*unique.values())))
    assert_publishable(calibrator.step(batch(*surface(NOW + 3600 * SECOND))))
