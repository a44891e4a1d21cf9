"""The exchange itself: a websocket server on loopback that paces the market and publishes it.

Ticks fall on an absolute schedule, so that nothing drifts; all that one tick has for a client leaves in one write. A
client that does not read loses messages beyond `BUFFER_BYTES` (they are counted), and is cut off beyond four times
that.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from kvd.config import ConfigError
from kvd.feeds.simulate import catalogue, dialect
from kvd.feeds.simulate.listing import BTC, Family
from kvd.feeds.simulate.market import Changes, Market
from kvd.feeds.simulate.session import DERIBIT_LIMITS, Limits, Reply, Session

TICK_S = 0.02
INDEX_TICKS = 50  # the price index, once a second
FUTURE_TICKS = 25  # every future, twice a second
BEHIND_TICKS = 50  # further behind than this, ticks are skipped
BUFFER_BYTES = 1 << 20
REFUSED = 1008  # websocket close code: policy violation


class Statistics(NamedTuple):
    """Since the start: messages sent, messages lost to clients that did not read, ticks skipped; and clients now."""

    sent: int
    dropped: int
    skipped_ticks: int
    clients: int


class Client:
    """A connection, its session, and what this tick has for it."""

    def __init__(self, socket: ServerConnection, session: Session) -> None:
        self.socket, self.session = socket, session
        self.waiting: list[bytes] = []

    def write(self, frames: Iterable[bytes]) -> None:
        """Send frames in one write, without waiting; nothing when the connection is closing."""
        if self.socket.state is not State.OPEN:
            return
        for frame in frames:
            self.socket.protocol.send_text(frame)
        self.socket.transport.write(b"".join(self.socket.protocol.data_to_send()))
        if self.unread_bytes > 4 * BUFFER_BYTES:
            self.socket.transport.abort()

    @property
    def unread_bytes(self) -> int:
        """What the client has left unread, beyond what the operating system holds."""
        return self.socket.transport.get_write_buffer_size()


class Exchange:
    """``async with Exchange(seed=1) as exchange:`` serves at `exchange.url` until the block ends.

    `rate` is option tickers a second over all families; the index and the futures come on top. Market time starts at
    `start_us` (now, by default) and passes `time_scale` times as fast as real time. Each family lists `instruments`
    options over `expiries` expiries. Raises ConfigError if the port cannot be had.
    """

    def __init__(
        self,
        seed: int = 0,
        families: Sequence[Family] = (BTC,),
        *,
        instruments: int = 900,
        expiries: int = 12,
        rate: float = 700.0,
        time_scale: float = 1.0,
        start_us: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits = DERIBIT_LIMITS,
    ) -> None:
        self._start_us = time.time_ns() // 1000 if start_us is None else start_us
        self.markets = {family.name: Market(seed, self._start_us, family, instruments, expiries) for family in families}
        self.host, self.port = host, port
        self._rate, self._time_scale, self._limits = rate, time_scale, limits
        self._owed = dict.fromkeys(self.markets, 0.0)
        self._clients: set[Client] = set()
        self._topics: dict[str, set[Client]] = {}
        self._silent: frozenset[str] = frozenset()
        self._sent = self._dropped = self._skipped = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        serving = serve(self._serve, self.host, self.port, compression=None, close_timeout=1.0, max_size=1 << 20)
        try:
            server = await self._stack.enter_async_context(serving)
        except OSError as error:
            await self._stack.aclose()
            raise ConfigError(
                f"the synthetic exchange cannot listen on {self.host}:{self.port}: {error.strerror or error}; "
                "end what holds the port or choose another, 0 for any free one"
            ) from None
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._pacing = self._tasks.create_task(self._pace())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._pacing.cancel()
        return await self._stack.__aexit__(kind, error, traceback)

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://{self.host}:{self.port}/ws/api/v2"

    def statistics(self) -> Statistics:
        """What has happened so far."""
        return Statistics(self._sent, self._dropped, self._skipped, len(self._clients))

    # what a test may do to its clients

    def hang_up(self) -> None:
        """Cut every connection without a goodbye."""
        for client in self._clients:
            client.socket.transport.abort()

    def close_all(self, code: int = 1001) -> None:
        """Close every connection politely with `code`."""
        for client in self._clients:
            self._tasks.create_task(client.socket.close(code))

    def silence(self, *kinds: str) -> None:
        """Publish nothing more on channels whose first word is among `kinds`; no kinds ends the silence."""
        self._silent = frozenset(kinds)

    def garbage(self, text: str = '{"jsonrpc":') -> None:
        """Send every client a frame that is not what it subscribed to."""
        for client in self._clients:
            client.write([text.encode()])

    def lock(self, family: str, locked: bool) -> None:
        """Say on ``platform_state`` that a family's index is locked, or no longer."""
        index_name = self.markets[family].family.index_name
        self._publish("platform_state", {"price_index": index_name, "locked": locked})
        self._flush()

    def maintain(self, begins: bool = True) -> None:
        """Say on ``platform_state`` that the maintenance break begins, or that it is over."""
        self._publish("platform_state", {"maintenance": begins})
        self._flush()

    # connections

    async def _serve(self, socket: ServerConnection) -> None:
        client = Client(socket, Session(self._limits, self._known, self._listing))
        self._clients.add(client)
        try:
            async for text in socket:
                reply = client.session.receive(text, self._now_us, time.monotonic())
                self._apply(client, reply)
                self._send_first(client, reply.added)
                if reply.ends:
                    await socket.close(REFUSED)
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            self._forget(client, client.session.channels)

    def _apply(self, client: Client, reply: Reply) -> None:
        for channel in reply.added:
            self._topics.setdefault(channel, set()).add(client)
        self._forget(client, reply.removed)
        if reply.frames:
            client.write(reply.frames)

    def _forget(self, client: Client, channels: Iterable[str]) -> None:
        for channel in channels:
            self._topics[channel].discard(client)
            if not self._topics[channel]:
                del self._topics[channel]

    def _known(self, channel: str) -> bool:
        return channel == "platform_state" or any(
            dialect.has_channel(market, channel) for market in self.markets.values()
        )

    def _listing(self, currency: str, kind: str | None, expired: bool) -> list[dialect.Json]:
        found = [market for market in self.markets.values() if currency in {market.family.currency, "any"}]
        return [row for market in found for row in catalogue.listing(market, kind, expired)]

    def _send_first(self, client: Client, channels: Sequence[str]) -> None:
        """The present state of newly subscribed channels, as Deribit sends it at once."""
        audible = [channel for channel in channels if self._audible(channel)]
        for market in self.markets.values():
            client.waiting += [dialect.notification(*first) for first in dialect.present(market, audible)]
        self._flush()

    # time

    @property
    def _now_us(self) -> int:
        return next(iter(self.markets.values())).now_us

    async def _pace(self) -> None:
        clock = asyncio.get_running_loop().time
        start_s, tick = clock(), 0
        while True:
            tick += 1
            behind = int((clock() - start_s) / TICK_S) - tick
            if behind > BEHIND_TICKS:
                self._skipped += behind
                tick += behind
            await asyncio.sleep(max(0.0, start_s + tick * TICK_S - clock()))
            self._advance(tick)

    def _advance(self, tick: int) -> None:
        until_us = self._start_us + round(tick * TICK_S * 1e6 * self._time_scale)
        options = sum(len(market.instruments) for market in self.markets.values())
        for name, market in self.markets.items():
            self._announce(market, market.step(until_us - market.now_us))
            self._owed[name] += self._rate * TICK_S * len(market.instruments) / options
            count = int(self._owed[name])
            self._owed[name] -= count
            self._publish_options(market, market.draw(count).tolist())
            if tick % FUTURE_TICKS == 0:
                for future in market.futures():
                    self._publish_ticker(future.name, dialect.future_ticker(market, future))
            if tick % INDEX_TICKS == 0:
                self._publish(dialect.index_channel(market), dialect.index_price(market))
        self._beat()
        self._flush()

    def _beat(self) -> None:
        now_s = time.monotonic()
        for client in self._clients:
            reply = client.session.beat(now_s)
            self._apply(client, reply)
            if reply.ends:
                self._tasks.create_task(client.socket.close(REFUSED))

    # what leaves

    def _announce(self, market: Market, changes: Changes) -> None:
        for channel, data in dialect.state_changes(market, changes):
            self._publish(channel, data)
        for option in changes.expired:
            self._publish_ticker(option.name, dialect.last_ticker(market, option))

    def _publish_options(self, market: Market, rows: list[int]) -> None:
        heard = [row for row in rows if self._is_heard(market.instruments[row].name)]
        if heard:
            for name, data in dialect.option_tickers(market, market.look(heard)):
                self._publish_ticker(name, data)

    def _is_heard(self, name: str) -> bool:
        return any(dialect.ticker_channel(name, interval) in self._topics for interval in dialect.INTERVALS)

    def _publish_ticker(self, name: str, data: dialect.Json) -> None:
        for interval in dialect.INTERVALS:
            self._publish(dialect.ticker_channel(name, interval), data)

    def _publish(self, channel: str, data: dialect.Json) -> None:
        clients = self._topics.get(channel)
        if clients and self._audible(channel):
            frame = dialect.notification(channel, data)
            for client in clients:
                client.waiting.append(frame)

    def _audible(self, channel: str) -> bool:
        return channel.partition(".")[0] not in self._silent

    def _flush(self) -> None:
        for client in self._clients:
            if not client.waiting:
                continue
            if client.unread_bytes > BUFFER_BYTES:
                self._dropped += len(client.waiting)
            else:
                self._sent += len(client.waiting)
                client.write(client.waiting)
            client.waiting = []
