import deribit_wire as wire
import pytest

from kvd.config import Deribit
from kvd.quotes import BadFrame, ForwardQuote, Quote, Refusal
from kvd.venues import Reading, deribit
from kvd.venues.deribit.frames import Ack, Done, Failure, Heartbeat, Listing


def read(*frames: bytes) -> Reading:
    """The last frame's reading in a session that has read the others."""
    session = deribit.Session(Deribit())
    return [session.parse(frame, 77) for frame in frames][-1]


def quote(*frames: bytes) -> Quote:
    reading = read(*frames)
    (event,) = reading.events
    assert isinstance(event, Quote)
    return event


def reason(frame: bytes) -> str:
    reading = read(frame)
    (refusal,) = reading.refusals
    assert not reading.events
    return refusal.reason


def test_a_ticker_becomes_a_quote_with_vols_as_decimals():
    seen = quote(wire.ticker())
    assert (seen.bid, seen.ask, seen.bid_size, seen.ask_size) == (0.0305, 0.0315, 12.5, 3.0)
    assert (seen.bid_vol, seen.ask_vol, seen.mark_vol) == (0.545, 0.555, 0.55)
    assert (seen.forward, seen.forward_source) == (37123.5, "BTC-29DEC23")
    assert (seen.exchange_us, seen.receive_us) == (1_700_000_000_123_000, 77)


@pytest.mark.parametrize("nothing", [0, 0.0, None])
def test_zero_and_null_are_no_quote(nothing):
    seen = quote(wire.ticker(best_bid_price=nothing, best_bid_amount=nothing, bid_iv=nothing))
    assert (seen.bid, seen.bid_size, seen.bid_vol) == (None, None, None)
    assert seen.ask == 0.0315


def test_a_bid_below_intrinsic_value_has_a_price_and_no_vol():
    seen = quote(wire.ticker(bid_iv=0.0))
    assert (seen.bid, seen.bid_vol) == (0.0305, None)


def test_a_vol_that_is_nothing_as_a_decimal_is_no_vol():
    seen = quote(wire.ticker(bid_iv=5e-324, mark_iv=1e-9))
    assert all(vol is None for vol in (seen.bid_vol, seen.mark_vol))


def test_999_is_a_cap_not_a_vol():
    seen = quote(wire.ticker(best_ask_price=1.0, ask_iv=999.0))
    assert (seen.ask, seen.ask_vol) == (1.0, None)


def test_fields_a_combo_lacks_do_not_trip_the_reader():
    assert reason(wire.ticker("BTC-CSR12-29DEC23-21000_23000", best_bid_price=-0.01, mark_iv=-74.2)) == "combo"


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (wire.ticker(estimated_delivery_price="expired", mark_iv=250.0, ask_iv=500.0), "expired"),
        (wire.ticker(timestamp=1_703_836_800_000), "expired"),
        (wire.ticker(state="closed"), "not_open"),
        (wire.ticker("BTC-PERPETUAL"), "perpetual"),
        (wire.ticker("BTC-29DEC23", best_bid_price=0), "one_sided_future"),
        (wire.notification("markprice.options.btc_usd", []), "channel_markprice"),
        (wire.notification("book.BTC-29DEC23-40000-C.none.20.100ms", {}), "channel_book"),
        (wire.notification("what.is.this", {}), "unknown_channel"),
        (wire.encode({"method": "surprise"}), "unknown_method"),
        (wire.state("BTC-STRG-29DEC23-74000_79000", "created"), "combo"),
    ],
)
def test_refusals_are_named(frame: bytes, why: str):
    assert reason(frame) == why


def test_a_future_and_the_index_are_forward_quotes():
    (future,) = read(wire.ticker("ETH-29DEC23", best_bid_price=2050, best_ask_price=2050.5)).events
    assert future == ForwardQuote(
        "ETH-29DEC23", "deribit", "ETH", 1_703_836_800_000_000, 2050.0, 2050.5, 1_700_000_000_123_000, 77
    )
    (index,) = read(wire.index(2049.5, "eth_usdc")).events
    assert index == ForwardQuote("eth_usdc", "deribit", "ETH_USDC", None, 2049.5, 2049.5, 1_700_000_000_123_000, 77)


