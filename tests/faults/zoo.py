"""R10: all kinds of clients that mean ill, one beside another, at a daemon in a process of its own that has a good one.

The good subscriber hears every update, descriptors come back to what they were, and no log holds a secret.
"""

import asyncio
import json
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from animals import ANIMALS, BAD, GOOD, HANDSHAKE_S, ROOM_S, SITE, WRONG, Zoo
from command_line import exchange, running, stream_of, until
from subscriber import Subscriber
from verdicts import Row, Scale
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

TOKENS = f"screen:read:{GOOD},zoo:read:{BAD},site:read:{SITE}"
STALLED_S = 1.0
GROWTH_MIB = 48.0


async def visit(zoo: Zoo) -> None:
    """All of them at once. Whoever is thrown out goes."""

    async def one(animal: Callable[[Zoo], Awaitable[None]]) -> None:
        with suppress(ConnectionClosed, ConnectionError, InvalidStatus):
            await animal(zoo)

    async with asyncio.TaskGroup() as group:
        for animal, (many, few) in ANIMALS.items():
            for _ in range(zoo.scale.of(many, few)):
                group.create_task(one(animal))


@asynccontextmanager
async def listening(zoo: Zoo) -> AsyncIterator[Subscriber]:
    """The good subscriber: it complains of a number that does not follow."""
    good = Subscriber()

    async def hear(client: ClientConnection) -> None:
        while True:
            good.hear(await client.recv(decode=False))

    async with zoo.stream(GOOD) as client, asyncio.TaskGroup() as group:
        await client.send(json.dumps({"op": "subscribe", "topics": ["surface.*.*", "atm.*.*", "status"]}))
        task = group.create_task(hear(client))
        yield good
        task.cancel()


async def client_zoo(scale: Scale) -> list[Row]:
    """R10, at a real daemon."""
    environ = {
        "KVD_DERIBIT_CURRENCIES": "BTC",
        "KVD_PUBLISH_TOKENS": TOKENS,
        "KVD_PUBLISH_STALLED_AFTER_S": str(STALLED_S),
        "KVD_LOG_LEVEL": "debug",
    }
    async with (
        exchange("--rate", 200, "--instruments", 200, "--seed", scale.seed) as venue,
        running("run", KVD_DERIBIT_URL=venue, **environ) as daemon,
    ):
        zoo = Zoo(await stream_of(daemon), scale)
        logs: list[bytes] = []
        reading = asyncio.ensure_future(_collect(daemon, logs))
        async with listening(zoo) as good:
            await until(lambda: good.heard.count("update") > 20)
            before, heard = _of(daemon), good.heard.count("update")
            began_s = time.monotonic()
            await visit(zoo)
            lasted_s = time.monotonic() - began_s
            heard = good.heard.count("update") - heard
            with suppress(TimeoutError):
                await until(lambda: _of(daemon)[0] <= before[0], HANDSHAKE_S + 10)
            after = _of(daemon)
            metrics = await asyncio.to_thread(zoo.page, "/metrics")
        daemon.terminate()
        await reading
    scale.say(f"{zoo.visits} visits in {lasted_s:.0f} s; {heard} updates")
    return _rows(zoo, good, heard, (before, after), metrics, b"".join(logs))


def _rows(
    zoo: Zoo, good: Subscriber, heard: int, was: tuple[tuple[int, float], tuple[int, float]], metrics: str, logs: bytes
) -> list[Row]:
    (fds, mib), (fds_after, mib_after) = was
    gaps = sum(good.heard.count(why) for why in ("slow", "too_old", "new_epoch", "unknown_seq"))
    longest_s, visits = max(zoo.expelled_s, default=99.0), f"n {zoo.visits:,} connections"
    counted = {reason: _metric(metrics, f'kvd_client_errors_total{{reason="{reason}"}}') for reason in REFUSED}
    named = [secret for secret in (GOOD, BAD, SITE, WRONG) if secret.encode() in logs or secret in metrics]
    expected = sorted(zoo.statuses) == sorted([401, 401, 401, 403] * (len(zoo.statuses) // 4)) and bool(zoo.statuses)
    enough = all(counted[reason] >= zoo.statuses.count(status) for reason, status in REFUSED.items())
    refused = (
        f"{zoo.statuses.count(401)} with 401, {zoo.statuses.count(403)} with 403, n {len(zoo.statuses)}, all counted"
    )
    return [
        Row("R10", "client zoo: a good subscriber beside it", f"{heard:,} updates, {gaps} gaps, {visits}",
            "no gap", heard > 20 and not gaps),
        Row("R10", "client zoo: handshake of a byte a second, or of none, ended",
            f"{longest_s:.1f} s worst, n {len(zoo.expelled_s)}",
            f"{HANDSHAKE_S:g} s (and {ROOM_S:g} s for a busy machine)", longest_s <= HANDSHAKE_S + ROOM_S),
        Row("R10", "client zoo: frames above 64 KiB", f"{zoo.codes.count(1009)} cut with 1009, n {len(zoo.codes)}",
            "all", bool(zoo.codes) and set(zoo.codes) == {1009}),
        Row("R10", "client zoo: wrong token, wrong Origin",
            refused if expected and enough else f"{Counter(zoo.statuses)} {counted}", "all refused and counted",
            expected and enough),
        Row("R10", "client zoo: descriptors afterwards", f"{fds} before, {fds_after} after, {visits}", "no more",
            fds_after <= fds),
        Row("R10", "client zoo: memory afterwards", f"{mib_after - mib:+.1f} MiB, {visits}", f"{GROWTH_MIB:g} MiB",
            mib_after - mib <= GROWTH_MIB),
        Row("R10", "client zoo: tokens in logs and metrics", f"{len(named)}, {len(logs):,} bytes of logs", "0",
            not named and len(logs) > 0),
    ]  # fmt: skip


REFUSED = {"unauthorised": 401, "bad_origin": 403}


def _of(process: Process) -> tuple[int, float]:
    """Descriptors and memory (MiB) of a process."""
    at = Path("/proc", str(process.pid))
    return len(list(at.joinpath("fd").iterdir())), int(at.joinpath("statm").read_text().split()[1]) * 4096 / 2**20


def _metric(page: str, name: str) -> float:
    return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name)), 0.0)


async def _collect(process: Process, into: list[bytes]) -> None:
    while line := await process.stderr.readline():
        into.append(line)
