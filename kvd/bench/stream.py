"""The cost of a frame: kvd's path from socket to encoded update, beside receiving and parsing the frame and nothing
else.

The synthetic exchange runs in a process of its own; what is measured is the CPU time of this process. Floor and path
are measured in turn, floor first and last, so that a machine that drifts shows in both.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson
from websockets.asyncio.client import connect

from kvd.app.demo import synthetic_exchange
from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.feeds.clock import ArrivalClock
from kvd.feeds.live import LiveFeed
from kvd.latest import Inbox
from kvd.venues import deribit
from kvd.wire import Encoder

FAST_PER_S, NOMINAL_PER_S = 5_000, 700
INSTRUMENTS = 1_000
WARM_UP_S = 6.0
FLOOR_S, PATH_S = 5.0, 10.0


async def stream_costs() -> dict[str, Any]:
    """``frame_ratio`` at 5,000 frames a second and ``core_share`` at 700, with what they are made of."""
    async with _exchange(FAST_PER_S) as url:
        floors = [await _measured(_floor, url, FLOOR_S)]
        path_us, _, path_rate = await _measured(_path, url, PATH_S)
        floors.append(await _measured(_floor, url, FLOOR_S))
    floor_us = sum(us for us, _, _ in floors) / len(floors)
    async with _exchange(NOMINAL_PER_S) as url:
        nominal_us, core_share, nominal_rate = await _measured(_path, url, PATH_S)
    return {
        "frame_ratio": path_us / floor_us,
        "frame_path_us": path_us,
        "frame_floor_us": floor_us,
        "frames_per_s": path_rate,
        "core_share": core_share,
        "nominal_frame_us": nominal_us,
        "nominal_frames_per_s": nominal_rate,
    }


def _exchange(rate: int) -> Any:
    return synthetic_exchange("--rate", str(rate), "--instruments", str(INSTRUMENTS))


async def _measured(
    follow: Callable[[str, Callable[[], object]], Awaitable[None]], url: str, seconds: float
) -> tuple[float, float, float]:
    """CPU microseconds a frame, share of a core, and frames a second, once `follow` has warmed up."""
    frames = 0

    def count() -> None:
        nonlocal frames
        frames += 1

    following = asyncio.ensure_future(follow(url, count))
    await asyncio.wait([following], timeout=WARM_UP_S)
    cpu_s, wall_s, before = time.process_time(), time.perf_counter(), frames
    await asyncio.wait([following], timeout=seconds)
    cpu_s, wall_s, seen = time.process_time() - cpu_s, time.perf_counter() - wall_s, frames - before
    if following.done():
        await following  # it never ends by itself: this raises why it did
    following.cancel()
    await asyncio.wait([following])
    return 1e6 * cpu_s / seen, cpu_s / wall_s, seen / wall_s


async def _floor(url: str, count: Callable[[], object]) -> None:
    """Subscribe as kvd does, then receive and parse, and nothing else."""
    session = deribit.Session(msgspec.structs.replace(Settings().deribit, url=url, currencies=("BTC",)))
    async with connect(url, compression=None, max_size=None) as socket:
        for request in session.subscribe():
            await socket.send(request, text=True)
        while session.channels_acked < INSTRUMENTS:
            reading = session.parse(await socket.recv(decode=False), 0)
            if reading.control is not None:
                for request in session.reply(reading.control):
                    await socket.send(request, text=True)
        while True:
            frame = await socket.recv(decode=False)
            if b'"test_request"' in frame:
                await socket.send(b'{"jsonrpc":"2.0","id":0,"method":"public/test"}', text=True)
            orjson.loads(frame)
            count()


async def _path(url: str, count: Callable[[], object]) -> None:
    """Socket, adapter, inbox, calibrator, encoder: the daemon without its subscribers."""
    settings = Settings()
    inbox, calibrator, encoder = Inbox(settings.calibrator.batch_ms * 1000), Calibrator(settings), Encoder("bench")
    clock = ArrivalClock()
    venue = msgspec.structs.replace(settings.deribit, url=url, currencies=("BTC",))
    feed = LiveFeed(deribit, venue, settings.feed, inbox.put, lambda _frame, _us: count(), clock=clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        while True:
            await asyncio.sleep((inbox.grid_us - clock.now_us() % inbox.grid_us) / 1e6)
            if inbox.open_until_us is not None and inbox.open_until_us < clock.now_us():
                inbox.seal()
            while (batch := inbox.take()) is not None:
                for update in calibrator.step(batch):
                    for message in encoder.encode(update):
                        if message.kind == "smile":
                            assert message.payload
