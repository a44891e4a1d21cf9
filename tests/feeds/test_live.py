"""The live feed against real websocket servers that misbehave on purpose."""

import asyncio
import json
import time
from http import HTTPStatus
from pathlib import Path

import deribit_wire as wire
import pytest
from scripted_venue import SETTINGS, Heard, feeding, healthy, index, run, serving, tick
from structlog.testing import capture_logs
from websockets.asyncio.server import Request, Response, ServerConnection
from websockets.exceptions import InvalidURI

from kvd.config import Deribit, Feed
from kvd.feeds.live import LiveFeed
from kvd.feeds.replay import replay
from kvd.feeds.simulate import Exchange, Limits
from kvd.quotes import Event, ForwardQuote, Gap, Quote
from kvd.sinks.record import Recorder
from kvd.sinks.tape import OneTape
from kvd.venues import deribit

TEST_REQUEST = wire.encode({"method": "heartbeat", "params": {"type": "test_request"}})


def test_it_subscribes_and_passes_on_what_it_reads():
    async def scenario() -> None:
        async with serving(healthy) as server, feeding(server) as (feed, heard):
            await heard.until(lambda: len(heard.events) > 10 and feed.statistics().channels_acked == 5)
            seen = feed.statistics()
            assert {type(event) for event in heard.events} == {ForwardQuote, Quote}
            stamps = [event.receive_us for event in heard.events if not isinstance(event, Gap)]
            assert stamps == sorted(stamps)
            assert seen.channels_wanted == 5  # index, platform, two states and a ticker
            assert seen.connected and seen.flowing and seen.frames > 10 and seen.bytes > 1000
            assert (seen.gaps, seen.reconnects, seen.bad_frames) == (0, 0, 0)
            assert seen.last_data_age_s is not None and seen.last_data_age_s < SETTINGS.stale_after_s
        assert not feed.statistics().connected

    run(scenario)


def test_it_follows_a_whole_exchange_that_takes_only_small_requests():
    async def scenario() -> None:
        heard = Heard()
        limits = Limits(chunk_channels=60)
        async with Exchange(seed=1, instruments=300, rate=600.0, limits=limits) as exchange:
            feed = LiveFeed(deribit, Deribit(url=exchange.url, currencies=("BTC",)), Feed(), heard.put)
            task = asyncio.create_task(feed.run())
            await heard.until(lambda: 300 < feed.statistics().channels_acked == feed.statistics().channels_wanted)
            seen = feed.statistics()
            assert (seen.reconnects, seen.gaps, seen.bad_frames) == (0, 0, 0)
            assert seen.refusals == {"venue_error": 2, "perpetual": 1}  # 200 and 100 channels were too many
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario)


def test_heartbeats_are_answered_ahead_of_what_waits_for_its_quota():
    answered = asyncio.Event()

    async def impatient(socket: ServerConnection) -> None:
        await socket.send(TEST_REQUEST, text=True)
        async for text in socket:
            if json.loads(text)["method"] == "public/test":
                answered.set()

    async def scenario() -> None:
        async with serving(impatient) as server, feeding(server):
            async with asyncio.timeout(0.4):
                await answered.wait()

    run(scenario)


def test_a_server_that_hangs_up_is_not_stormed_and_makes_no_gap():
    async def hang_up(socket: ServerConnection) -> None:
        await socket.close()

    async def scenario() -> None:
        settings = Feed(stale_after_s=0.5, settled_after_s=5.0)
        with capture_logs() as logs:
            async with serving(hang_up) as server, feeding(server, settings) as (feed, heard):
                await asyncio.sleep(2.0)
                assert 2 <= feed.statistics().reconnects <= 15
                assert heard.events == []
        assert [entry["event"] for entry in logs] == ["feed.lost"]

    run(scenario)


def test_backoff_starts_over_once_a_connection_has_lived():
    async def short_lived(socket: ServerConnection) -> None:
        await tick(socket, index, count=5)
        await socket.close()

    async def scenario() -> None:
        settings = Feed(stale_after_s=0.5, reconnect_first_s=0.02, reconnect_cap_s=30.0, settled_after_s=0.05)
        async with serving(short_lived) as server, feeding(server, settings) as (feed, heard):
            await heard.until(lambda: feed.statistics().reconnects >= 12)  # doubling would have reached 40 s
            assert len(heard.gaps) >= 12

    run(scenario)


def test_silence_is_noticed_in_time_and_is_one_gap_however_long():
    async def falls_silent(socket: ServerConnection) -> None:
        if not fell_silent:
            await tick(socket, index, count=10)
            fell_silent.append(time.monotonic())
        await socket.wait_closed()

    fell_silent: list[float] = []

    async def scenario() -> None:
        async with serving(falls_silent) as server, feeding(server) as (feed, heard):
            await heard.until(lambda: bool(heard.gaps))
            last_us = [event.receive_us for event in heard.events if isinstance(event, ForwardQuote)][-1]
            assert heard.gaps == [Gap("deribit", last_us, "feed interrupted")]
            last, noticed = heard.times[-2:]
            assert 0.3 < noticed - last <= SETTINGS.stale_after_s + 0.1
            await heard.until(lambda: feed.statistics().reconnects >= 3)
            assert len(heard.gaps) == 1

    run(scenario)


