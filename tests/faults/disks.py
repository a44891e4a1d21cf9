"""A disk that fills up under the tapes, and tapes whose recorder is killed: neither concerns the smiles."""

import asyncio
import json
import random
import re
import resource
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from command_line import PATIENCE_S, ended, exchange, line_with, running, stream_of, until
from verdicts import Row, Scale
from websockets.asyncio.client import connect

from kvd.config import Deribit
from kvd.feeds.replay import replay
from kvd.feeds.tape import read_tapes
from kvd.venues import deribit

PROMISE = "disk"
DISK_MIB = 64
FULL_S = 2.0
RECOVERED_S = 5.0
SILENCE_S = 2.0
LOST_S = 2.0


async def disks(scale: Scale) -> Sequence[Row]:
    """A full disk under a daemon, and kills of a recorder, side by side."""
    with tempfile.TemporaryDirectory() as folder:
        found = await asyncio.gather(_full(scale, Path(folder) / "disk"), _killed(scale, Path(folder) / "killed"))
    return [row for rows in found for row in rows]


# A disk that fills up


class Full(NamedTuple):
    """What was seen from outside of a daemon whose disk filled up, and got room again."""

    how: str
    failing_s: float
    recovered_s: float
    silence_s: float
    unready: int
    frames: int
    dropped: int
    lost_feeds: int


async def _full(scale: Scale, folder: Path) -> list[Row]:
    folder.mkdir()  # noqa: ASYNC240 nothing else runs yet
    with _small(folder) as how:
        seen = await _filled(scale, folder, how)
        played = replay(folder / "tapes", deribit.Session(Deribit()))
        assert sum(1 for _ in played) > 1000
        on_tape = played.statistics()
    whole = on_tape.frames + seen.dropped == seen.frames and seen.dropped > 0 and on_tape.torn_bytes == 0
    counts = f"{on_tape.frames:,} on tapes + {seen.dropped:,} counted = {seen.frames:,}, gaps {on_tape.gaps}"
    gaps = 1 + seen.lost_feeds
    silence = f"{seen.silence_s:.2f} s, {seen.unready} times not ready"
    return [
        _row(f"full ({how}): failing is said", f"{seen.failing_s:.2f} s", f"<= {FULL_S} s", seen.failing_s <= FULL_S),
        _row(
            "longest silence of the smiles meanwhile", silence, f"<= {SILENCE_S} s, always ready",
            seen.silence_s <= SILENCE_S and not seen.unready,
        ),
        _row("room again: recording again", f"{seen.recovered_s:.2f} s", f"<= {RECOVERED_S} s",
             seen.recovered_s <= RECOVERED_S),
        _row("the tapes replay, each hole a gap", counts, f"sum right, gaps {gaps}", whole and on_tape.gaps == gaps),
    ]  # fmt: skip


async def _filled(scale: Scale, folder: Path, how: str) -> Full:
    settings = {
        "KVD_RECORD": "true",
        "KVD_RECORDER_FOLDER": str(folder / "tapes"),
        "KVD_RECORDER_QUEUE_MIB": str(scale.of(8, 1)),
        "KVD_DERIBIT_CURRENCIES": "BTC",
        "KVD_FEED_STALE_AFTER_S": "10",  # a busy machine is no lost feed
    }
    async with (
        exchange("--rate", 1000, "--instruments", 300, "--seed", scale.seed) as url,
        running("run", KVD_DERIBIT_URL=url, **settings) as daemon,
    ):
        stream = await stream_of(daemon)
        await _until(stream, "kvd_recorder_frames_total", lambda frames: frames > 0)
        async with _listening(stream) as heard:
            with _filled_up(folder, daemon, how):
                began_s = time.monotonic()
                await _until(stream, "kvd_recorder_failing", bool)
                failing_s = time.monotonic() - began_s
                await _until(stream, "kvd_recorder_dropped_frames_total", lambda frames: frames > 0)
                await asyncio.sleep(scale.of(10, 1))
            began_s = time.monotonic()
            await _until(stream, "kvd_recorder_failing", lambda failing: failing == 0)
            recovered_s = time.monotonic() - began_s
            await asyncio.sleep(1)
        lost_feeds = await _metric(stream, "kvd_feed_gaps_total")
        daemon.send_signal(signal.SIGTERM)
        said = json.loads(await line_with(daemon.stderr, "recorder.ended"))
        assert await ended(daemon, PATIENCE_S) == 0
    dropped = said["dropped_frames"]
    return Full(
        how, failing_s, recovered_s, heard.silence_s, heard.unready, said["frames"] + dropped, dropped, int(lost_feeds)
    )


