"""A daemon in a process of its own, seen from outside: what it uses, what its metrics say, how old its quotes are."""

import asyncio
import json
import os
import re
import time
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from command_line import PATIENCE_S, running, stream_of
from subscriber import Subscriber
from websockets.asyncio.client import connect

_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_STAMP = re.compile(rb'"exchange_time":"([^"]+)"')


class Used(NamedTuple):
    """What a process uses now: resident memory in MiB, processor seconds since its start, open descriptors."""

    rss_mib: float
    cpu_s: float
    fds: int


class Aged(NamedTuple):
    """The newest stamp of the exchange's changed: `at_s` a subscriber heard it, and what it had until then was `age_s`
    old. Between two of these, the age was less than the later one's.
    """

    at_s: float
    age_s: float


class Daemon:
    """`kvd run` as others see it."""

    def __init__(self, process: Process, stream: str) -> None:
        self.process = process
        self.stream = stream
        self.said: list[str] = []  # what it logged since it served its stream

    @property
    def port(self) -> int:
        """Where it serves."""
        return int(self.stream.split(":")[2].partition("/")[0])

    def used(self) -> Used:
        """What the kernel says of it."""
        proc = Path("/proc") / str(self.process.pid)
        ticks = (proc / "stat").read_text().rpartition(")")[2].split()[11:13]
        resident = int((proc / "statm").read_text().split()[1])
        return Used(resident * _PAGE / 2**20, sum(map(int, ticks)) / _TICK, sum(1 for _ in (proc / "fd").iterdir()))

    async def metrics(self) -> dict[str, float]:
        """The page: each series by its name and labels, and under the name alone the sum over its labels."""
        page = self.stream.replace("ws://", "http://").replace("/v1/stream", "/metrics")
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(page, timeout=PATIENCE_S).read().decode())
        found: dict[str, float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                found[series] = float(value)
                if "{" in series:
                    name = series.partition("{")[0]
                    found[name] = found.get(name, 0.0) + float(value)
        return found

    async def comes_to(self, condition: Callable[[dict[str, float]], bool], within_s: float = PATIENCE_S) -> None:
        """Wait until the page is as it should be. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not condition(await self.metrics()):  # noqa: ASYNC110 another process has no event to wait for
                await asyncio.sleep(0.1)


class Follower:
    """A subscriber that keeps to the protocol's chain of numbers, and notes how old what it has becomes."""

    def __init__(self) -> None:
        self.chain = Subscriber()
        self.aged: list[Aged] = []
        self._newest_s = 0.0

    async def follow(self, stream: str, topics: Sequence[str]) -> None:
        """Listen until cancelled. An AssertionError is a hole in the numbers of which nothing was said."""
        async with connect(stream, compression=None, max_size=None) as socket:
            await socket.send(json.dumps({"op": "subscribe", "topics": list(topics)}))
            while True:
                frame = await socket.recv(decode=False)
                self.chain.hear(frame)
                stamps = _STAMP.findall(frame)
                if stamps:
                    self._note(max(stamps))

    def ages_s(self, from_s: float, to_s: float) -> list[float]:
        """In order of size, the ages noted between two instants of the wall clock."""
        return sorted(aged.age_s for aged in self.aged if from_s <= aged.at_s <= to_s)

    def _note(self, stamp: bytes) -> None:
        newest_s = datetime.fromisoformat(stamp.decode()).timestamp()
        if newest_s > self._newest_s:
            now_s = time.time()
            if self._newest_s:
                self.aged.append(Aged(now_s, now_s - self._newest_s))
            self._newest_s = newest_s


@asynccontextmanager
async def following(url: str, **settings: str) -> AsyncIterator[Daemon]:
    """A daemon that follows the exchange at `url`, once it has all its channels; what it logs is read as it comes."""
    environ = {"KVD_DERIBIT_URL": url, "KVD_DERIBIT_CURRENCIES": "BTC,ETH", "OPENBLAS_NUM_THREADS": "1"} | settings
    async with running("run", **environ) as process:
        daemon = Daemon(process, await stream_of(process))
        reading = asyncio.create_task(_read(process, daemon.said))
        try:
            await daemon.comes_to(_complete)
            yield daemon
            assert process.returncode is None, "it has ended:\n" + "".join(daemon.said)
        except urllib.error.URLError as error:  # it no longer answers: what it said last tells more
            await asyncio.wait((reading,), timeout=PATIENCE_S)
            raise AssertionError("it does not answer:\n" + "".join(daemon.said)) from error
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def _complete(page: dict[str, float]) -> bool:
    wanted = page.get("kvd_feed_channels_wanted", 0.0)
    return wanted > 100 and page["kvd_feed_channels_acked"] >= wanted and page.get("kvd_smiles_published_total", 0) > 0


async def _read(process: Process, said: list[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        said.append(line.decode())