def test_a_listing_supplies_expiry_and_price_step_and_its_family_shares_the_step():
    listing = wire.result(3, [wire.row("BTC-29DEC23-40000-C", expiration_timestamp=1_703_840_400_000)])
    listed = quote(listing, wire.ticker()).instrument
    assert (listed.expiry_us, listed.tick_size) == (1_703_840_400_000_000, 0.0001)
    created = quote(listing, wire.ticker("BTC-29DEC23-41000-C")).instrument
    assert (created.expiry_us, created.tick_size) == (1_703_836_800_000_000, 0.0001)
    assert quote(wire.ticker()).instrument.tick_size == 0.0005


def test_a_listing_leaves_out_what_kvd_does_not_follow_and_survives_a_bad_row():
    rows = [
        wire.row("BTC-29DEC23-40000-C"),
        wire.row("BTC-29DEC23", "future", price_index="btc_usd"),
        wire.row("BTC-29DEC23-50000-C", is_active=False),
        wire.row("BTC-PERPETUAL", "future"),
        wire.row("BTC-CS-29DEC23-70000_75000", "option_combo"),
        wire.row("?"),
        {"instrument_name": "BTC-COMBO-1", "kind": "future_combo"},
    ]
    reading = read(wire.result(3, rows))
    names = ("BTC-29DEC23-40000-C", "BTC-29DEC23")
    assert reading.control == Listing(3, names, frozenset({"btc_usd"}))
    assert sorted(refusal.reason for refusal in reading.refusals) == [
        "bad_listing_row", "combo", "perpetual", "unknown_name",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "control"),
    [
        (wire.result(4, ["b", "a"]), Ack(4, frozenset("ab"))),
        (wire.result(4, []), Ack(4, frozenset())),
        (wire.result("text", "ok"), Done("text")),
        (wire.result(4, None), Done(4)),
        (wire.encode({"method": "heartbeat", "params": {"type": "test_request"}}), Heartbeat(True)),
        (wire.encode({"method": "heartbeat", "params": {"type": "heartbeat"}}), Heartbeat(False)),
    ],
)
def test_answers_are_control(frame: bytes, control: object):
    assert read(frame) == Reading(control=control)


def test_an_error_is_counted_and_may_lack_an_id():
    assert read(wire.error(None, -32600)) == Reading(
        (), (Refusal("deribit", "venue_error"),), Failure(None, -32600, "no")
    )


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"ping", b"[]", b"{}", b"null", b"\xff\xfe", b'{"method":"subscription"}', b"[" * 100_000,
        b'{"id":1.5,"result":1}',
        wire.ticker(best_bid_price=-0.1), wire.ticker(best_bid_amount=-1), wire.ticker(best_bid_price="0.1"),
        wire.ticker(timestamp=-1), wire.ticker(timestamp=10**18), wire.ticker(timestamp="now"),
        wire.ticker("BTC-31FEB24-1-C"),
        wire.ticker().replace(b"54.5", b"NaN"), wire.ticker().replace(b"54.5", b"1e999"),
        wire.notification("ticker.X.100ms", [1]), wire.index(0), wire.index(name="../etc"),
        wire.notification("platform_state", 1),
    ],
)  # fmt: skip
def test_what_is_not_the_protocol_is_a_bad_frame(frame: bytes):
    with pytest.raises(BadFrame):
        read(frame)


def test_the_names_it_remembers_are_bounded():
    session = deribit.Session(Deribit())
    template = wire.ticker("BTC-29DEC23-4000000-C")
    for strike in range(1_000_000, 1_070_000):
        session.parse(template.replace(b"4000000", str(strike).encode()), 0)
    assert len(session._reader._names) == 65_536