@contextmanager
def _small(folder: Path) -> Iterator[str]:
    """A disk of `DISK_MIB` at `folder`, if we may mount one; how it will be full."""
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "kvd-faults", str(folder)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        yield "RLIMIT_FSIZE"
        return
    try:
        yield "tmpfs"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def _filled_up(folder: Path, daemon: Process, how: str) -> Iterator[None]:
    """No room while the block lasts: the rest of the disk is taken, or else no file of the daemon's may grow."""
    if how != "tmpfs":
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, hard))
        yield
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (soft, hard))
        return
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        yield
    ballast.unlink()


# A recorder that is killed


async def _killed(scale: Scale, folder: Path) -> list[Row]:
    rng = random.Random(scale.seed)
    runs = scale.of(20, 3)
    lost_s = []
    async with exchange("--rate", 100, "--instruments", 300, "--seed", scale.seed) as url:
        for _ in range(runs):
            async with running("record", folder, KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC") as recorder:
                await line_with(recorder.stderr, "feed.connected")
                await until(lambda: len(list(folder.glob("*"))) > len(lost_s))
                await asyncio.sleep(rng.uniform(0.0, 3.0))
                recorder.kill()
                killed_us = time.time_ns() // 1000
                await ended(recorder)
            lost_s.append((killed_us - max(line[0] for line in list(read_tapes(folder, "deribit")[-1]) if line)) / 1e6)
            scale.say(f"kill {len(lost_s)} of {runs}: {lost_s[-1]:.2f} s lost")
    played = replay(folder, deribit.Session(Deribit()))
    events, seen = sum(1 for _ in played), played.statistics()
    what = f"{runs} tapes, {seen.frames:,} frames, {seen.gaps} gaps, {seen.torn_bytes:,} bytes torn"
    right = (seen.gaps, seen.bad_frames) == (runs - 1, 0) and events > 50 * runs
    worst = f"{sorted(lost_s)[len(lost_s) // 2]:.2f} s median, {max(lost_s):.2f} s worst, n {runs}"
    return [
        _row("kill -9: every tape replays, a gap between runs", what, f"no error, {runs - 1} gaps", right),
        _row("kill -9: the tail that is lost", worst, f"<= {LOST_S} s", max(lost_s) <= LOST_S),
    ]


# What is seen from outside


class Heard:
    """What a subscriber and a probe have heard: the longest time without a smile, and how often it was not ready."""

    def __init__(self) -> None:
        self.silence_s = 0.0
        self.unready = 0


@asynccontextmanager
async def _listening(stream: str) -> AsyncIterator[Heard]:
    heard = Heard()

    async def listen() -> None:
        async with connect(stream, max_queue=None) as client:
            await client.send('{"op":"subscribe","topics":["smile.*.*.*"]}')
            last_s = None
            async for _ in client:
                heard.silence_s = max(heard.silence_s, 0.0 if last_s is None else time.monotonic() - last_s)
                last_s = time.monotonic()

    async def probe() -> None:
        while True:
            heard.unready += (await _page(stream, "/readyz"))[0] != 200
            await asyncio.sleep(0.2)

    tasks = [asyncio.create_task(listen()), asyncio.create_task(probe())]
    try:
        yield heard
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _page(stream: str, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(re.sub("/v1/stream$", path, "http" + stream[2:]), timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    return await asyncio.to_thread(get)


async def _until(stream: str, name: str, right: Callable[[float], bool]) -> None:
    """Wait until the sum of a metric is as it should be."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if right(await _metric(stream, name)):
                return
            await asyncio.sleep(0.05)


async def _metric(stream: str, name: str) -> float:
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", (await _page(stream, "/metrics"))[1], re.MULTILINE)
    return sum(map(float, found))


def _row(what: str, measured: str, limit: str, passed: bool) -> Row:
    return Row(PROMISE, what, measured, limit, passed)
