import json
from math import isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from option_chain import NOW, chain, instrument, quote
from smiles import CHRISTMAS, DAY, NOON, SECOND, same, smile, update

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.latest import Batch
from kvd.quotes import Instrument
from kvd.sinks.answers import Sources
from kvd.sinks.history import History
from kvd.sinks.pages import Call, answer
from kvd.surface import Surface
from kvd.wire import Encoder, decode_smile, iso

EVENING = CHRISTMAS + 8 * 3600 * SECOND
ASK = "/v1/vol?underlying=BTC&expiry=2026-12-25"


def sources(**more):
    encoder = Encoder("e1")
    encoder.encode(update(smile(), smile(EVENING, tau=0.5), smile(CHRISTMAS + DAY)))
    encoder.encode(update(smile(venue="okx")))
    return Sources(encoder, dict, bytes, **more)


def get(target, looked_at=None):
    found = answer(Call("GET", target), looked_at or sources())
    return found.status, json.loads(found.body)


# Vols


def test_the_vol_at_strikes_is_the_smiles_own():
    status, body = get(f"{ASK}&strike=70000&strike=60000.5&strike=1e6")
    assert (status, body["underlying"], body["epoch"]) == (200, "BTC", "e1")
    assert [vols["venue"] for vols in body["vols"]] == ["deribit", "okx"]
    told, forward = body["vols"][0], smile().forward.value
    assert (told["expiry"], told["state"], told["forward"]["sd"]) == ("2026-12-25T08:00:00.000000Z", "live", 3.25)
    for strike, row in zip([70_000.0, 60_000.5, 1e6], told["strikes"], strict=True):
        assert row["strike"] == strike
        assert row["k"] == pytest.approx(log(strike / forward), rel=1e-15)
        assert row["vol"] == smile().vol(strike)
        assert row["sd"] == smile().sd_of_vol(strike)
    assert [row["certified"] for row in told["strikes"]] == [True, True, False]


def test_an_expiry_is_named_as_in_topics():
    assert get(f"{ASK}T16:00&strike=60000")[1]["vols"][0]["tau"] == 0.5
    status, body = get(f"{ASK}T08:00&strike=60000")
    assert (status, body["code"]) == (404, "no_expiry")
    assert body["message"].endswith("there are 2026-12-25, 2026-12-25T16:00, 2026-12-26")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/v1/vol", "say underlying=, such as underlying=BTC"),
        ("/v1/vol?underlying=BTC", "say expiry=, such as expiry=2026-12-25, as topics name it"),
        (ASK, "say strike=, such as strike=65000; it may be said up to 100 times"),
        (f"{ASK}&strike=", "say strike="),
        (f"{ASK}&strike=1&strike=", "strike= is no number from 1e-12 to 1e+15"),
        (f"{ASK}&strike=-1", "strike=-1 is no number from 1e-12 to 1e+15"),
        (f"{ASK}&strike=inf", "strike=inf is no number from 1e-12 to 1e+15"),
        (f"{ASK}&strike=nan", "strike=nan is no number from 1e-12 to 1e+15"),
        (f"{ASK}{'&strike=1' * 101}", "strike was said 101 times: say it up to 100 times"),
        ("/v1/surface/BTC?at=soon", "'soon' is no instant: write at as in at=1970-01-01T00:00Z"),
        ("/v1/surface/BTC?at=", "'' is no instant"),
        ("/v1/instruments?after=X", "no 'X' is followed: leave out after= and begin anew"),
    ],
)
def test_what_cannot_be_served_says_the_mend(target, says):
    status, body = get(target)
    assert (status, body["type"], body["code"]) == (400, "error", "bad_query")
    assert body["message"].startswith(says)


names = st.sampled_from(["underlying", "expiry", "strike", "venue", "at", "after", "x"])
values = (
    st.sampled_from(["BTC", "2026-12-25", "1e-320", "1e308", "60000", "deribit", "9999-12-31", "0001-01-01"])
    | st.text()
)
paths = st.sampled_from(["/v1/vol", "/v1/surface/BTC", "/v1/instruments", "/v1/tenors/BTC"])


@given(paths, st.lists(st.tuples(names, values), max_size=6))
def test_any_query_gets_a_page_of_finite_numbers(path, query):
    from urllib.parse import quote as quoted

    found = answer(Call("GET", f"{path}?{'&'.join(f'{name}={quoted(value)}' for name, value in query)}"), sources())
    assert found.status in (200, 400, 404)
    assert b"null" not in found.body
    json.loads(found.body, parse_constant=pytest.fail)


@given(st.floats(1e-12, 1e15))
def test_any_strike_has_a_vol(strike):
    status, body = get(f"{ASK}&strike={strike!r}")
    (row,) = body["vols"][0]["strikes"]
    assert status == 200 and row["vol"] > 0 and all(map(isfinite, (row["k"], row["vol"], row["sd"])))


# Constant maturities


