import json
from collections.abc import Iterable
from typing import Any

import deribit_wire as wire

from kvd.config import Deribit
from kvd.venues.deribit import Session
from kvd.venues.deribit.session import BACK_OFF_S, RETRIES, TEST
from kvd.venues.deribit.silence import DUE_AFTER_US, MAX_ASKS

BTC = Deribit(currencies=("BTC",), chunk_channels=4)
OPTIONS = [f"BTC-29DEC23-{strike}-C" for strike in range(30000, 40000, 1000)]


def tell(session: Session, frame: bytes) -> list[dict[str, Any]]:
    return [json.loads(request) for request in session.reply(session.parse(frame, 0).control)]


def serve(session: Session, requests: Iterable[dict[str, Any]], listed: list[str]) -> list[dict[str, Any]]:
    """Answer every request as Deribit would, acks in reverse order, until none is left; returns all there were."""
    waiting, seen = list(requests), []
    while waiting:
        request = waiting.pop(0)
        seen.append(request)
        params, answer = request["params"], "ok"
        if "channels" in params:
            answer = params["channels"][::-1]
        elif "kind" in params:
            answer = [wire.row(name) for name in listed] if params["kind"] == "option" else []
        waiting += tell(session, wire.result(request["id"], answer))
    return seen


def opened(settings: Deribit = BTC) -> tuple[Session, list[dict[str, Any]]]:
    session = Session(settings)
    return session, [json.loads(request) for request in session.subscribe()]


def channels(requests: Iterable[dict[str, Any]], method: str = "public/subscribe") -> list[list[str]]:
    return [request["params"]["channels"] for request in requests if request["method"] == method]


def test_it_asks_for_heartbeats_the_canary_and_the_listings():
    session, requests = opened(Deribit())
    assert [request["method"].removeprefix("public/") for request in requests] == [
        "set_heartbeat", "subscribe", *["get_instruments"] * 6,
    ]  # fmt: skip
    assert requests[0]["params"] == {"interval": 10}
    assert channels(requests)[0][:4] == [
        "deribit_price_index.btc_usd",
        "deribit_price_index.eth_usd",
        "deribit_price_index.btc_usdc",
        "platform_state",
    ]
    assert session.canary == "btc_usd"
    assert len({request["id"] for request in requests}) == len(requests)


def test_listed_options_are_subscribed_to_in_chunks():
    session, requests = opened()
    asked = channels(serve(session, requests, OPTIONS))
    assert all(len(chunk) <= 4 for chunk in asked)
    wanted = [channel for chunk in asked for channel in chunk]
    assert [channel for channel in wanted if channel.startswith("ticker")] == [f"ticker.{o}.100ms" for o in OPTIONS]
    assert session.channels_wanted == session.channels_acked == len(wanted)


def test_a_linear_currency_brings_the_indexes_of_its_listing():
    session, requests = opened(Deribit(currencies=("USDC",)))
    assert session.canary == "btc_usdc"
    serve(session, [r for r in requests if r["method"] != "public/get_instruments"], [])
    listing = wire.result(9, [wire.row("XRP_USDC-29DEC23-0d5-C", price_index="xrp_usdc")])
    (chunk,) = channels(tell(session, listing))
    assert chunk == ["deribit_price_index.xrp_usdc", "ticker.XRP_USDC-29DEC23-0d5-C.100ms"]


def test_listings_and_expiries_are_followed():
    session, requests = opened()
    serve(session, requests, OPTIONS)
    before = session.channels_acked
    new = "BTC-29DEC23-50000-C"
    assert channels(serve(session, tell(session, wire.state(new, "created")), [])) == [[f"ticker.{new}.100ms"]]
    assert tell(session, wire.state(new, "started")) == []
    assert session.channels_acked == before + 1
    gone = serve(session, tell(session, wire.state(OPTIONS[0], "terminated")), [])
    assert channels(gone, "public/unsubscribe") == [[f"ticker.{OPTIONS[0]}.100ms"]]
    assert session.channels_wanted == session.channels_acked == before


def test_a_request_refused_without_an_id_is_halved():
    session, requests = opened()
    serve(session, [r for r in requests if r["method"] != "public/get_instruments"], [])
    (first,) = tell(session, wire.result(99, [wire.row(name) for name in OPTIONS]))
    (half,) = tell(session, wire.error(None, -32600))
    assert half["params"]["channels"] == first["params"]["channels"][:2]
    rest = channels(serve(session, [half], []))
    assert max(map(len, rest)) == 2
    assert session.channels_wanted == session.channels_acked


