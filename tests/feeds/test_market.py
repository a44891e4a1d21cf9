from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest

from kvd.core import black
from kvd.feeds.simulate import BTC, ETH, FAMILIES, XRP_USDC, Market, dialect, maker
from kvd.feeds.simulate import truth as true
from kvd.feeds.simulate.listing import DAY_US, YEAR_US, expiries
from kvd.quotes import Instrument
from kvd.venues.deribit.names import read_name

START_US = int(datetime(2026, 9, 21, 14, 12, tzinfo=UTC).timestamp()) * 1_000_000
HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000


def stream(market, steps=40, count=25):
    frames = []
    for _ in range(steps):
        market.step(20_000)
        for name, data in dialect.option_tickers(market, market.look(market.draw(count))):
            frames.append(dialect.notification(name, data))
    return b"\n".join(frames)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_seed_is_a_market(family):
    first, again, other = (stream(Market(seed, START_US, family, 200)) for seed in (7, 7, 8))
    assert sha256(first).digest() == sha256(again).digest()
    assert first != other


def test_looking_draws_nothing():
    market, beside = Market(1, START_US, BTC, 100), Market(1, START_US, BTC, 100)
    for _ in range(5):
        market.look(range(100))
    assert stream(market) == stream(beside)


def test_there_are_always_twelve_expiries_or_more_at_eight_within_a_year_or_so():
    for hours in range(0, 24 * 400, 7):
        now_us = START_US + hours * HOUR_US
        due = expiries(now_us, 99)
        assert len(due) >= 12 and due == sorted(set(due))
        assert due[0] > now_us and due[-1] - now_us < 400 * DAY_US
        assert all(at % DAY_US == 8 * HOUR_US for at in due)
        assert due[:2] == [due[0], due[0] + DAY_US]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("count", [24, 900, 1000, 1700])
def test_as_many_options_are_listed_as_asked_for_and_their_names_say_what_they_are(family, count):
    market = Market(1, START_US, family, count)
    assert len(market.instruments) == len({option.name for option in market.instruments}) == count
    for option in market.instruments:
        named = read_name(option.name)
        assert isinstance(named, Instrument)
        assert (named.strike, named.expiry_us, named.option_type, named.underlying, named.inverse) == (
            option.strike, option.expiry_us, option.option_type, option.underlying, option.inverse,
        )  # fmt: skip


def test_small_strikes_are_spelled_with_a_d():
    assert any("d" in option.name for option in Market(1, START_US, XRP_USDC, 200).instruments)


# other markets


def test_a_venue_without_synthetics_says_the_index_where_it_lists_no_future():
    market = Market(1, START_US, BTC._replace(synthetics=False), 240)
    tickers = market.look(range(240))
    for row, forward in zip(tickers.rows, tickers.forward, strict=True):
        due = market.instruments[row].expiry_us
        assert (forward == market.index_price) == (not market.has_future(due))
        assert (market.forward_names[due] == "index_price") == (not market.has_future(due))
    assert len({*market.forward_names.values()}) > 2


def test_makers_ask_as_many_times_as_much_as_told():
    fine = BTC._replace(tick=1e-7, coarse_tick=1e-7)
    told = [Market(1, START_US, fine._replace(spread=spread), 400).look(range(400)) for spread in (1.0, 2.0)]
    one, two = (np.where(t.bid_vol > 0, t.ask_vol - t.bid_vol, np.nan) for t in told)
    assert np.nanmedian(two / one) == pytest.approx(2.0, rel=0.15)


def test_levels_wander_as_many_times_as_fast_as_told():
    moved = []
    for wander in (1.0, 3.0):
        market = Market(1, START_US, BTC._replace(wander=wander), 24)
        levels = [market.truth().x[-1, 0]]
        for _ in range(200):
            market.step(MINUTE_US)
            levels.append(market.truth().x[-1, 0])
        moved.append(np.diff(levels).std())
    assert moved[1] / moved[0] == pytest.approx(3.0, rel=0.1)