def test_constant_maturities_are_the_surfaces_own():
    smiles = tuple(smile(NOON + days * DAY, tau=days / 365, exchange_us=NOON) for days in (10, 45, 75))
    encoder = Encoder("e1")
    encoder.encode(update(*smiles))
    status, body = get("/v1/tenors/BTC", Sources(encoder, dict, bytes))
    (told,) = body["surfaces"]
    surface = Surface("deribit", "BTC", smiles)
    assert (status, told["venue"], told["publish_time"]) == (200, "deribit", "2026-07-02T12:00:00.000000Z")
    assert [tenor["days"] for tenor in told["tenors"]] == [7, 30, 60]
    for tenor, own in zip(told["tenors"], surface.tenors(), strict=True):
        assert tenor["expiry"] == iso(NOON + own.days * DAY)
        expected = {name: value for name, value in own._asdict().items() if name != "expiry_us" and value is not None}
        assert {name: value for name, value in tenor.items() if name != "expiry"} == expected
    assert told["variance_index"] == surface.variance_index()._asdict()


def test_before_an_expiry_of_thirty_days_there_is_no_variance_index():
    encoder = Encoder("e1")
    encoder.encode(update(smile(NOON + 5 * DAY, tau=5 / 365, exchange_us=NOON)))
    (told,) = get("/v1/tenors/BTC", Sources(encoder, dict, bytes))[1]["surfaces"]
    assert told["tenors"] == [] and "variance_index" not in told


# Earlier surfaces


def test_an_earlier_surface_says_its_instant_and_how_far_apart_they_are():
    looked_at = sources(history=History(1.0))
    for minute in range(3):
        one = update(smile(publish_us=NOON + minute * 60 * SECOND, quotes=minute))
        looked_at.history.before(one, looked_at.encoder)
        looked_at.encoder.encode(one)
    for at in ("2026-07-02T12:01:30Z", "2026-07-02T12:01:30", "2026-07-02T14:01:30+02:00"):
        status, body = get(f"/v1/surface/BTC?at={at}", looked_at)
        (earlier,) = body["surfaces"]
        assert (status, body["epoch"], earlier["venue"], earlier["seq"]) == (200, "e1", "deribit", 5)
        assert (earlier["at"], earlier["resolution_s"]) == ("2026-07-02T12:01:00.000000Z", 60)
        shown = decode_smile(json.dumps(earlier["smiles"][0]))
        assert same(shown, smile(publish_us=NOON + 60 * SECOND, quotes=1))
    assert "at" not in get("/v1/surface/BTC", looked_at)[1]["surfaces"][0]
    status, body = get("/v1/surface/BTC?at=2026-07-02T11:59", looked_at)
    assert (status, body["code"]) == (404, "no_history")
    assert body["message"].endswith("surfaces are kept from 2026-07-02T12:00:00.000000Z on")
    assert get("/v1/surface/BTC?at=2026-07-02T11:59")[1]["message"].endswith("of no minute: see publish.history_h")


# Instruments


def test_what_is_followed_is_what_was_quoted():
    calibrator = Calibrator(Settings())
    quotes = chain(NOW + 7 * DAY)
    in_the_money = quote(instrument(NOW + 7 * DAY, 20_000.0, "call"))
    calibrator.step(Batch(NOW, (*quotes, in_the_money)))
    status, body = get("/v1/instruments", sources(followed=calibrator.followed))
    assert status == 200
    assert list(body) == ["instruments"]
    told = {one["name"]: one for one in body["instruments"]}
    assert set(told) == {q.instrument.name for q in (*quotes, in_the_money)}
    of = quotes[0].instrument
    assert told[of.name] == {
        "name": of.name, "venue": "deribit", "underlying": "BTC", "expiry": "2023-11-21T22:13:20.000000Z",
        "strike": of.strike, "type": "put", "inverse": True, "counts": True, "tick_size": 0.0005,
    }  # fmt: skip
    assert [name for name, one in told.items() if not one["counts"]] == [in_the_money.instrument.name]
    looked_at = sources(followed=calibrator.followed)
    for query, count in (("underlying=BTC", 10), ("underlying=ETH", 0), ("venue=deribit", 10), ("venue=okx", 0)):
        assert len(get(f"/v1/instruments?{query}", looked_at)[1]["instruments"]) == count


def test_many_instruments_come_in_parts():
    every = [(Instrument(f"I{i}", "deribit", "BTC", CHRISTMAS, 1.0 + i, "put", False), True) for i in range(2500)]
    looked_at = sources(followed=lambda _venue, _underlying: every)
    heard, after = [], ""
    while after is not None:
        _, body = get(f"/v1/instruments?{after}", looked_at)
        assert len(body["instruments"]) <= 1000
        heard += [one["name"] for one in body["instruments"]]
        after = f"after={body['next']}" if "next" in body else None
    assert heard == [one.name for one, _ in every]
    assert "tick_size" not in body["instruments"][0]
    assert get("/v1/instruments?after=I2499", looked_at)[1] == {"instruments": []}
