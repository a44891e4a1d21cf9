import asyncio
import contextlib
import gzip
import json
import socket
from datetime import UTC, datetime

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from kvd.config import Deribit
from kvd.feeds.simulate import BTC, ETH, FAMILIES, XRP_USDC, Exchange, Limits, Market, catalogue, dialect
from kvd.feeds.simulate.listing import DAY_US, expiries
from kvd.feeds.simulate.session import DERIBIT_LIMITS, Session
from kvd.quotes import ForwardQuote, Quote
from kvd.venues.deribit import Session as KvdSession

START_US = int(datetime(2026, 9, 21, 14, 12, tzinfo=UTC).timestamp()) * 1_000_000
PATIENCE_S = 10.0


def run(scenario):
    async def limited():
        async with asyncio.timeout(PATIENCE_S * 2):
            await scenario()

    asyncio.run(limited())


def small(**changes):
    return Exchange(1, **{"instruments": 120, "rate": 300.0, "start_us": START_US} | changes)


def dial(exchange):
    return connect(exchange.url, compression=None, max_queue=None, close_timeout=1.0)


async def ask(socket, method, identity=1, **params):
    """Send a request; its reply, passing over everything else."""
    request = {"jsonrpc": "2.0", "id": identity, "method": f"public/{method}", "params": params}
    await socket.send(orjson.dumps(request).decode())
    return await anything(socket, lambda message: "method" not in message)


async def anything(socket, wanted):
    """The next message that is `wanted`."""
    async with asyncio.timeout(PATIENCE_S):
        while not wanted(message := orjson.loads(await socket.recv())):
            pass
    return message


async def published(socket, channel, wanted=lambda _: True):
    """The data of the next message of `channel` that is `wanted`."""
    message = await anything(
        socket, lambda m: m.get("params", {}).get("channel") == channel and wanted(m["params"]["data"])
    )
    return message["params"]["data"]