def test_only_those_polled_are_quoted_anew():
    market, beside = (Market(1, START_US, BTC, 100) for _ in range(2))
    for each in (market, beside):
        each.step(10_000_000)
    rows, others = np.arange(20), np.arange(20, 100)
    polled = market.poll(rows)
    stood, standing = beside.look(rows), beside.look(others)
    assert (polled.bid_vol != stood.bid_vol).any() and (polled.bid_size != stood.bid_size).any()
    assert np.array_equal(market.look(others).bid, standing.bid)
    assert np.array_equal(market.look(rows).bid, polled.bid)


# the truth


def arbitrage(truth):
    """Least second difference of call prices in strike, and least calendar gap in total variance, on dense grids."""
    butterfly, calendar, earlier = np.inf, np.inf, None
    k = np.linspace(-1.5, 1.5, 1501)
    for i, tau in enumerate(truth.tau):
        at = np.full(1501, i)
        strike = 1.0 + np.linspace(-0.99, 3.0, 1501) * min(1.0, 5 * np.exp(truth.x[i, 0]) * np.sqrt(tau))
        vol = truth.vol(at, strike * truth.forwards[i])
        call = black.price(np.ones(1501), strike, vol * np.sqrt(tau), np.ones(1501))
        butterfly = min(butterfly, np.diff(call, 2).min())
        w = truth.vol(at, truth.forwards[i] * np.exp(k)) ** 2 * tau
        if earlier is not None:
            calendar = min(calendar, (w - earlier).min())
        earlier = w
    return butterfly, calendar


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_truth_never_allows_arbitrage(family):
    market = Market(3, START_US, family, 24)
    for i in range(2500):
        market.step(4 * MINUTE_US)
        if i % 100 == 0:
            butterfly, calendar = arbitrage(market.truth())
            assert butterfly > -1e-12
            assert calendar > 0


def test_the_check_for_arbitrage_can_fail():
    truth = Market(1, START_US, BTC, 24).truth()
    inverted = truth.x.copy()
    inverted[4, 0] += 1.0
    assert arbitrage(truth._replace(x=inverted))[1] < 0
    pinched = truth.x.copy()
    pinched[:, 3:] += 2.0
    assert arbitrage(truth._replace(x=pinched))[0] < 0


def test_slices_wander_as_fast_and_as_alike_as_stated():
    rng, dt_us = np.random.default_rng(0), 60_000_000
    truth = true.begin(BTC, START_US, [START_US + days * DAY_US for days in (10, 30, 90)], rng)
    moves, curves, now = [], [], truth
    for _ in range(3000):
        after = true.advance(now, BTC, dt_us, rng)
        moves.append(after.x - now.x)
        curves.append(after.u)
        now = after._replace(now_us=START_US)  # tenors stand still
    moves = np.array(moves)
    expected = true.WANDER * np.sqrt(30 / np.array([10, 30, 90]))[:, None]
    assert moves[:, :, :3].std(axis=0) / np.sqrt(dt_us / YEAR_US) == pytest.approx(expected, rel=0.1)
    wings = 60 / 86_400 / true.WING_DAYS
    assert moves[:, :, 3:].std() == pytest.approx(true.WING_SD * np.sqrt(2 * wings), rel=0.1)
    assert np.corrcoef(moves[:, 0, 0], moves[:, 1, 0])[0, 1] == pytest.approx(np.exp(-np.log(3) / 2), abs=0.06)
    assert np.std(curves) == pytest.approx(1.0, rel=0.2)  # fifty hours of a curve that lasts six


def test_spot_moves_as_stated_and_jumps_now_and_then():
    rng, dt_us = np.random.default_rng(0), 3_600_000_000
    now = true.begin(BTC, START_US, [], rng)
    spots = [now.spot]
    for _ in range(24 * 365):
        now = true.advance(now, BTC, dt_us, rng)
        spots.append(now.spot)
    moves = np.diff(np.log(spots))
    jumps_variance = true.JUMPS_PER_YEAR * (true.JUMP_SD**2 + true.JUMP_MEAN**2)
    assert moves.std() * np.sqrt(24 * 365) == pytest.approx(np.sqrt(BTC.atm_vol**2 + jumps_variance), rel=0.1)
    assert 20 < np.sum(np.abs(moves) > 4 * np.median(np.abs(moves)) / 0.6745) < 80


