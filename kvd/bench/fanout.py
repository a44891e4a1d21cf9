"""What it costs to bring a smile to a thousand subscribers, beside writing one pre-built frame to as many bare
transports: CPU time of this process a delivery, and how late deliveries are.

The subscribers are sockets of another process (`kvd.bench.listeners`). Floor and stream are measured in turn, each
with this process to itself: the sockets of the one are closed before those of the other are opened.
"""

import asyncio
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, NamedTuple

import orjson

from kvd.bench import smiles
from kvd.bench.listeners import raise_file_limit
from kvd.config import Publish
from kvd.sinks.frames import Bundle
from kvd.sinks.outbox import SOCKET_BYTES
from kvd.sinks.publish import Publisher
from kvd.wire import Encoder, Ring

SUBSCRIBERS, STALLED, EXPIRIES = 1_000, 10, 12
RATE_HZ, WARM_UP, TICKS, TURNS = 10, 2, 10, 5
ROUNDS = 3
SETTLED_S, WAIT_S = 0.1, 0.01
STALLED_AFTER_S = 60.0  # nobody is cut while it is measured what ten stalled clients do to the others
PATIENCE_S = 30.0

Ask = Callable[..., Awaitable[dict[str, Any]]]
Send = Callable[[], int]


class Cost(NamedTuple):
    """CPU microseconds of a delivery, and quantiles of the milliseconds from publishing to receipt."""

    us: float
    p50_ms: float
    p99_ms: float


async def delivery_costs() -> dict[str, Any]:
    """``delivery_ratio`` and ``stalled_p99_ratio``, with what they are made of."""
    raise_file_limit()
    floor: list[Cost] = []
    one: list[Cost] = []
    mixed: list[Cost] = []
    stalled: list[Cost] = []
    turns_ms: list[float] = []
    async with _listeners() as ask:
        for _ in range(ROUNDS):
            floor.append(await _floor(ask))
            async with _stream(ask, 1) as stream:
                for _ in range(2):
                    one.append(await _measured(ask, stream.send))
                    async with _stalled(ask, stream.publisher):
                        stalled.append(await _measured(ask, stream.send))
                turns_ms.append(await _longest_turn_ms(stream.send))
            floor.append(await _floor(ask))
            async with _stream(ask, EXPIRIES) as stream:
                mixed.append(await _measured(ask, stream.send))
    delivery_us, floor_us, mixed_us = (median(cost.us for cost in costs) for costs in (one, floor, mixed))
    p99_ms, stalled_p99_ms = (median(cost.p99_ms for cost in costs) for costs in (one, stalled))
    return {
        "delivery_ratio": delivery_us / floor_us,
        "delivery_us": delivery_us,
        "delivery_floor_us": floor_us,
        "delivery_bytes": len(_smile_frame(Encoder("bench"), 1)),
        "delivery_mixed_ratio": mixed_us / floor_us,
        "delivery_turn_ms": median(turns_ms),
        "delivery_p50_ms": median(cost.p50_ms for cost in one),
        "delivery_p99_ms": p99_ms,
        "stalled_p99_ms": stalled_p99_ms,
        "stalled_p99_ratio": stalled_p99_ms / p99_ms,
    }


async def _measured(ask: Ask, send: Send) -> Cost:
    """The cost of `TICKS` times `send`, which returns the ``seq`` of what it sends to everybody."""
    await _ticks(send, WARM_UP)
    await ask(do="latencies", published={})
    cpu_s = time.process_time()
    published = await _ticks(send, TICKS)
    cpu_s = time.process_time() - cpu_s
    seen = await ask(do="latencies", published=published)
    return Cost(1e6 * cpu_s / seen["received"], seen["p50_ms"], seen["p99_ms"])


async def _ticks(send: Send, count: int) -> dict[int, int]:
    """Publish `RATE_HZ` times a second and wait until all of it is delivered; returns when, in ns by ``seq``."""
    loop = asyncio.get_running_loop()
    due_s, published = loop.time(), {}
    for _ in range(count):
        due_s += 1 / RATE_HZ
        await asyncio.sleep(due_s - loop.time())
        now_ns = time.monotonic_ns()
        published[send()] = now_ns
    await asyncio.sleep(SETTLED_S)
    return published