async def closed(socket):
    """Read until the server closes; the close code."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


def tickers(names, interval="100ms"):
    return [dialect.ticker_channel(name, interval) for name in names]


# requests


def test_instruments_are_listed_by_currency_kind_and_expired():
    async def scenario():
        async with small(families=FAMILIES) as exchange, dial(exchange) as client:
            options = await ask(client, "get_instruments", currency="BTC", kind="option", expired=False)
            rows = {row["instrument_name"]: row for row in options["result"]}
            assert rows.keys() == exchange.markets["BTC"].positions.keys()
            for option in exchange.markets["BTC"].instruments:
                row = rows[option.name]
                assert (row["strike"], row["expiration_timestamp"] * 1000) == (option.strike, option.expiry_us)
            linear = await ask(client, "get_instruments", currency="USDC", kind="option")
            assert {row["quote_currency"] for row in linear["result"]} == {"USDC"}
            futures = await ask(client, "get_instruments", currency="ETH", kind="future")
            assert "ETH-PERPETUAL" in {row["instrument_name"] for row in futures["result"]}
            assert (await ask(client, "get_instruments", currency="BTC", expired=True))["result"] == []
            assert len((await ask(client, "get_instruments", currency="any"))["result"]) > 3 * 120

    run(scenario)


def test_small_requests():
    async def scenario():
        async with small() as exchange, dial(exchange) as client:
            assert (await ask(client, "test"))["result"] == {"version": "1.2.26"}
            assert (await ask(client, "hello", "a", client_name="kvd", client_version="1"))["id"] == "a"
            assert abs((await ask(client, "get_time"))["result"] - START_US // 1000) < 60_000
            assert (await ask(client, "buy"))["error"]["code"] == -32601
            assert (await ask(client, "subscribe", channels="ticker"))["error"]["code"] == -32602
            for text, code in (("{", -32700), ("[]", -32600), ('{"id": 3}', -32600)):
                await client.send(text)
                assert (await anything(client, lambda m: "error" in m))["error"]["code"] == code

    run(scenario)


def test_an_ack_is_in_another_order_and_leaves_out_what_is_unknown():
    async def scenario():
        async with small() as exchange, dial(exchange) as client:
            names = sorted(exchange.markets["BTC"].positions)[:10]
            asked = ["platform_state", *tickers(names), "ticker.BTC-1JAN20-1-C.100ms", "ticker.BTC-PERPETUAL.agg2"]
            reply = await ask(client, "subscribe", channels=[*asked, "deribit_price_index.btc_usdc", "trades.x.100ms"])
            assert reply["result"] != asked
            assert set(reply["result"]) == set(asked) - {"ticker.BTC-1JAN20-1-C.100ms"}
            refused = await ask(client, "subscribe", channels=tickers(names, "raw"))
            assert refused["error"]["code"] == 13778

    run(scenario)


def test_a_request_that_is_too_large_is_refused_without_an_id():
    async def scenario():
        async with small(limits=Limits(chunk_channels=20)) as exchange, dial(exchange) as client:
            channels = tickers(sorted(exchange.markets["BTC"].positions))
            refused = await ask(client, "subscribe", 7, channels=channels[:21])
            assert refused["error"]["code"] == -32600 and "id" not in refused
            assert len((await ask(client, "subscribe", 8, channels=channels[:20]))["result"]) == 20

    run(scenario)


@pytest.mark.parametrize(
    ("method", "params", "burst"),
    [
        ("subscribe", {"channels": ["platform_state"]}, 10),
        ("get_instruments", {"currency": "ETH"}, 5),
        ("get_time", {}, 100),
    ],
)
def test_spent_credits_cost_the_session(method, params, burst):
    session = Session(DERIBIT_LIMITS, lambda _: True, lambda *_: [])
    request = orjson.dumps({"id": 1, "method": f"public/{method}", "params": params})
    replies = [session.receive(request, START_US, 50.0) for _ in range(burst + 1)]
    assert not any(reply.ends for reply in replies[:burst])
    assert replies[burst].ends
    assert orjson.loads(replies[burst].frames[0])["error"] == {"code": 10028, "message": "too_many_requests"}
    assert not session.receive(request, START_US, 51.0).ends


def test_spent_credits_close_the_connection():
    async def scenario():
        async with small() as exchange, dial(exchange) as client:
            for identity in range(12):
                request = {"id": identity, "method": "public/subscribe", "params": {"channels": ["platform_state"]}}
                await client.send(orjson.dumps(request).decode())
            refused = await anything(client, lambda m: "error" in m)
            assert refused["error"]["code"] == 10028 and refused["id"] == 10
            assert await closed(client) == 1008

    run(scenario)


# heartbeats


def test_a_heartbeat_below_ten_seconds_is_refused():
    async def scenario():
        async with small() as exchange, dial(exchange) as client:
            for interval in (9, "10", None):
                assert (await ask(client, "set_heartbeat", interval=interval))["error"]["code"] == -32602
            assert (await ask(client, "set_heartbeat", interval=10))["result"] == "ok"
            assert (await ask(client, "disable_heartbeat"))["result"] == "ok"

    run(scenario)


def test_an_answered_heartbeat_keeps_the_session_and_an_unanswered_one_ends_it():
    async def scenario():
        limits = Limits(least_heartbeat_s=0.05)
        async with small(limits=limits) as exchange, dial(exchange) as client:
            await ask(client, "set_heartbeat", interval=0.2)
            for _ in range(3):
                await anything(client, lambda m: m.get("params") == {"type": "heartbeat"})
                await anything(client, lambda m: m.get("params") == {"type": "test_request"})
                assert (await ask(client, "test"))["result"]
            assert await closed(client) == 1008

    run(scenario)


# what is published


def test_every_subscribed_channel_speaks_at_once():
    async def scenario():
        async with small(rate=0.0) as exchange, dial(exchange) as client:
            market = exchange.markets["BTC"]
            channels = {
                *tickers(market.positions),
                *tickers(market.future_names, "agg2"),
                "deribit_price_index.btc_usd",
            }
            await ask(client, "subscribe", channels=sorted(channels))
            heard = set()
            while heard != channels:
                message = await anything(client, lambda m: m.get("method") == "subscription")
                heard.add(message["params"]["channel"])
            assert heard == channels

    run(scenario)


def test_the_index_speaks_every_second_on_the_second_and_tickers_at_the_rate():
    async def scenario():
        async with small(rate=500.0) as exchange, dial(exchange) as client:
            names = sorted(exchange.markets["BTC"].positions)
            await ask(client, "subscribe", channels=[*tickers(names), "deribit_price_index.btc_usd"])
            await published(client, "deribit_price_index.btc_usd")
            stamps, sent = [], []
            for _ in range(3):
                stamps.append((await published(client, "deribit_price_index.btc_usd"))["timestamp"])
                sent.append(exchange.statistics().sent)
            assert [stamp - START_US // 1000 for stamp in stamps] == [1000, 2000, 3000]
            assert exchange.statistics().skipped_ticks == 0
            assert 400 < sent[1] - sent[0] < 600

    run(scenario)


def test_tickers_are_those_of_the_market_and_stop_when_unsubscribed():
    async def scenario():
        async with small(rate=2000.0) as exchange, dial(exchange) as client:
            market = exchange.markets["BTC"]
            name = market.instruments[40].name
            (channel,) = tickers([name], "agg2")
            await ask(client, "subscribe", channels=[channel])
            data = await published(client, channel)
            assert data["instrument_name"] == name
            assert abs(data["underlying_price"] / market.truth().forwards.mean() - 1) < 0.1
            assert (await ask(client, "unsubscribe", channels=[channel, "other"]))["result"] == [channel]
            before = exchange.statistics().sent
            await ask(client, "subscribe", channels=["deribit_price_index.btc_usd"])
            for _ in range(2):
                await published(client, "deribit_price_index.btc_usd")
            assert exchange.statistics().sent - before <= 3

    run(scenario)


def test_an_expiry_is_announced_with_its_last_tickers_and_a_new_listing():
    async def scenario():
        due = expiries(START_US, 1)[0]
        states = ["instrument.state.option.BTC", "instrument.state.future.BTC"]
        async with small(start_us=due - 1_500_000) as exchange, dial(exchange) as client:
            market = exchange.markets["BTC"]
            names = [option.name for option in market.instruments if option.expiry_us == due]
            await ask(client, "subscribe", channels=[*tickers(names), *states])
            last = await published(
                client, tickers(names)[0], lambda data: data["estimated_delivery_price"] == "expired"
            )
            assert (last["mark_iv"], last["ask_iv"], last["bid_iv"]) == (250.0, 500.0, 0.0)
            listed = await ask(client, "get_instruments", currency="BTC", kind="option", expired=True)
            assert {row["instrument_name"] for row in listed["result"]} == set(names)
            assert not any(row["is_active"] for row in listed["result"])

    run(scenario)


def test_states_are_announced_in_order():
    async def scenario():
        due = expiries(START_US, 1)[0]
        channel = "instrument.state.option.BTC"
        async with small(start_us=due - 1_500_000) as exchange, dial(exchange) as client:
            market = exchange.markets["BTC"]
            names = {option.name for option in market.instruments if option.expiry_us == due}
            await ask(client, "subscribe", channels=[channel])
            states = [await published(client, channel) for _ in names]
            assert {(data["instrument_name"], data["state"]) for data in states} == {(n, "terminated") for n in names}
            created = await published(client, channel)
            assert created["state"] == "created" and created["timestamp"] * 1000 == due
            started = await published(client, channel, lambda data: data["state"] == "started")
            assert started["instrument_name"] == created["instrument_name"]
            fresh = (await ask(client, "subscribe", channels=tickers([created["instrument_name"]])))["result"]
            assert (await published(client, fresh[0]))["state"] == "open"

    run(scenario)


def test_time_can_be_made_to_fly():
    async def scenario():
        async with small(time_scale=20_000.0, rate=50.0) as exchange, dial(exchange) as client:
            await ask(client, "subscribe", channels=["instrument.state.option.BTC", "deribit_price_index.btc_usd"])
            await published(client, "instrument.state.option.BTC", lambda data: data["state"] == "created")
            assert exchange.markets["BTC"].now_us > START_US + DAY_US // 2

    run(scenario)


# what a test may do to its clients


def test_faults():
    async def scenario():
        index = "deribit_price_index.btc_usd"
        async with small(rate=500.0) as exchange:
            async with dial(exchange) as client:
                (channel,) = tickers([exchange.markets["BTC"].instruments[60].name])
                await ask(client, "subscribe", channels=[index, "platform_state"])
                exchange.garbage("{nonsense")
                async with asyncio.timeout(PATIENCE_S):
                    while await client.recv() != "{nonsense":
                        pass
                exchange.lock("BTC", True)
                assert await published(client, "platform_state") == {"price_index": "btc_usd", "locked": True}
                exchange.silence("deribit_price_index")
                await ask(client, "subscribe", channels=[channel])
                await published(client, channel)
                silent_at_us = exchange.markets["BTC"].now_us
                while exchange.markets["BTC"].now_us < silent_at_us + 1_200_000:
                    message = await anything(client, lambda m: m.get("method") == "subscription")
                    assert message["params"]["channel"] != index
                exchange.silence()
                await published(client, index)
                exchange.close_all(1012)
                assert await closed(client) == 1012
            async with dial(exchange) as client:
                await ask(client, "subscribe", channels=[index])
                exchange.hang_up()
                assert await closed(client) == 1006

    run(scenario)


def test_a_client_that_does_not_read_costs_bounded_memory_and_nobody_else():
    async def scenario():
        limits = Limits(chunk_channels=2000)
        async with small(instruments=1000, rate=8000.0, limits=limits) as exchange:
            with socket.socket() as narrow:
                narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                narrow.setblocking(False)
                await asyncio.get_running_loop().sock_connect(narrow, (exchange.host, exchange.port))
                stuck = await connect(exchange.url, sock=narrow, max_queue=1, compression=None, close_timeout=0.1)
                async with dial(exchange) as client:
                    channels = tickers(exchange.markets["BTC"].positions)
                    subscribe = {"id": 1, "method": "public/subscribe", "params": {"channels": channels}}
                    await stuck.send(orjson.dumps(subscribe).decode())
                    await ask(client, "subscribe", channels=["deribit_price_index.btc_usd"])
                    while exchange.statistics().dropped == 0:
                        await published(client, "deribit_price_index.btc_usd")
                    assert exchange.statistics().clients == 2
                stuck.transport.abort()

    run(scenario)


# shapes, against captured messages


def shape(value):
    """Key names and JSON types; numbers are one type, null agrees with anything."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__
    return "number" if isinstance(value, int | float) else [shape(inner) for inner in value]


