"""A venue announces that it will end the connection: another one takes over, without a gap where it can be had."""

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress

import deribit_wire as wire
import pytest
from scripted_venue import SETTINGS, Heard, feeding, healthy, index, run, serving, tick
from structlog.testing import capture_logs

from kvd.config import Deribit, Feed
from kvd.feeds.live import LiveFeed
from kvd.feeds.replay import replay
from kvd.feeds.simulate import Exchange
from kvd.latest import Inbox
from kvd.quotes import Gap, Quote
from kvd.sinks.record import Recorder
from kvd.sinks.tape import OneTape
from kvd.venues import deribit

MAINTENANCE = wire.notification("platform_state", {"maintenance": True})


@asynccontextmanager
async def following(exchange: Exchange, **options):
    heard = Heard()
    feed = LiveFeed(deribit, Deribit(url=exchange.url, currencies=("BTC",)), Feed(), heard.put, **options)
    task = asyncio.create_task(feed.run())
    try:
        await heard.until(lambda: 60 < feed.statistics().channels_acked == feed.statistics().channels_wanted)
        yield feed, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_connection_takes_over_without_a_gap_and_time_goes_forward(tmp_path):
    async def scenario() -> None:
        with capture_logs() as logs:
            async with (
                Recorder("deribit", OneTape(tmp_path / "tape.zst")) as recorder,
                Exchange(seed=1, instruments=60, expiries=3, rate=600.0) as exchange,
                following(exchange, record=recorder.record, record_gap=recorder.record_gap) as (feed, heard),
            ):
                begun = len(heard.events)
                exchange.maintain()
                await heard.until(lambda: feed.statistics().handovers == 1, 15)
                await heard.until(lambda: exchange.statistics().clients == 1)
                events = len(heard.events)
                await heard.until(lambda: len(heard.events) > events + 300)
                seen = feed.statistics()
                assert (seen.gaps, seen.reconnects, seen.bad_frames) == (0, 1, 0)
                assert seen.flowing and seen.connected and seen.channels_acked == seen.channels_wanted
        said = [entry["event"] for entry in logs if entry["event"].startswith("feed.")]
        assert said == ["feed.connected", "feed.leaving", "feed.handed_over"]
        assert not heard.gaps
        pauses = [after - before for before, after in zip(heard.times[begun:-1], heard.times[begun + 1 :], strict=True)]
        assert max(pauses) < 1.0
        assert list(replay(tmp_path / "tape.zst", deribit.Session(Deribit()))) == heard.events
        assert_time_goes_forward(heard)

    run(scenario)


def assert_time_goes_forward(heard: Heard) -> None:
    inbox, newest = Inbox(50_000), {}
    for event in heard.events:
        inbox.put(event)
    inbox.seal()
    while (batch := inbox.take()) is not None:
        for event in batch.events:
            if isinstance(event, Quote):
                name = event.instrument.name
                assert event.exchange_us >= newest.get(name, 0)
                newest[name] = event.exchange_us
    assert len(newest) == 60


def test_what_two_connections_bring_in_the_wrong_order_is_put_right():
    inbox = Inbox(50_000)
    session = deribit.Session(Deribit())
    for timestamp in (1_700_000_000_200, 1_700_000_000_100, 1_700_000_000_200):
        for event in session.parse(wire.ticker(timestamp=timestamp), 49_000).events:
            inbox.put(event)
    inbox.seal()
    (batch,) = iter(inbox.take, None)
    assert [event.exchange_us for event in batch.events] == [1_700_000_000_200_000] and inbox.conflated == 2


def test_if_the_first_goes_before_the_second_is_whole_it_is_one_outage():
    connections = 0

    async def announces_and_goes(socket) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await socket.send(MAINTENANCE, text=True)
            while connections == 1:
                await tick(socket, index, count=1)
            await socket.close()  # before the second has said a word
            return gone.set()
        await gone.wait()
        await healthy(socket)

    gone = asyncio.Event()

    async def scenario() -> None:
        async with serving(announces_and_goes) as server, feeding(server) as (feed, heard):
            await heard.until(lambda: bool(heard.gaps) and isinstance(heard.events[-1], Quote))
            await heard.until(lambda: feed.statistics().flowing)
            seen = feed.statistics()
            assert (len(heard.gaps), seen.gaps, seen.handovers, seen.reconnects) == (1, 1, 0, 1)

    run(scenario)


def test_while_there_is_no_second_the_first_is_kept_and_nobody_is_stormed():
    dials = []

    async def one_alone(socket) -> None:
        dials.append(time.monotonic())
        if len(dials) > 1:
            return
        await socket.send(MAINTENANCE, text=True)
        await healthy(socket)

    async def scenario() -> None:
        settings = Feed(stale_after_s=1.0, settled_after_s=5.0)
        async with serving(one_alone) as server, feeding(server, settings) as (feed, heard):
            await heard.until(lambda: len(dials) >= 4, 15)
            assert not heard.gaps and feed.statistics().flowing
            assert len(dials) <= 15

    run(scenario)


def test_a_venue_that_always_announces_its_end_is_not_stormed_either():
    dials = []

    async def always_leaving(socket) -> None:
        dials.append(time.monotonic())
        await socket.send(MAINTENANCE, text=True)
        await healthy(socket)

    async def scenario() -> None:
        settings = Feed(stale_after_s=1.0, settled_after_s=5.0)
        async with serving(always_leaving) as server, feeding(server, settings) as (feed, heard):
            await asyncio.sleep(3.0)
            assert 2 <= len(dials) <= 12 and not heard.gaps
            assert feed.statistics().handovers >= 1

    run(scenario)


def test_requests_of_both_connections_count_against_one_quota():
    at = []

    async def counting(socket) -> None:
        async def answering() -> None:
            async for text in socket:
                request = json.loads(text)
                if request["method"] == "public/get_instruments":
                    at.append(time.monotonic())
                if request["method"] == "public/set_heartbeat" and len(dialled) < 3:
                    await socket.send(MAINTENANCE, text=True)
                await socket.send(wire.result(request["id"], request["params"].get("channels", "ok")), text=True)

        dialled.append(socket)
        with suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(answering())
                await tick(socket, index)

    dialled: list[object] = []

    async def scenario() -> None:
        async with serving(counting) as server, feeding(server, SETTINGS) as (feed, heard):
            await heard.until(lambda: len(at) == 6, 15)  # three connections, two listings each; four at once, then 1/s
            assert at[4] - at[0] >= 0.9 and at[5] - at[0] >= 1.9
            assert not heard.gaps and feed.statistics().flowing

    run(scenario)


@pytest.mark.parametrize("reason", ["closed", "cut"])
def test_without_an_announcement_there_is_a_gap(reason):
    async def scenario() -> None:
        async with (
            Exchange(seed=1, instruments=60, expiries=3, rate=600.0) as exchange,
            following(exchange) as (feed, heard),
        ):
            exchange.close_all() if reason == "closed" else exchange.hang_up()
            await heard.until(lambda: bool(heard.gaps))
            await heard.until(lambda: feed.statistics().flowing)
            assert [type(event) for event in heard.events].count(Gap) == 1

    run(scenario)