def test_a_dead_canary_is_an_outage_although_tickers_flow():
    canary = asyncio.Event()
    canary.set()

    async def no_canary(socket: ServerConnection) -> None:
        while True:
            await tick(socket, *([index] if canary.is_set() else []), wire.ticker(), count=1)

    async def scenario() -> None:
        with capture_logs() as logs:
            async with serving(no_canary) as server, feeding(server) as (feed, heard):
                for outage in (1, 2):
                    await heard.until(lambda: isinstance(heard.events[-2:][0], ForwardQuote) if heard.events else False)
                    canary.clear()
                    reconnects = feed.statistics().reconnects
                    await heard.until(lambda before=reconnects: feed.statistics().reconnects >= before + 2)
                    assert len(heard.gaps) == outage and not feed.statistics().flowing
                    canary.set()
        assert [entry["event"] for entry in logs][:4] == ["feed.connected", "feed.stale"] * 2

    run(scenario)


def test_data_flow_again_soon_after_a_short_outage():
    async def scenario() -> None:
        async with serving(healthy) as server:
            port = server.sockets[0].getsockname()[1]
            async with feeding(server, Feed()) as (feed, heard):
                await heard.until(lambda: len(heard.events) > 4)
                server.close()
                await server.wait_closed()
                await asyncio.sleep(0.2)
                async with serving(healthy, port):
                    back = time.monotonic()
                    await heard.until(lambda: bool(heard.gaps) and isinstance(heard.events[-1], Quote))
                    assert time.monotonic() - back < 5.0
                    assert len(heard.gaps) == 1 and feed.statistics().gaps == 1

    run(scenario)


def test_10028_is_given_the_pause_it_asks_for():
    opened: list[float] = []

    async def overrun(socket: ServerConnection) -> None:
        opened.append(time.monotonic())
        await socket.send(wire.error(1, 10028, "too_many_requests"), text=True)
        await socket.wait_closed()

    async def scenario() -> None:
        async with serving(overrun) as server, feeding(server) as (feed, heard):
            await heard.until(lambda: len(opened) == 1)
            await heard.until(lambda: not feed.statistics().connected)
            assert "too_many_requests" in feed.statistics().last_error
            await heard.until(lambda: len(opened) == 2)
            assert opened[1] - opened[0] >= 3.0

    run(scenario)


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}])
def test_too_many_connections_are_given_time(headers: dict[str, str]):
    tried: list[float] = []

    def refuse(connection: ServerConnection, _: Request) -> Response:
        tried.append(time.monotonic())
        response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "slow down\n")
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def scenario() -> None:
        settings = Feed(reconnect_first_s=0.01, reconnect_cap_s=0.5)
        async with serving(healthy, process_request=refuse) as server, feeding(server, settings) as (feed, heard):
            await heard.until(lambda: len(tried) == 2)
            assert tried[1] - tried[0] >= (1.0 if headers.get("Retry-After") == "1" else 0.5)
            assert feed.statistics().last_error == "HTTP 429"

    run(scenario)


def test_garbage_is_counted_and_the_connection_kept():
    async def garbled(socket: ServerConnection) -> None:
        for frame in (b"\xff\x00", b"{", wire.ticker(timestamp=-1)):
            await socket.send(frame)
        await socket.send(wire.ticker("BTC-PERPETUAL"), text=True)
        await tick(socket, index)

    async def scenario() -> None:
        async with serving(garbled) as server, feeding(server) as (feed, heard):
            await heard.until(lambda: len(heard.events) > 3)
            seen = feed.statistics()
            assert (seen.bad_frames, seen.refusals, seen.reconnects) == (3, {"perpetual": 1}, 0)
            assert seen.last_error.startswith("bad frame: ")

    run(scenario)


def test_what_is_recorded_through_an_outage_replays_to_the_same_events(tmp_path: Path):
    async def drops(socket: ServerConnection) -> None:
        await tick(socket, index, wire.ticker(), b"garbage", count=5)
        await socket.close()

    async def scenario() -> None:
        async with Recorder("deribit", OneTape(tmp_path / "tape.zst")) as recorder:
            hooks = {"record": recorder.record, "record_gap": recorder.record_gap}
            async with serving(drops) as server, feeding(server, **hooks) as (feed, heard):
                await heard.until(lambda: len(heard.gaps) >= 2)
        played = replay(tmp_path / "tape.zst", deribit.Session(Deribit()))
        assert list(played) == heard.events
        assert played.statistics()[:3] == (feed.statistics().frames, len(heard.gaps), feed.statistics().bad_frames)

    run(scenario)


def test_an_error_of_ours_is_not_retried():
    class Broken(Exception):
        pass

    def put(_: Event) -> None:
        raise Broken

    async def scenario() -> None:
        async with serving(healthy) as server:
            port = server.sockets[0].getsockname()[1]
            feed = LiveFeed(deribit, Deribit(url=f"ws://127.0.0.1:{port}"), SETTINGS, put)
            with pytest.raises(ExceptionGroup) as caught:
                await feed.run()
            assert caught.group_contains(Broken)

    run(scenario)


def test_an_address_that_is_none_is_refused_at_once():
    with pytest.raises(InvalidURI):
        LiveFeed(deribit, Deribit(url="www.example.org"), SETTINGS, print)