def test_forwards_carry_for_an_inverse_family_and_are_the_index_for_a_linear_one():
    inverse, linear = Market(1, START_US, ETH, 24), Market(1, START_US, XRP_USDC, 24)
    inverse.step(DAY_US), linear.step(DAY_US)
    assert np.ptp(inverse.truth().forwards) > 1
    assert np.ptp(linear.truth().forwards) == 0


# quotes


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def seen(request):
    """A quarter of an hour of quotes: a market, and beside each ticker its strike, sign and true vol."""
    market = Market(5, START_US, request.param, 1000)
    rows = []
    for _ in range(600):
        market.step(1_500_000)
        drawn = market.draw(50)
        tickers = market.look(drawn)
        options = [market.instruments[row] for row in drawn]
        strike = np.array([option.strike for option in options])
        sign = np.array([1.0 if option.option_type == "call" else -1.0 for option in options])
        at = np.searchsorted(market.truth().expiry_us, [option.expiry_us for option in options])
        rows.append((*tickers, strike, sign, market.truth().vol(at, strike)))
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    tickers = type(tickers)(*columns[:-3])
    return market.family, tickers, *columns[-3:]


def test_vols_are_those_of_the_rounded_prices(seen):
    family, tickers, strike, sign, _ = seen
    unit = tickers.forward if family.inverse else 1.0
    for price, vol in ((tickers.bid, tickers.bid_vol), (tickers.ask, tickers.ask_vol)):
        known = (vol > 0) & (vol < 9.9)
        again = black.price(tickers.forward, strike, vol * np.sqrt(tickers.tau), sign) / unit
        assert again[known] == pytest.approx(price[known], abs=1e-9)
        tick = np.where(price < family.coarse_from, family.tick, family.coarse_tick)
        assert np.abs(price / tick - np.round(price / tick)).max() < 1e-6
    assert np.all(tickers.bid < np.where(tickers.ask > 0, tickers.ask, np.inf))


def test_prices_round_outward():
    price = np.array([0.00312, 0.0031, 0.00731, 0.0075])
    assert maker.round_to_tick(price, BTC, upward=False).tolist() == [0.0031, 0.0031, 0.007, 0.0075]
    assert maker.round_to_tick(price, BTC, upward=True).tolist() == [0.0032, 0.0031, 0.0075, 0.0075]


def test_most_quotes_enclose_the_truth_and_mids_are_as_noisy_as_designed(seen):
    _, tickers, strike, sign, vol = seen
    mid, half = 0.5 * (tickers.bid_vol + tickers.ask_vol), 0.5 * (tickers.ask_vol - tickers.bid_vol)
    counted = (tickers.bid_vol > 0) & (tickers.ask_vol > 0) & (sign * (strike - tickers.forward) > 0)
    counted &= half < 0.25 * mid
    inside = (tickers.bid_vol <= vol) & (vol <= tickers.ask_vol)
    assert 0.975 < inside[counted].mean() < 0.9995
    score = ((mid - vol) ** 2 / ((0.5 * half) ** 2 + 0.0012**2))[counted]
    assert 0.4 < score.mean() < 1.4
    assert 0.08 < np.median(score) < 0.455  # a normal's would be 0.455: the tick adds to the spread, not to the noise
    typical = np.abs(mid - vol) < 2 * half
    typical &= counted
    assert abs(np.mean((mid - vol)[typical] / half[typical])) < 0.05
    assert 0.0 < np.mean(score > 16) < 0.03  # the mistyped and the sleeping


