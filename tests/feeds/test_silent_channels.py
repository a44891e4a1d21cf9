"""A channel that was confirmed and never speaks, and data that come ever later, over a real socket."""

import asyncio
import json
import time
from contextlib import suppress

import deribit_wire as wire
from scripted_venue import feeding, run, serving, tick
from structlog.testing import capture_logs

from kvd.config import Feed
from kvd.feeds.clock import ArrivalClock

SPEAKS, MUTE = "BTC-29DEC23-40000-C", "BTC-29DEC23-50000-C"


class Hurried(ArrivalClock):
    """Twenty seconds a second, so that what is due in ten need not be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._begin_us = super().now_us()

    def now_us(self) -> int:
        return self._begin_us + 20 * (super().now_us() - self._begin_us)


def test_a_mute_ticker_is_asked_for_again_counted_and_missed_no_more_once_it_speaks():
    clock, asked, woken = Hurried(), [], asyncio.Event()

    async def venue(socket) -> None:
        async def answer() -> None:
            async for text in socket:
                request = json.loads(text)
                channels = request["params"].get("channels", [])
                if f"ticker.{MUTE}.100ms" in channels:
                    asked.append((request["method"].removeprefix("public/"), channels))
                result = channels or "ok"
                if request["params"].get("kind") == "option":
                    result = [wire.row(SPEAKS), wire.row(MUTE)]
                await socket.send(wire.result(request["id"], result), text=True)

        def index() -> bytes:
            return wire.index(timestamp=clock.now_us() // 1000)

        with suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(answer())
                tasks.create_task(tick(socket, index, wire.ticker(SPEAKS)))
                await woken.wait()
                tasks.create_task(tick(socket, wire.ticker(MUTE)))

    async def scenario() -> None:
        with capture_logs() as logs:
            # the index is stamped by the hurried clock too: one is twenty times as late as it seems
            async with (
                serving(venue) as server,
                feeding(server, Feed(stale_after_s=10.0), clock=clock) as (feed, heard),
            ):
                await heard.until(lambda: "never spoke" in feed.statistics().last_error, 15)
                seen = feed.statistics()
                assert (seen.channels_silent, seen.reconnects, seen.gaps) == (1, 0, 0)
                assert seen.channels_acked == seen.channels_wanted == 6
                mute = [f"ticker.{MUTE}.100ms"]
                assert [a for a in asked if a[1] == mute] == [("unsubscribe", mute), ("subscribe", mute)] * 2
                woken.set()
                await heard.until(lambda: feed.statistics().channels_silent == 0)
                await heard.until(lambda: logs[-1]["event"] == "feed.channels_speak")
        assert [entry["event"] for entry in logs] == ["feed.connected", "feed.channels_silent", "feed.channels_speak"]

    run(scenario)


def test_data_that_come_ever_later_are_an_outage():
    opened = 0

    async def narrowing(socket) -> None:
        nonlocal opened
        opened += 1
        began_s, slow = time.time(), opened == 1
        while True:
            now_s = time.time()
            said_s = began_s + (now_s - began_s) / 2 if slow else now_s  # half as fast as time passes
            await tick(socket, wire.index(timestamp=round(said_s * 1000)), count=1)

    async def scenario() -> None:
        settings = Feed(stale_after_s=1.0, reconnect_first_s=0.05)
        with capture_logs() as logs:
            async with serving(narrowing) as server, feeding(server, settings) as (feed, heard):
                await heard.until(lambda: len(heard.gaps) == 1)
                await heard.until(lambda: feed.statistics().flowing)
                assert opened == 2
                skew_s = feed.statistics().clock_skew_s
                assert skew_s is not None and abs(skew_s) < 0.5
        lost = next(entry for entry in logs if entry["event"] == "feed.lost")
        assert lost["reason"] == "late"

    run(scenario)
