"""Locks and limits on the whole of one underlying's book, beside a book that hears of none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from option_chain import DAY, NOW, SECOND, F, chain, quote
from smiles import same

from kvd.calibrator import Calibrator
from kvd.calibrator.book import Book
from kvd.checker import Checker
from kvd.config import Limits, Settings
from kvd.latest import Batch
from kvd.quotes import ForwardQuote, Lock, Unlock

NEAR, MIDDLE, FAR = EXPIRIES = [NOW + days * DAY for days in (5, 20, 60)]
PUT = round(0.9 * F)  # a strike below the money
SD = 1e-3
MINUTE = 60 * SECOND


def lock(of="vol", value=0.7, sd=SD, id_="1", expiry_us=MIDDLE, strike=None):
    strike = PUT if of == "vol" and strike is None else strike
    return Lock(id_, "deribit", "BTC", expiry_us, of, strike, value, sd, "ann", 2**60, NOW)


def unlock(id_="1"):
    return Unlock(id_, "deribit", "BTC", NOW)


def spot(price, at_us):
    return ForwardQuote("btc_usd", "deribit", "BTC", None, price, price, at_us, at_us)


def joint(book):
    """The filter's state after the batch before the newest."""
    return book.work.aged.before


class Desk:
    """A book with locks, and one that hears the same market and nothing else; everything published is checked."""

    def __init__(self, limits=None):
        self.book = Book("deribit", "BTC", Settings(limits=limits or Limits()))
        self.plain = Book("deribit", "BTC", Settings())
        self.checker = Checker()
        self.shown, self.market = {}, {}
        self.at_us = NOW

    def hear(self, *events, at_us=None):
        """One batch; what it published."""
        self.at_us = self.at_us if at_us is None else at_us
        update = self.book.step(self.at_us, events)
        assert self.checker.see(update) == []
        assert all(np.linalg.eigvalsh(smile.covariance).min() > 0 for smile in update.smiles)
        self.shown |= {smile.expiry_us: smile for smile in update.smiles}
        market = [event for event in events if not isinstance(event, Lock | Unlock)]
        self.market |= {smile.expiry_us: smile for smile in self.plain.step(self.at_us, market).smiles}
        if self.book.work:
            for ours, theirs in zip(joint(self.book), joint(self.plain), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        return {smile.expiry_us: smile for smile in update.smiles}

    def quoted(self, seconds=10, expiries=EXPIRIES, **how):
        """Chains of the `expiries`, some seconds after the last batch."""
        at_us = self.at_us + seconds * SECOND
        return self.hear(*[q for e in expiries for q in chain(e, at_us, **how)], at_us=at_us)

    def settled(self):
        """After so many chains that no slice is young."""
        for _ in range(12):
            self.quoted(20)
        return self


def number(smile, of, strike=None):
    return float(smile.vol(strike)) if of == "vol" else getattr(smile.parameters, of)


def assert_like(smile, other):
    """Both say the same of shape and certainty, but for the last bit of what a product of other matrices comes to."""
    assert (smile.parameters, smile.raw, smile.jump_wings) == (other.parameters, other.raw, other.jump_wings)
    np.testing.assert_allclose(smile.residual, other.residual, atol=1e-15)
    np.testing.assert_allclose(smile.covariance, other.covariance, rtol=1e-12)
    np.testing.assert_allclose(smile.vol_sd, other.vol_sd, rtol=1e-9)


CLAIMS = [("atm_vol", 0.04), ("skew", 0.05), ("curvature", -0.1), ("put_wing", 0.2), ("call_wing", -0.1), ("vol", 0.03)]


@pytest.mark.parametrize(("of", "by"), CLAIMS)
def test_a_lock_moves_its_number_says_what_the_market_would_and_is_gone_when_it_is_released(of, by):
    desk = Desk().settled()
    market = number(desk.shown[MIDDLE], of, PUT)
    wanted = lock(of, market + by)
    (smile,) = desk.hear(wanted).values()
    assert smile.expiry_us == MIDDLE and abs(number(smile, of, PUT) - wanted.value) < SD
    (held,) = smile.locked
    assert (held.id, held.of, held.strike, held.author) == ("1", of, wanted.strike, "ann")
    assert (held.value, held.sd, held.until_us) == (wanted.value, SD, wanted.until_us)
    assert held.market == pytest.approx(market, rel=1e-12)
    assert smile.certificate.butterfly > 0 and smile.certificate.calendar > 0
    for _ in range(5):
        got = desk.quoted()[MIDDLE]
        assert abs(number(got, of, PUT) - wanted.value) < SD
        assert got.locked[0].market == pytest.approx(number(desk.market[MIDDLE], of, PUT), rel=1e-12)
        assert got.nis == desk.market[MIDDLE].nis and got.record == desk.market[MIDDLE].record
    (released,) = desk.hear(unlock()).values()
    assert released.locked == ()
    assert_like(released, desk.market[MIDDLE])
    desk.quoted()
    assert all(same(desk.shown[e], desk.market[e]) for e in EXPIRIES)


def test_a_lock_no_further_than_the_market_is_unsure_meets_it_half_way():
    desk = Desk().settled()
    before = desk.shown[MIDDLE]
    m, s = before.parameters.atm_vol, before.sd.atm_vol
    (smile,) = desk.hear(lock("atm_vol", m + 0.8 * s, sd=2 * s)).values()
    weight = 1 / (1 + 4)  # of variances s**2 and (2 s)**2
    assert smile.parameters.atm_vol == pytest.approx(m + weight * 0.8 * s, abs=0.02 * s)
    assert smile.sd.atm_vol == pytest.approx(s * np.sqrt(1 - weight), rel=0.01)
    assert smile.state == "live"


def test_a_far_level_carries_the_smile_along():
    desk = Desk().settled()
    before = desk.shown[MIDDLE]
    (smile,) = desk.hear(lock("atm_vol", before.parameters.atm_vol + 0.05)).values()
    strikes = F * np.exp(np.linspace(-1.5, 1.5, 7) * 0.6 * np.sqrt(before.tau))
    assert (smile.vol(strikes) - before.vol(strikes) > 0.03).all()


def test_a_smile_is_as_sure_of_what_it_is_locked_to_as_the_lock_however_its_own_record_widens_it():
    desk = Desk().settled()
    smile = desk.hear(lock("atm_vol", 0.65, sd=1e-4))[MIDDLE]
    assert smile.sd.atm_vol == pytest.approx(1e-4, rel=0.01)
    assert smile.covariance[0, 0] == pytest.approx((1e-4 / 0.65) ** 2, rel=0.02)
    for n in range(60):  # quotes that leap to and fro: the record will have none of it
        desk.quoted(1, lift=0.03 * (-1) ** n)
    smile = desk.shown[MIDDLE]
    assert smile.record.widened_by > 1.3 and smile.sd.skew > 1e-3
    assert smile.sd.atm_vol == pytest.approx(1e-4, rel=0.01)


def test_it_holds_while_spot_moves_and_nothing_is_quoted():
    """A vol at a strike is another number of the smile with every forward."""
    desk = Desk().settled()
    desk.hear(lock(value=float(desk.shown[MIDDLE].vol(PUT)) + 0.04))
    drifted = []
    for n in range(1, 9):
        at_us = desk.at_us + SECOND
        desk.hear(spot(F * (1 + 5e-4 * n), at_us), at_us=at_us)
        smile = desk.shown[MIDDLE]
        now = desk.book.step(at_us, [spot(F * (1 + 5e-4 * n), at_us)]).smiles
        assert now == () or now[0].expiry_us == MIDDLE
        assert abs(float(smile.vol(PUT)) - smile.locked[0].value) < SD
        drifted.append(smile.forward.value)
        desk.plain.step(at_us, [spot(F * (1 + 5e-4 * n), at_us)])
    assert drifted[-1] > F * 1.003 and len(set(drifted)) > 3


def test_locks_on_two_numbers_hold_both_and_contradictory_ones_meet():
    desk = Desk().settled()
    strike = round(1.1 * F)
    atm = desk.shown[MIDDLE].parameters.atm_vol
    smile = desk.hear(lock("atm_vol", atm + 0.03), lock(value=0.65, strike=strike, id_="2"))[MIDDLE]
    assert abs(smile.parameters.atm_vol - atm - 0.03) < SD and abs(float(smile.vol(strike)) - 0.65) < SD
    assert [held.id for held in smile.locked] == ["1", "2"]
    smile = desk.hear(unlock("2"), lock("atm_vol", atm + 0.06, sd=SD, id_="3"))[MIDDLE]
    assert smile.parameters.atm_vol == pytest.approx(atm + 0.045, abs=SD)
    smile = desk.hear(lock("atm_vol", atm + 0.06, sd=2 * SD, id_="3"))[MIDDLE]  # the same lock, meant less strictly
    assert smile.parameters.atm_vol == pytest.approx(atm + 0.036, abs=SD)


def test_neighbours_give_way_and_come_back():
    """A front month lifted above the next one: what was quoted of the next is not what is shown."""
    desk = Desk().settled()
    before = desk.shown[MIDDLE].parameters.atm_vol
    shown = desk.hear(lock("atm_vol", 2.05 * before, expiry_us=NEAR))
    assert {NEAR, MIDDLE} <= shown.keys() and shown[MIDDLE].parameters.atm_vol > before
    assert shown[NEAR].parameters.atm_vol > 1.5 * before and shown[MIDDLE].locked == ()
    back = desk.hear(unlock())
    assert {NEAR, MIDDLE} <= back.keys()
    for e in (NEAR, MIDDLE):
        assert_like(back[e], desk.market[e])


@pytest.mark.parametrize(("of", "value"), [("vol", 5.0), ("vol", 0.02), ("atm_vol", 3.0), ("curvature", 40.0)])
def test_what_no_surface_near_can_do_is_followed_as_far_as_can_be_and_said(of, value):
    desk = Desk().settled()
    market = number(desk.shown[MIDDLE], of, PUT)
    (smile,) = [s for e, s in desk.hear(lock(of, value)).items() if e == MIDDLE]
    first = desk.at_us
    assert (smile.state, smile.reason, smile.since_us) == ("widened", "out_of_reach", first)
    for _ in range(12):
        desk.quoted()
    smile = desk.shown[MIDDLE]
    assert (smile.reason, smile.since_us) == ("out_of_reach", first)
    assert 0 < (number(smile, of, PUT) - market) / (value - market) < 0.9
    assert smile.locked[0].value == value
    desk.hear(unlock())
    assert desk.shown[MIDDLE].state == "live"


def test_a_lock_waits_for_its_smile_and_goes_with_its_expiry():
    desk = Desk()
    assert desk.hear(lock("atm_vol", 0.7, expiry_us=NEAR), lock("skew", 0.1, expiry_us=NOW - 1, id_="2")) == {}
    shown = desk.quoted()
    assert abs(shown[NEAR].parameters.atm_vol - 0.7) < 3 * SD and len(shown[NEAR].locked) == 1
    assert all(shown[e].locked == () for e in (MIDDLE, FAR))
    later = [q for e in (MIDDLE, FAR) for q in chain(e, NEAR)]
    assert NEAR not in desk.hear(*later, at_us=NEAR)
    assert desk.hear(unlock()) == {} and desk.book._hand.idle


def test_a_calibrator_takes_locks_of_underlyings_that_it_has_not_heard_of():
    calibrator = Calibrator(Settings())
    (update,) = calibrator.step(Batch(NOW, (lock(), unlock("another"))))
    assert update.smiles == () and update.facts.quotes == 0
    (update,) = calibrator.step(Batch(NOW, tuple(chain(MIDDLE))))
    assert abs(float(update.smiles[0].vol(PUT)) - 0.7) < 3 * SD


def test_what_the_market_may_not_do_is_learnt_as_if_there_were_no_lock():
    """A near chain comes to cross the next: it is projected, and fed back, under locks on both (checked by `hear`)."""
    desk, methods = Desk(), set()
    for n in range(16):
        at_us = desk.at_us + 5 * SECOND
        crossed = [quote(q.instrument, at_us, atm=1.18 + 0.002 * n) for q in chain(NEAR, at_us)]
        desk.hear(*crossed, *[q for e in (MIDDLE, FAR) for q in chain(e, at_us)], at_us=at_us)
        methods.add(desk.market[NEAR].certificate.method)
        if n == 5:
            desk.hear(lock("skew", 0.1, expiry_us=NEAR), lock("atm_vol", 0.8, id_="2"))
    assert "projected" in methods
    assert desk.shown[NEAR].parameters.skew == pytest.approx(0.1, abs=3 * SD)
    assert desk.shown[MIDDLE].parameters.atm_vol == pytest.approx(0.8, abs=3 * SD)
    desk.hear(unlock(), unlock("2"))
    desk.quoted()
    desk.quoted()
    assert all(same(desk.shown[e], desk.market[e]) for e in EXPIRIES)


# Limits


@pytest.mark.parametrize(
    ("limits", "of", "value"),
    [
        (Limits(atm_vol_high=0.55), "atm_vol", 0.55),
        (Limits(atm_vol_low=0.63), "atm_vol", 0.63),
        (Limits(skew_amount=0.08), "skew", -0.08),
        (Limits(curvature_high=0.25), "curvature", 0.25),
    ],
)
def test_a_limit_holds_what_is_published_and_says_so(limits, of, value):
    desk = Desk(limits).settled()
    for e in EXPIRIES:
        smile = desk.shown[e]
        assert number(smile, of) == pytest.approx(value, abs=5e-5)
        (held,) = smile.locked
        assert (held.id, held.of, held.strike, held.author, held.until_us) == ("", of, None, "limits", None)
        assert held.value == value and held.market == pytest.approx(number(desk.market[e], of), rel=1e-9)


def test_limits_that_nothing_reaches_change_nothing():
    desk = Desk(Limits(0.01, 5.0, 3.0, 50.0, 100.0, 100.0, 100.0)).settled()
    assert all(same(desk.shown[e], desk.market[e]) for e in EXPIRIES)


def test_a_limit_is_stronger_than_a_lock():
    desk = Desk(Limits(atm_vol_high=0.63)).settled()
    smile = desk.hear(lock("atm_vol", 0.7))[MIDDLE]
    assert smile.parameters.atm_vol == pytest.approx(0.63, abs=5e-5)
    assert [held.author for held in smile.locked] == ["ann", "limits"]


@pytest.mark.parametrize(
    ("limits", "of", "how"),
    [
        (Limits(atm_vol_per_min=0.002), "atm_vol", {"atm": 0.606}),
        (Limits(skew_per_min=0.002), "skew", {"rho": -0.27}),
        (Limits(curvature_per_min=0.005), "curvature", {"eta": 0.83}),
    ],
)
def test_a_limit_on_speed_is_kept_and_the_smile_arrives(limits, of, how):
    """Quotes leap once and stay; then the batches hold spot alone."""
    desk = Desk(limits).settled()
    per_us = max(limits.atm_vol_per_min, limits.skew_per_min, limits.curvature_per_min) / MINUTE
    last, bound = desk.shown[MIDDLE], 0
    for n in range(100):
        at_us = desk.at_us + 5 * SECOND
        news = chain(MIDDLE, at_us, **how) if n < 20 else [spot(F, at_us)]
        smile = desk.hear(*news, at_us=at_us).get(MIDDLE)
        if smile is not None:
            far = per_us * (smile.publish_us - last.publish_us)
            assert abs(number(smile, of) - number(last, of)) <= far + 2e-5
            bound += bool(smile.locked)
            last = smile
    assert bound > 10 and last.locked == ()
    assert number(last, of) == pytest.approx(number(desk.market[MIDDLE], of), abs=1e-9)


# Properties

locks = st.builds(
    lambda of, value, sd, n, strike: lock(of, value, sd, str(n), EXPIRIES[n % 3], strike if of == "vol" else None),
    st.sampled_from(["atm_vol", "skew", "curvature", "put_wing", "call_wing", "vol"]),
    st.floats(-1.0, 6.0),
    st.sampled_from([1e-9, 1e-4, 0.01, 1.0, 100.0]),
    st.integers(0, 4),
    st.sampled_from([1.0, 0.5 * F, PUT, F, 1.3 * F, 50 * F]),
)
acts = st.lists(st.one_of(locks, st.builds(unlock, st.sampled_from("01234"))), max_size=3)


@given(st.lists(acts, min_size=1, max_size=4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_whatever_the_hand_does_nothing_shown_can_be_arbitraged_and_the_filter_knows_nothing_of_it(batches, limited):
    desk = Desk(Limits(0.3, 0.9, 0.2, 1.0, 0.5, 0.5, 2.0) if limited else None)
    for _ in range(3):
        desk.quoted(20)
    for batch in batches:
        desk.hear(*{act.id: act for act in batch}.values())
        desk.quoted(1)
    if not limited:
        desk.hear(*map(unlock, "01234"))
        desk.quoted()
        assert all(same(desk.shown[e], desk.market[e]) for e in EXPIRIES)