def test_spreads_widen_in_the_wings(seen):
    _, tickers, strike, sign, vol = seen
    z = np.log(strike / tickers.forward) / (vol * np.sqrt(tickers.tau))
    both = (tickers.bid_vol > 0) & (tickers.ask_vol > 0) & (sign * z > 0)
    spread = tickers.ask_vol - tickers.bid_vol
    assert 0.012 < np.median(spread[both]) < 0.03
    near, far = np.median(spread[both & (np.abs(z) < 0.5)]), np.median(spread[both & (np.abs(z) > 2)])
    assert far > 2 * near
    assert 0.05 < np.quantile(spread[both], 0.99) < 0.4


def test_wings_are_one_sided_and_the_deep_in_the_money_unquoted(seen):
    _, tickers, strike, sign, vol = seen
    out = sign * np.log(strike / tickers.forward) / (vol * np.sqrt(tickers.tau))
    no_bid, no_ask = tickers.bid == 0, tickers.ask == 0
    assert 0.05 < no_bid.mean() < 0.5 and 0.03 < no_ask.mean() < 0.5
    assert (no_bid & ~no_ask)[out > 2].mean() > 0.2
    assert (no_bid & no_ask)[out < -2].mean() > 0.4
    assert np.all(tickers.bid_size[no_bid] == 0) and np.all(tickers.bid_size[~no_bid] > 0)
    assert np.all(tickers.ask_size[no_ask] == 0) and np.all(tickers.ask_size[~no_ask] > 0)


def test_marks_and_greeks_are_those_of_the_truth(seen):
    family, tickers, strike, sign, vol = seen
    assert np.std(tickers.mark_vol - vol) == pytest.approx(maker.MARK_NOISE, rel=0.1)
    unit = tickers.forward if family.inverse else 1.0
    up, down = (
        black.price(tickers.forward, strike, (tickers.mark_vol + bump) * np.sqrt(tickers.tau), sign)
        for bump in (5e-4, -5e-4)
    )
    assert tickers.vega == pytest.approx((up - down) * 10, rel=1e-3, abs=1e-6 * family.spot)
    assert tickers.mark_price == pytest.approx(0.5 * (up + down) / unit, rel=1e-3, abs=1e-6)
    assert np.all((sign * tickers.delta >= 0) & (sign * tickers.delta <= 1))
    parity = tickers.delta - np.where(sign > 0, 1, 0)
    assert np.all((parity >= -1) & (parity <= 0))


def test_a_sleeping_maker_leaves_its_prices_standing_and_wakes():
    rng = np.random.default_rng(0)
    rows = maker.open_rows(START_US + 20 * DAY_US, np.array([65_000.0]), np.array([1.0]), START_US, rng)
    sight = maker.Sight(np.array([65_000.0]), np.array([20 / 365]), np.array([0.6]))
    rows = maker.requote(rows, sight, START_US, BTC, rng)
    rows["asleep_until_us"] = START_US + 10_000_000
    moved = sight._replace(forward=np.array([67_000.0]))
    asleep = maker.requote(rows, moved, START_US + 5_000_000, BTC, rng)
    awake = maker.requote(rows, moved, START_US + 10_000_000, BTC, rng)
    assert (asleep["bid"], asleep["ask"], asleep["bid_size"]) == (rows["bid"], rows["ask"], rows["bid_size"])
    assert awake["bid"] > rows["ask"]


def test_makers_mistype_by_several_spreads_and_rarely():
    rng, count = np.random.default_rng(0), 60_000
    rows = maker.open_rows(START_US + 20 * DAY_US, np.full(count, 65_000.0), np.ones(count), START_US, rng)
    sight = maker.Sight(np.full(count, 65_000.0), np.full(count, 20 / 365), np.full(count, 0.6))
    rows = maker.requote(rows, sight, START_US, BTC, rng)
    both = (rows["bid"] > 0) & (rows["ask"] > 0)
    mid = np.median(rows["bid"][both] + rows["ask"][both])
    away = np.abs(rows["bid"] + rows["ask"] - mid)[both] / np.median(rows["ask"][both] - rows["bid"][both])
    assert maker.OUTLIERS / 2 < np.mean(away > 3.5) < maker.OUTLIERS * 2