def agree(ours, theirs, optional=()):
    """Whether two shapes have the same keys, `optional` ones aside, and the same types, nulls aside."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        same = ours.keys() - set(optional) == theirs.keys() - set(optional)
        return same and all(agree(ours[key], theirs[key], optional) for key in ours.keys() & theirs.keys())
    return ours == theirs or "NoneType" in {str(ours), str(theirs)}


@pytest.fixture(scope="module")
def captured(market_data):
    with (market_data / "messages" / "deribit.jsonl").open() as lines:
        messages = [json.loads(line) for line in lines]
    return [line["message"] for line in messages if line["realness"].startswith("captured")]


def captured_channel(captured, start):
    return [m for m in captured if m.get("params", {}).get("channel", "").startswith(start)]


def ours(family, channel_of):
    market = Market(1, START_US, family, 240)
    market.step(20_000)
    channels = channel_of(market)
    return [json.loads(dialect.notification(channel, data)) for channel, data in dialect.present(market, channels)]


@pytest.mark.data
def test_option_tickers_look_as_captured(captured):
    (theirs,) = captured_channel(captured, "ticker.BTC-23FEB24-45000-C.agg2")
    for family in (BTC, ETH):
        messages = ours(family, lambda market: tickers(market.positions, "agg2"))
        assert len(messages) == 240
        assert all(agree(shape(message), shape(theirs)) for message in messages)
        assert any(message["params"]["data"]["last_price"] is not None for message in messages)
    (linear,) = captured_channel(captured, "ticker.MATIC_USDC")
    for message in ours(XRP_USDC, lambda market: tickers(market.positions)):
        assert agree(shape(message), shape(linear), optional=("settlement_price", "volume_notional"))
        assert message["params"]["data"]["underlying_index"] == "index_price"


@pytest.mark.data
def test_last_tickers_look_as_captured(captured):
    (theirs,) = captured_channel(captured, "ticker.BTC-2APR20-7125-P")
    market = Market(1, START_US, BTC, 240)
    data = dialect.last_ticker(market, market.instruments[0])
    assert agree(shape(data), shape(theirs["params"]["data"]), optional=("volume_usd",))


@pytest.mark.data
def test_futures_the_index_and_states_look_as_captured(captured):
    dated, *_ = captured_channel(captured, "ticker.BTC-30SEP22.100ms")
    perpetual, *_ = captured_channel(captured, "ticker.BTC-PERPETUAL.100ms")
    for message in ours(BTC, lambda market: tickers(market.future_names)):
        theirs = perpetual if "PERPETUAL" in message["params"]["channel"] else dated
        assert agree(shape(message), shape(theirs))
    (index,) = captured_channel(captured, "deribit_price_index")
    (message,) = ours(BTC, lambda market: [dialect.index_channel(market)])
    assert agree(shape(message), shape(index))
    (state,) = captured_channel(captured, "instrument.state")
    market = Market(1, expiries(START_US, 1)[0] - 1, BTC, 24)
    for _, data in dialect.state_changes(market, market.step(2)):
        assert agree(shape(data), shape(state["params"]["data"]))


@pytest.mark.data
def test_listing_rows_have_what_captured_ones_have(market_data):
    with gzip.open(market_data / "captures" / "DERIBIT.0.gz", "rt") as lines:
        replies = [json.loads(line.split(": ", 1)[1]) for line in lines if line.startswith("https://")]
    theirs = {}
    for row in (row for reply in replies for row in reply["result"]):
        theirs.setdefault((row["kind"], "future_type" in row, "instrument_id" in row), row)
    market = Market(1, START_US, BTC, 24)
    rows = json.loads(orjson.dumps(catalogue.listing(market, None, expired=False)))
    for (kind, _, _), captured_row in theirs.items():
        row = next(row for row in rows if row["kind"] == kind)
        assert captured_row.keys() <= row.keys()
        assert agree(shape({key: row[key] for key in captured_row}), shape(captured_row))


# read by kvd's own adapter


def test_kvd_reads_all_that_the_exchange_says():
    async def scenario():
        due = expiries(START_US, 1)[0]
        settings = Deribit(currencies=("BTC", "ETH", "USDC"), chunk_channels=200)
        limits = Limits(
            chunk_channels=60, subscribe_pool=1e6, listings=100.0
        )  # the feed keeps the quotas, not this test
        async with (
            small(families=FAMILIES, start_us=due - 4_000_000, rate=1500.0, limits=limits) as exchange,
            dial(exchange) as client,
        ):
            session = KvdSession(settings)
            refusals, quoted, forwards = set(), {}, set()
            for request in session.subscribe():
                await client.send(request.decode())
            instruments = {o.name: o for market in exchange.markets.values() for o in market.instruments}
            created = set()
            while len(quoted) < len(instruments) or not created & quoted.keys():
                async with asyncio.timeout(PATIENCE_S):
                    frame = await client.recv()
                reading = session.parse(frame, exchange.markets["BTC"].now_us)
                refusals |= {refusal.reason for refusal in reading.refusals}
                for event in reading.events:
                    if isinstance(event, Quote):
                        check(event, orjson.loads(frame)["params"]["data"])
                        quoted[event.instrument.name] = event.instrument
                    elif isinstance(event, ForwardQuote):
                        forwards.add(event.name)
                if getattr(reading.control, "state", "") == "created":
                    created.add(reading.control.instrument_name)
                for request in session.reply(reading.control) if reading.control is not None else ():
                    await client.send(request.decode())
            assert refusals <= {"perpetual", "expired", "venue_error"}
            assert {"btc_usd", "eth_usd", "xrp_usdc"} <= forwards
            assert session.retry_after_s is None
            for name, option in instruments.items():
                read = quoted[name]
                assert (read.strike, read.expiry_us, read.option_type, read.inverse, read.tick_size) == (
                    option.strike, option.expiry_us, option.option_type, option.inverse, option.tick_size,
                )  # fmt: skip

    def check(quote, data):
        assert quote.bid == (data["best_bid_price"] or None)
        assert quote.ask == (data["best_ask_price"] or None)
        assert quote.forward == data["underlying_price"]
        if quote.bid_vol is not None:
            assert quote.bid_vol == pytest.approx(data["bid_iv"] / 100)

    run(scenario)
