"""R11: how late the event loop's timers fire under the nominal feed, by kvd's own account and as seen from outside."""

import asyncio
import time
from collections.abc import Sequence

from audience import listening, page
from command_line import PATIENCE_S, exchange, running, stream_of
from verdicts import Row, Scale
from websockets.asyncio.client import connect

LIMITS_MS = 10.0, 25.0, 250.0, 50.0  # lag, a ping's way, a quote's age, a collection
SHORT_MS = 250.0, 250.0, 1000.0, 250.0  # where others have the cores: they fail for what is stuck, not for what is slow
SUBSCRIBERS = 10
NOMINAL = ("--families", "BTC,ETH", "--instruments", "850", "--rate", "700")
PING_S = 0.05
SETTLES_S = 10.0

Buckets = dict[float, float]  # upper bound (s) -> observations at or below


async def lag(scale: Scale) -> Sequence[Row]:
    """The trial."""
    seconds = scale.of(60, 4)
    async with (
        exchange("--seed", str(scale.seed), *NOMINAL) as url,
        running("run", KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC,ETH", OPENBLAS_NUM_THREADS="1") as kvd,
    ):
        stream = await stream_of(kvd)
        await _ready(stream)
        listeners = [await listening(stream, ("surface.*.*",), keeps=False) for _ in range(SUBSCRIBERS)]
        await asyncio.sleep(scale.of(1, 0) * SETTLES_S)
        before = await page(stream, "/metrics")
        trips_s = await _trips_s(stream, seconds)
        after = await page(stream, "/metrics")
        assert all(listener.bytes for listener in listeners)
        for listener in listeners:
            listener.transport.abort()
    lag_ms, beats = _p99_ms(before, after, "kvd_event_loop_lag_seconds")
    turn_ms, turns = _p99_ms(before, after, "kvd_batch_turn_seconds")
    age_ms, ages = _p99_ms(before, after, "kvd_receipt_to_publish_seconds")
    trip_ms = 1e3 * sorted(trips_s)[int(0.99 * len(trips_s))]
    collection_ms = 1e3 * max(_values(after, "kvd_gc_longest_seconds{").values(), default=0.0)
    frames = sum(_values(after, "kvd_feed_frames_total").values()) - sum(
        _values(before, "kvd_feed_frames_total").values()
    )
    scale.say(f"{frames / seconds:.0f} frames a second, turns p99 {turn_ms:.1f} ms of {turns:.0f}")
    lag_limit, trip_limit, age_limit, collection_limit = SHORT_MS if scale.short else LIMITS_MS
    at = f"{frames / seconds:.0f} frames/s, {SUBSCRIBERS} subscribers"
    return [
        Row("R11", f"event-loop lag, {at}", f"{lag_ms:.1f} ms p99, n {beats:.0f}", f"< {lag_limit:g} ms",
            lag_ms < lag_limit and beats > seconds),
        Row("R11", "a ping there and back", f"{trip_ms:.1f} ms p99, n {len(trips_s)}", f"< {trip_limit:g} ms",
            trip_ms < trip_limit),
        Row("R11", "newest quote applied, from its receipt", f"{age_ms / 1e3:.3f} s p99, n {ages:.0f}",
            f"< {age_limit / 1e3:g} s", age_ms < age_limit and ages > 0),
        Row("R11", "longest collection of garbage", f"{collection_ms:.1f} ms", f"< {collection_limit:g} ms",
            collection_ms < collection_limit),
    ]  # fmt: skip


async def _ready(stream: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not (await page(stream, "/readyz")).startswith("ready"):  # noqa: ASYNC110 another process
            await asyncio.sleep(0.05)


async def _trips_s(stream: str, seconds: float) -> list[float]:
    """Pings on the stream for so long, one after another: how long each answer took."""
    trips_s = []
    async with connect(stream) as client:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            began_s = time.monotonic()
            await client.send('{"op":"ping"}')
            await client.recv()
            trips_s.append(time.monotonic() - began_s)
            await asyncio.sleep(PING_S)
    return trips_s


def _values(metrics: str, begins: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(begins)]
    return {series: float(value) for series, value in lines}


def _buckets(metrics: str, name: str) -> Buckets:
    found: Buckets = {}
    for series, count in _values(metrics, f"{name}_bucket{{").items():
        bound = float(series.partition('le="')[2].partition('"')[0])
        found[bound] = found.get(bound, 0.0) + count
    return found


def _p99_ms(before: str, after: str, name: str) -> tuple[float, float]:
    """The 99th percentile of what was observed in between, as Prometheus would have it (ms), and how much that was."""
    was, now = _buckets(before, name), _buckets(after, name)
    counts = [(bound, now[bound] - was.get(bound, 0.0)) for bound in sorted(now)]
    total = counts[-1][1]
    low, below = 0.0, 0.0
    for bound, count in counts:
        if count >= 0.99 * total:
            inside = (0.99 * total - below) / (count - below) if count > below else 0.0
            return (1e3 * (low + inside * (bound - low)) if bound < float("inf") else float("inf")), total
        low, below = bound, count
    return float("inf"), total
