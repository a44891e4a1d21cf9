"""What a live feed makes of soiled frames, beside what the exchange said: the newest of every instrument must agree."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from command_line import until
from framing import text
from mischief import FRAMING, NOT_DERIBIT, NOT_JSON, Mischief, duplicate, garbage, reorder
from proxy import Proxy
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect

from kvd.config import Deribit, Feed
from kvd.feeds.live import LiveFeed
from kvd.feeds.simulate import Exchange
from kvd.latest import Inbox
from kvd.quotes import Event, Quote
from kvd.venues import deribit

OPTIONS = 60
RATE = 900.0
QUIET_S = 0.5  # what was on its way has come
Newest = dict[str, tuple[int, float | None, float | None]]  # by instrument: exchange time in ms, bid, ask


class Agreed(NamedTuple):
    """How many instruments there are, of how many the newest agreed, and how often one's time went back."""

    instruments: int
    agreed: int
    backward: int
    bad_frames: int


class Applied:
    """What would reach the calibrator, batch by batch."""

    def __init__(self) -> None:
        self.newest: Newest = {}
        self.backward = 0
        self._inbox = Inbox(50_000)

    def put(self, event: Event) -> None:
        """The feed's word."""
        self._inbox.put(event)
        while (batch := self._inbox.take()) is not None:
            self._apply(batch.events)

    def close(self) -> None:
        """Take the last batch."""
        self._inbox.seal()
        while (batch := self._inbox.take()) is not None:
            self._apply(batch.events)

    def _apply(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Quote):
                name, at_ms = event.instrument.name, event.exchange_us // 1000
                if at_ms < self.newest.get(name, (0, None, None))[0]:
                    self.backward += 1  # the calibrator's door refuses it
                else:
                    self.newest[name] = at_ms, event.bid, event.ask


async def newest_agree(seed: int, each_s: float) -> Agreed:
    """Follow an exchange through every mischief for `each_s`, then in peace, and compare."""
    exchange = Exchange(seed, instruments=OPTIONS, expiries=3, rate=RATE)
    async with exchange, Proxy(exchange.url, seed) as proxy, connect(exchange.url, max_queue=None) as direct:
        truth: Newest = {}
        applied = Applied()
        settings = Feed(reconnect_cap_s=1.0)  # it is broken off again and again, and back each time
        feed = LiveFeed(deribit, Deribit(url=proxy.url, currencies=("BTC",)), settings, applied.put)
        tasks = [asyncio.create_task(_silently(feed)), asyncio.create_task(_overhear(direct, exchange, truth))]
        await until(lambda: len(applied.newest) == len(truth) == len(exchange.markets["BTC"].instruments))
        for mischief in _mischiefs(proxy):
            proxy.harm(mischief)
            await asyncio.sleep(each_s)
        for broken in FRAMING:
            proxy.say(text(NOT_JSON[0]), broken)
            await asyncio.sleep(each_s / len(FRAMING))
        proxy.well()
        await _settled(feed)
        exchange.silence("ticker")
        await asyncio.sleep(QUIET_S)
        applied.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    agreed = sum(applied.newest.get(name) == said for name, said in truth.items())
    return Agreed(len(truth), agreed, applied.backward, feed.statistics().bad_frames)


async def _settled(feed: LiveFeed) -> None:
    """Wait until it has had one connection with every channel for a second."""
    began_with = -1
    while began_with != (began_with := feed.statistics().reconnects):
        await until(lambda: feed.statistics().channels_acked == feed.statistics().channels_wanted > OPTIONS)
        await asyncio.sleep(1.0)


def _mischiefs(proxy: Proxy) -> list[Mischief]:
    random = proxy.random
    return [
        reorder(random), duplicate(random), garbage(random, NOT_JSON, 0.2), garbage(random, NOT_DERIBIT, 0.2)
    ]  # fmt: skip


async def _silently(feed: LiveFeed) -> None:
    with capture_logs():
        await feed.run()


async def _overhear(direct: ClientConnection, exchange: Exchange, truth: Newest) -> None:
    """Ask for every ticker and keep the newest, as plainly as can be."""
    channels = [f"ticker.{option.name}.100ms" for option in exchange.markets["BTC"].instruments]
    request: dict[str, Any] = {"id": 1, "method": "public/subscribe", "params": {"channels": channels}}
    await direct.send(json.dumps(request))
    async for frame in direct:
        message = json.loads(frame)
        if message.get("method") == "subscription":
            data = message["params"]["data"]
            said = data["timestamp"], data["best_bid_price"] or None, data["best_ask_price"] or None
            truth[data["instrument_name"]] = said