def test_makers_sleep_a_fiftieth_of_the_time():
    rng, count = np.random.default_rng(0), 400
    rows = maker.open_rows(START_US + 20 * DAY_US, np.full(count, 65_000.0), np.ones(count), START_US, rng)
    sight = maker.Sight(np.full(count, 65_000.0), np.full(count, 20 / 365), np.full(count, 0.6))
    asleep = []
    for second in range(600):
        rows = maker.requote(rows, sight, START_US + second * 1_000_000, BTC, rng)
        asleep.append(np.mean(rows["asleep_until_us"] > START_US + second * 1_000_000))
    assert np.mean(asleep[100:]) == pytest.approx(maker.ASLEEP, rel=0.25)


def test_the_near_the_money_quote_more_often_and_nobody_twice_in_a_draw():
    market = Market(1, START_US, BTC, 400)
    drawn = [market.draw(40) for _ in range(50)]
    assert all(len(set(rows.tolist())) == 40 for rows in drawn)
    tickers = market.look(np.concatenate(drawn))
    everyone = market.look(range(400))
    assert np.mean(np.abs(np.abs(tickers.delta) - 0.5) < 0.3) > 1.3 * np.mean(
        np.abs(np.abs(everyone.delta) - 0.5) < 0.3
    )
    assert len(market.draw(1000)) == 400 and len(market.draw(0)) == 0


# listings


def test_at_eight_the_day_expires_and_another_is_listed():
    due = expiries(START_US, 1)[0]
    market = Market(1, due - 30_000_000, BTC, 240)
    quiet = market.step(29_999_999)
    assert not quiet.expired and not quiet.listed
    changes = market.step(1)
    assert {option.expiry_us for option in changes.expired} == {due} and len(changes.expired) == 20
    assert len(changes.listed) >= 20 and {option.expiry_us for option in changes.listed}.isdisjoint({due})
    assert list(market.expired) == list(changes.expired)
    assert market.positions == {option.name: row for row, option in enumerate(market.instruments)}
    assert len(np.unique([option.expiry_us for option in market.instruments])) == len(market.truth().expiry_us) >= 12
    fresh = market.look([market.positions[option.name] for option in changes.listed])
    assert np.mean((fresh.bid > 0) & (fresh.ask > 0)) > 0.5
    assert b"SYN.EXPIRY" not in stream(market)


def test_an_expiry_about_to_settle_says_so():
    due = expiries(START_US, 1)[0]
    market = Market(1, due - 29 * MINUTE_US, BTC, 24)
    sources = {data["underlying_index"] for _, data in dialect.option_tickers(market, market.look(range(24)))}
    assert "SYN.EXPIRY" in sources and {source.partition("-")[0] for source in sources} == {
        "SYN.EXPIRY",
        "SYN.BTC",
        "BTC",
    }


def test_quotes_stay_finite_to_the_last_microsecond():
    due = expiries(START_US, 1)[0]
    market = Market(1, due - 100_000_000, BTC, 240)
    for step_us in (90_000_000, 9_000_000, 900_000, 99_999):
        market.step(step_us)
        market.draw(240)
        assert all(np.isfinite(column).all() for column in market.look(range(240)))


def test_a_market_outlives_all_that_it_first_listed():
    market = Market(1, START_US, ETH, 48)
    first = set(market.positions)
    for _ in range(500):
        market.step(DAY_US)
    assert first.isdisjoint(market.positions)
    assert 12 <= len(market.truth().expiry_us) <= 16
    assert np.isfinite(market.look(range(len(market.instruments))).mark_price).all()


def test_futures_stand_around_the_true_forwards():
    market = Market(1, START_US, BTC, 24)
    forwards = dict(zip(market.truth().expiry_us.tolist(), market.truth().forwards, strict=True))
    futures = market.futures()
    assert futures[0].name == "BTC-PERPETUAL" and len(futures) > 6
    for future in futures[1:]:
        assert future.bid < future.ask
        assert abs(0.5 * (future.bid + future.ask) / forwards[future.expiry_us] - 1) < 1e-4
    assert [future.name for future in Market(1, START_US, XRP_USDC, 24).futures()] == ["XRP_USDC-PERPETUAL"]
