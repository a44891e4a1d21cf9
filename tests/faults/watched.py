"""A whole daemon behind a fault proxy, and a subscriber that takes note of when it hears what."""

import asyncio
import math
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import msgspec
from command_line import running, stream_of
from proxy import Proxy
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 60.0  # twice the longest wait between two attempts


class _Said(msgspec.Struct):
    state: str
    reason: str | None = None


class _Message(msgspec.Struct):
    type: str
    status: msgspec.Raw = msgspec.Raw()
    smile: _Said | None = None


_message, _status = msgspec.json.Decoder(_Message), msgspec.json.Decoder(_Said)


class Watched:
    """One daemon, in `logs` the lines that it wrote, and what its subscriber heard last, by kind: when, on the clock of
    `time.monotonic`.

    Kinds: ``lost`` and ``connected`` of the topic status, ``widened`` of a smile for the feed's sake, ``fresh`` of one
    that is not.
    """

    def __init__(self, proxy: Proxy, number: int, seed: int) -> None:
        self.proxy, self.number = proxy, number
        self.random = Random(f"{seed} {number}")
        self.url = ""
        self.reason = ""
        self.logs: list[str] = []
        self._heard: dict[str, float] = {}
        self._news = asyncio.Event()

    async def listen(self, client: ClientConnection) -> None:
        """Take note, until the stream ends."""
        async for frame in client:
            message = _message.decode(frame)
            if message.smile is not None:
                self._hear("widened" if message.smile.reason == "feed interrupted" else "fresh")
            elif message.type == "status":
                said = _status.decode(message.status)
                self.reason = said.reason or self.reason
                self._hear(said.state)

    async def read(self, errors: asyncio.StreamReader | None) -> None:
        """Keep what the daemon logs."""
        assert errors is not None
        while line := (await errors.readline()).decode():
            self.logs.append(line)

    def _hear(self, kind: str) -> None:
        self._heard[kind] = time.monotonic()
        self._news.set()

    async def hears(self, *kinds: str, since_s: float) -> float:
        """Wait until all of `kinds` were heard after `since_s`; the seconds that it took from there, or infinity."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not all(self.has_heard(kind, since_s) for kind in kinds):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return math.inf
        return max(self._heard[kind] for kind in kinds) - since_s

    def has_heard(self, kind: str, since_s: float) -> bool:
        """Whether `kind` was heard after `since_s`."""
        return self._heard.get(kind, 0.0) > since_s

    async def page(self, path: str) -> str:
        """A page of the daemon's."""
        address = self.url.replace("ws:", "http:").replace("/v1/stream", path)

        def get() -> str:
            try:
                answer = urllib.request.urlopen(address, timeout=10)
            except urllib.error.HTTPError as refused:  # 503 has its words too
                answer = refused
            with answer:
                return answer.read().decode()

        return await asyncio.to_thread(get)

    async def figure(self, series: str) -> float:
        """One figure of /metrics, such as ``kvd_feed_gaps_total``: the first of its series."""
        lines = (await self.page("/metrics")).splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{series}{{"))


@asynccontextmanager
async def watched(target: str, number: int, seed: int, **environ: str) -> AsyncIterator[Watched]:
    """`kvd run` behind a proxy of its own before the exchange at `target`, once it has published; alive at the end."""
    async with Proxy(target, seed=seed * 1000 + number) as proxy:
        one = Watched(proxy, number, seed)
        environ = {"KVD_DERIBIT_URL": proxy.url, "KVD_DERIBIT_CURRENCIES": "BTC"} | environ
        async with running("run", **environ) as process:
            one.url = await stream_of(process)
            async with asyncio.TaskGroup() as tasks, connect(one.url, max_queue=None, compression=None) as client:
                reading = tasks.create_task(one.read(process.stderr))
                await client.send('{"op":"subscribe","topics":["status","smile.*.*.*"]}')
                listening = tasks.create_task(one.listen(client))
                try:
                    assert await one.hears("connected", "fresh", since_s=0.0) < math.inf, "kvd does not get going"
                    yield one
                    assert process.returncode is None, "kvd has ended"
                finally:
                    listening.cancel()
                    reading.cancel()