def test_channels_left_out_of_the_ack_are_retried_and_then_dropped():
    session, requests = opened()
    (subscribe,) = (request for request in requests if request["method"] == "public/subscribe")
    index = "deribit_price_index.btc_usd"
    for _ in range(3):
        assert session.canary == "btc_usd"
        assert index in subscribe["params"]["channels"]
        kept = [channel for channel in subscribe["params"]["channels"] if channel != index]
        answer = tell(session, wire.result(subscribe["id"], kept))
        subscribe = answer[0] if answer else subscribe
    assert session.canary is None
    assert (session.channels_wanted, session.channels_acked) == (4, 3)


def test_a_test_request_is_answered_at_once_and_outside_the_quotas():
    session, _ = opened()
    heartbeat = wire.encode({"method": "heartbeat", "params": {"type": "test_request"}})
    assert session.reply(session.parse(heartbeat, 0).control) == [TEST]
    assert session.quota_of(TEST) is None
    assert {session.quota_of(request) for request in Session(BTC).subscribe()} == {None, "subscribe", "get_instruments"}


def test_10028_asks_for_a_pause():
    session, _ = opened()
    assert session.retry_after_s is None
    tell(session, wire.error(1, 10028, "too_many_requests"))
    assert session.retry_after_s == BACK_OFF_S
    assert "too_many_requests" in session.last_error


def test_a_retryable_error_repeats_the_request_a_few_times():
    session, requests = opened()
    for request in (requests[1], requests[2]):
        (again,) = tell(session, wire.error(request["id"], 11051, "system_maintenance"))
        assert (again["method"], again["params"]) == (request["method"], request["params"])
        serve(session, [again], [])
    for _ in range(RETRIES + 1):
        assert session.retry_after_s is None
        tell(session, wire.error(requests[3]["id"], 10041))
    assert session.retry_after_s == BACK_OFF_S


def test_a_request_that_is_never_answered_ends_the_connection():
    session, _ = opened()
    heartbeat = wire.encode({"method": "heartbeat", "params": {"type": "test_request"}})
    for _ in range(2):
        tell(session, heartbeat)
        tell(session, wire.result(0, {"version": "1.2.26"}))
    assert session.retry_after_s is None
    tell(session, heartbeat)
    assert session.retry_after_s == 0.0


def test_a_locked_platform_is_told():
    session, _ = opened()
    tell(session, wire.notification("platform_state", {"locked": True, "price_index": "btc_usd"}))
    assert session.last_error == "platform locked btc_usd"


def test_only_maintenance_means_that_the_connection_will_end():
    session, _ = opened()
    tell(session, wire.notification("platform_state", {"locked": True, "price_index": "btc_usd"}))
    assert not session.leaving
    tell(session, wire.notification("platform_state", {"maintenance": True}))
    assert session.leaving and session.last_error == "platform in maintenance"
    tell(session, wire.notification("platform_state", {"locked": False, "price_index": "btc_usd"}))
    assert session.leaving
    tell(session, wire.notification("platform_state", {"maintenance": False}))
    assert not session.leaving


def test_it_is_subscribed_once_everything_is_answered():
    session, requests = opened()
    assert not session.subscribed
    serve(session, requests[1:], OPTIONS)
    assert not session.subscribed  # the heartbeat has not been answered
    serve(session, requests[:1], [])
    assert session.subscribed
    new = tell(session, wire.state("BTC-29DEC23-50000-C", "created"))
    assert not session.subscribed
    serve(session, new, [])
    assert session.subscribed


def test_tickers_that_never_speak_are_asked_for_again_and_then_given_up():
    session, requests = opened()
    serve(session, requests, OPTIONS[:4])
    mute = [f"ticker.{name}.100ms" for name in OPTIONS[:2]]
    speaking = [wire.index(), *map(wire.ticker, OPTIONS[2:4])]
    asked, now_us = [], 0
    for _ in range(6):
        for frame in speaking:
            session.parse(frame, now_us)
        now_us += DUE_AFTER_US
        nudges = [json.loads(request) for request in session.nudge(now_us)]
        for request in serve(session, nudges, []):
            asked.append((request["method"].removeprefix("public/"), request["params"]["channels"]))
    assert asked == [("unsubscribe", mute), ("subscribe", mute)] * (MAX_ASKS - 1)
    assert session.channels_silent == 2 and session.channels_acked == session.channels_wanted
    assert session.last_error == f"2 channels never spoke, such as {', '.join(mute)}"
    assert all(session.quota_of(request) == "subscribe" for request in session.nudge(10 * now_us))
    session.parse(wire.ticker(OPTIONS[0]), now_us)
    assert session.channels_silent == 1


def test_a_ticker_that_is_gone_is_not_missed():
    session, requests = opened()
    serve(session, requests, OPTIONS[:1])
    session.parse(wire.index(), 0)
    serve(session, tell(session, wire.state(OPTIONS[0], "expired")), [])
    assert session.nudge(DUE_AFTER_US) == [] and session.channels_silent == 0