async def _longest_turn_ms(send: Send) -> float:
    """The most CPU time that one turn of the event loop takes while something goes to everybody: the median of some."""
    longest_ms = []
    for _ in range(TURNS):
        send()
        turns_s, now_s = [], time.process_time()
        ends_s = now_s + SETTLED_S
        while now_s < ends_s:
            await asyncio.sleep(0)
            before_s, now_s = now_s, time.process_time()
            turns_s.append(now_s - before_s)
        longest_ms.append(1e3 * max(turns_s))
    return median(longest_ms)


async def _floor(ask: Ask) -> Cost:
    """One pre-built frame, written to every bare transport; another frame each time."""
    encoder = Encoder("bench")
    frames = [_smile_frame(encoder, batch) for batch in range(WARM_UP + TICKS)]
    writers: list[asyncio.StreamWriter] = []
    sent = 0

    def send() -> int:
        nonlocal sent
        frame = frames[sent]
        for writer in writers:
            writer.transport.write(frame)
        sent += 1
        return sent

    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0, backlog=SUBSCRIBERS)
    listener = server.sockets[0]
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES // 2)
    async with server:
        await ask(do="connect", group="bare", port=listener.getsockname()[1], requests=[""] * SUBSCRIBERS, deaf=False)
        await _until(lambda: len(writers) == SUBSCRIBERS)
        cost = await _measured(ask, send)
        await ask(do="close", group="bare")
        for writer in writers:
            writer.close()
    return cost


class _Stream(NamedTuple):
    """A publisher with its thousand subscribers, and what publishes to them all."""

    publisher: Publisher
    send: Send


@asynccontextmanager
async def _stream(ask: Ask, topics: int) -> AsyncIterator[_Stream]:
    """Each subscribes to one of so many smiles, all of which change each time."""
    encoder = Encoder("bench", Ring(60_000_000, 2**27))
    settings = Publish(port=0, max_clients=SUBSCRIBERS + STALLED, stalled_after_s=STALLED_AFTER_S)
    changed = smiles.expiries(topics)
    names = [smiles.topic(expiry_us) for expiry_us in changed]

    def send() -> int:
        publisher.publish(smiles.update(changed, encoder.seq(names[0])))
        return encoder.seq(names[0])

    async with Publisher(settings, encoder, dict, bytes, lambda: smiles.START_US) as publisher:
        requests = [_subscription(names[i % topics]) for i in range(SUBSCRIBERS)]
        await ask(do="connect", group="stream", port=publisher.port, requests=requests, deaf=False)
        await _until(lambda: publisher.statistics().subscriptions == SUBSCRIBERS)
        yield _Stream(publisher, send)
        await ask(do="close", group="stream")
        await _until(lambda: not publisher.statistics().clients)


@asynccontextmanager
async def _stalled(ask: Ask, publisher: Publisher) -> AsyncIterator[None]:
    """Ten more clients, that read nothing and whose sockets are full: of smiles that nobody else listens to."""
    requests = [_subscription(smiles.topic(None))] * STALLED
    await ask(do="connect", group="stalled", port=publisher.port, requests=requests, deaf=True)
    others = smiles.expiries(2 * EXPIRIES)[EXPIRIES:]
    batch = 0

    def full() -> bool:
        nonlocal batch
        batch += 1
        publisher.publish(smiles.update(others, batch))
        return publisher.statistics().buffered_bytes >= STALLED * SOCKET_BYTES

    await _until(full)
    yield
    await ask(do="close", group="stalled")
    await _until(lambda: publisher.statistics().clients == SUBSCRIBERS)


@asynccontextmanager
async def _listeners() -> AsyncIterator[Ask]:
    """The process of the subscribers; yields what tells it something and returns its answer."""
    command = (sys.executable, "-c", "from kvd.bench import listeners; listeners.main()")
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    told, said = child.stdin, child.stdout

    async def ask(**what: Any) -> dict[str, Any]:
        told.write(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
        async with asyncio.timeout(PATIENCE_S):
            answer: dict[str, Any] = orjson.loads(await said.readline())
        return answer

    try:
        yield ask
    finally:
        told.close()
        await child.wait()


async def _until(done: Callable[[], bool]) -> None:
    for _ in range(round(PATIENCE_S / WAIT_S)):
        if done():
            return
        await asyncio.sleep(WAIT_S)
    raise TimeoutError("the subscribers of the bench did not come or go in time")


def _subscription(topic: str) -> str:
    return orjson.dumps({"op": "subscribe", "topics": [topic]}).decode()


def _smile_frame(encoder: Encoder, batch: int) -> bytes:
    (message,) = [m for m in encoder.encode(smiles.update(smiles.expiries(1), batch)) if m.kind == "smile"]
    return Bundle((message,)).data
