import json
import math
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, SECOND, same, smile, update

from kvd.surface import (
    RESIDUAL_KNOTS,
    Certificate,
    Forward,
    JumpWings,
    Locked,
    Parameters,
    RawSvi,
    Regime,
    Smile,
    TrackRecord,
)
from kvd.wire import Encoder, EncoderState, decode, iso

GOLDEN = Path(__file__).parent / "golden" / "messages.ndjson"
KNOTS = len(RESIDUAL_KNOTS)
numbers = st.floats(allow_nan=False, allow_infinity=False)
sds = st.floats(min_value=0, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
shares, correlations = st.floats(0, 1), st.floats(-1, 1)
counts = st.integers(0, 10**6)
instants = st.integers(0, 4_000_000_000 * SECOND)


def each(numbers, count):
    return st.lists(numbers, min_size=count, max_size=count).map(tuple)


certificates = st.builds(
    Certificate,
    k_low=numbers,
    k_high=numbers,
    points=st.integers(1, 10**6),
    butterfly=numbers,
    calendar=st.none() | numbers,
    method=st.sampled_from(["measured", "projected"]),
)
records = st.builds(
    TrackRecord,
    quotes=sds,
    nis=sds,
    coverage=each(shares, 3),
    batches=sds,
    common=sds,
    whiteness=correlations,
    widened_by=st.floats(min_value=1, allow_infinity=False),
)
locks = st.builds(
    Locked,
    id=st.text(),
    of=st.sampled_from(["skew", "vol"]),
    strike=st.none() | positive,
    value=numbers,
    sd=positive,
    author=st.text(),
    until_us=st.none() | instants,
    market=numbers,
)
smiles = st.builds(  # what delta points are made of is bounded: a smile has them, whatever else it says
    Smile,
    venue=st.just("deribit"),
    underlying=st.sampled_from(["BTC", "BTC_USDC", "null"]),
    expiry_us=instants,
    tau=st.floats(1e-5, 10),
    forward=st.builds(Forward, st.floats(1e-3, 1e7), st.floats(0, 1e5), st.text()),
    parameters=st.builds(Parameters, st.floats(0.01, 10), *[numbers] * 4),
    sd=st.builds(Parameters, *[sds] * 5),
    raw=st.builds(RawSvi, st.floats(-10, 10), st.floats(0, 10), correlations, st.floats(-10, 10), st.floats(0, 10)),
    jump_wings=st.builds(JumpWings, positive, *[numbers] * 4),
    regime=st.builds(Regime, shares, shares, shares, numbers, sds),
    residual=each(st.floats(-1, 1), KNOTS),
    vol_sd=each(st.floats(0, 10), KNOTS),
    vol_root=correlations.map(lambda number: np.full(KNOTS * (KNOTS - 1) // 2, number)),
    covariance=st.lists(numbers, min_size=25, max_size=25).map(lambda row: np.array(row).reshape(5, 5)),
    quoted_low=st.none() | numbers,
    quoted_high=st.none() | numbers,
    certificate=certificates,
    nis=st.none() | sds,
    nis_dof=counts,
    inside=st.none() | shares,
    quotes=counts,
    record=st.none() | records,
    locked=st.lists(locks, max_size=2).map(tuple),
    state=st.sampled_from(["live", "widened", "predicted", "held"]),
    reason=st.sampled_from(["", "null quotes", "no data: null"]),
    since_us=instants,
    exchange_us=instants,
    receive_us=instants,
    publish_us=instants,
)


@given(smiles)
def test_a_smile_comes_back_equal(sent):
    surface, alone, _ = Encoder("e").encode(update(sent))
    assert same(decode(alone.payload).smiles[0], sent)
    assert same(decode(surface.payload).smiles[0], sent)


@given(st.lists(st.integers(0, 4).map(lambda day: CHRISTMAS + day * DAY), max_size=30))
def test_every_topic_counts_by_one_from_one(expiries):
    encoder = Encoder("e")
    last: dict[str, int] = {}
    for expiry_us in expiries:
        for message in encoder.encode(update(smile(expiry_us))):
            body = orjson.loads(message.payload)
            assert body["prev_seq"] == message.prev_seq == last.get(message.topic, 0)
            assert body["seq"] == message.seq == message.prev_seq + 1 == encoder.seq(message.topic)
            last[message.topic] = message.seq


def test_messages_are_as_published_before():
    encoder = Encoder("2026-07-02T12:00:00Z")
    moved = smile(
        reason="feed lost", state="held", nis=None, inside=None, quoted_low=None, quoted_high=None, record=None
    )
    sent = [
        *encoder.encode(update(smile())),
        *encoder.encode(update(moved._replace(certificate=Certificate(-1.0, 1.0, 101, 0.01, None, "measured")))),
        *encoder.encode(update(smile(CHRISTMAS + SECOND * 3600), withdrawn=(CHRISTMAS,))),
        encoder.status({"venue": "deribit", "state": "connected"}),
    ]
    lines = [message.payload for message in sent] + [encoder.snapshot(topic) for topic in encoder.topics()]
    assert b"\n".join(lines).decode() + "\n" == GOLDEN.read_text()


def test_a_surface_says_as_much_as_a_smile_and_atm_far_less():
    keys = {m.kind: set(json.loads(m.payload)["smile"]) for m in Encoder("e").encode(update(smile()))}
    assert keys["smile"] == keys["surface"] > keys["atm"]
    assert "curvature" not in keys["atm"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("tau", lambda _, bad: {"tau": bad}),
        ("forward.sd", lambda s, bad: {"forward": s.forward._replace(sd=bad)}),
        ("sd.put_wing", lambda s, bad: {"sd": s.sd._replace(put_wing=bad)}),
        ("nis", lambda _, bad: {"nis": np.float64(bad)}),
        ("certificate.calendar", lambda s, bad: {"certificate": s.certificate._replace(calendar=bad)}),
        ("residual.3", lambda s, bad: {"residual": (*s.residual[:3], bad, *s.residual[4:])}),
        ("vol_sd.0", lambda s, bad: {"vol_sd": (bad, *s.vol_sd[1:])}),
        ("record.nis", lambda s, bad: {"record": s.record._replace(nis=bad)}),
        ("record.coverage.1", lambda s, bad: {"record": s.record._replace(coverage=(0.5, bad, 0.9))}),
        ("covariance", lambda _, bad: {"covariance": np.full((5, 5), bad)}),
    ],
)
def test_what_is_not_finite_is_named_and_never_numbered(bad, field, change):
    encoder = Encoder("e")
    broken = smile(CHRISTMAS + DAY)._replace(**change(smile(), bad))
    with pytest.raises(ValueError, match=rf"must not be published: {field} is"):
        encoder.encode(update(smile(), broken))
    assert not list(encoder.topics())
    assert encoder.encode(update(smile()))[0].seq == 1


def test_two_expiries_of_one_date_keep_their_topics_for_life():
    encoder = Encoder("e")
    evening = CHRISTMAS + 8 * 3600 * SECOND

    def topic(*smiles, withdrawn=()):
        return [m.topic for m in encoder.encode(update(*smiles, withdrawn=withdrawn)) if m.kind == "smile"]

    assert topic(smile(), smile(evening)) == [
        "smile.deribit.BTC.2026-12-25",
        "smile.deribit.BTC.2026-12-25T16:00",
    ]
    assert topic(withdrawn=(CHRISTMAS,)) == ["smile.deribit.BTC.2026-12-25"]
    assert topic(smile(evening)) == ["smile.deribit.BTC.2026-12-25T16:00"]
    assert decode(encoder.snapshot("smile.deribit.BTC.2026-12-25T16:00")).smiles[0].expiry_us == evening


@given(st.lists(st.integers(0, 3), max_size=8), st.integers(0, 8))
def test_numbers_and_names_go_on_where_they_were_put_aside(expiries, cut):
    """Two expiries of each of two dates, which come, are told again and leave."""
    running, messages, again = Encoder("e"), [], []
    for i, which in enumerate(expiries):
        if i == cut:
            kept = msgspec.msgpack.decode(msgspec.msgpack.encode(running.state()), type=EncoderState)
            taken_up = Encoder("e")
            taken_up.restore(kept)
            again = [taken_up, len(messages), []]
        expiry_us = CHRISTMAS + which % 2 * 3600 * SECOND + which // 2 * DAY
        leaving = (expiry_us,) if expiries[:i].count(which) % 2 else ()
        one = update(*[smile(expiry_us)] * (not leaving), withdrawn=leaving)
        messages += [m.payload for m in running.encode(one)]
        if again:
            again[2] += [m.payload for m in again[0].encode(one)]
    if again:
        assert again[2] == messages[again[1] :]
        assert again[0].state() == running.state() and [*again[0].topics()] == [*running.topics()]


def test_what_was_put_aside_does_not_change_with_who_goes_on():
    running = Encoder("e")
    running.encode(update(smile()))
    kept = running.state()
    taken_up = Encoder("later")
    taken_up.restore(kept)
    for encoder in (running, taken_up):
        assert encoder.encode(update(smile(CHRISTMAS + DAY)))[0].seq == 2
    assert kept.seq == {m.topic: 1 for m in Encoder("e").encode(update(smile()))}
    assert taken_up.state() == running.state() != kept


def test_a_withdrawn_expiry_says_so_and_leaves_the_snapshot():
    encoder = Encoder("e")
    encoder.encode(update(smile(), smile(CHRISTMAS + DAY)))
    sent = encoder.encode(update(withdrawn=(CHRISTMAS,)))
    assert [decode(m.payload).withdrawn for m in sent] == [(CHRISTMAS,)] * 3
    assert json.loads(sent[0].payload)["smile"]["reason"] == "unlisted"
    left = decode(encoder.snapshot("surface.deribit.BTC"))
    assert [s.expiry_us for s in left.smiles] == [CHRISTMAS + DAY]
    assert left.seq == sent[0].seq == 3
    assert "smile.deribit.BTC.2026-12-25" not in encoder.topics()
    assert decode(encoder.snapshot("smile.deribit.BTC.2026-12-25")).smiles == ()


def test_a_payload_is_encoded_once():
    message = Encoder("e").encode(update(smile()))[0]
    assert message.payload is message.payload


def test_times_have_microseconds_always():
    assert iso(NOON) == "2026-07-02T12:00:00.000000Z"
    assert iso(NOON + 7) == "2026-07-02T12:00:00.000007Z"
