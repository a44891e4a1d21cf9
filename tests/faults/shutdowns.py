"""R9: SIGTERM under load, again and again: how long the end takes, and what of it everybody hears."""

import asyncio
import json
import random
import re
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from audience import Listener, listening, status
from command_line import PATIENCE_S, exchange, running, stream_of
from verdicts import Row, Scale

LIMIT_S, UNREADY_S, SECOND_S = 5.0, 1.0, 1.0
SUBSCRIBERS, STALLED = 180, 20
TOPIC, MANY_TOPICS = "atm.deribit.BTC", ("surface.*.*", "smile.*.*.*", "atm.*.*")
FLOOD = ("--families", "BTC", "--instruments", "100", "--rate", "4000")
LONGEST_LOAD_S = 2.0  # until the signal: who stalls for 5 s is cut anyway


class End(NamedTuple):
    """One shutdown: how long until it was unready and gone (s), its exit code; of the subscribers that drain, how many
    there were, heard 1001, and hold the newest of what was published.
    """

    unready_s: float
    took_s: float
    code: int
    draining: int
    told: int
    newest: int


async def shutdowns(scale: Scale) -> Sequence[Row]:
    """The trial."""
    chance = random.Random(scale.seed)
    n = scale.of(20, 1)
    ends, seconds = [], []
    async with exchange("--seed", str(scale.seed), *FLOOD) as url:
        for i in range(n):
            ends.append(await _end(url, chance.uniform(0.5, LONGEST_LOAD_S)))
            scale.say(f"shutdown {i + 1} of {n}: {ends[-1]}")
        for number in (signal.SIGTERM, signal.SIGINT)[: scale.of(2, 1)]:
            seconds.append(await _second(url, number))
    took_s, unready_s = [end.took_s for end in ends], [end.unready_s for end in ends]
    told, newest, there = (sum(getattr(end, of) for end in ends) for of in ("told", "newest", "draining"))
    clean = sum(end.code == 0 for end in ends)
    now = sum(code == 128 + number and s <= SECOND_S for number, code, s in seconds)
    worst_s = max(s for *_, s in seconds)
    load = f"{SUBSCRIBERS + STALLED} subscribers, {STALLED} of them stalled"
    return [
        Row("R9", f"SIGTERM to exit, {load}", f"{median(took_s):.2f} s median, {max(took_s):.2f} s worst, n {n}",
            f"<= {LIMIT_S:g} s", max(took_s) <= LIMIT_S),
        Row("R9", "exit code 0", f"{clean} of {n}", "all", clean == n),
        Row("R9", "/readyz is not 200 any more", f"{max(unready_s):.2f} s worst, n {n}", f"<= {UNREADY_S:g} s",
            max(unready_s) <= UNREADY_S),
        Row("R9", "draining subscribers that are told 1001", f"{told} of {there}", "all", told == there),
        Row("R9", "of them with the newest that was published", f"{newest} of {there}", "all", newest == there),
        Row("R9", "a second signal ends it with 128 and its number",
            f"{now} of {len(seconds)}, {worst_s:.2f} s worst", f"all, <= {SECOND_S:g} s", now == len(seconds)),
    ]  # fmt: skip


async def _crowd(stream: str) -> tuple[list[Listener], list[Listener]]:
    """Subscribers that drain, each with its snapshots, and some that do not."""
    draining = [await listening(stream, (TOPIC, "status")) for _ in range(SUBSCRIBERS)]
    stalled = [await listening(stream, MANY_TOPICS, deaf=True) for _ in range(STALLED)]
    async with asyncio.timeout(PATIENCE_S):
        while min(listener.bytes for listener in draining) < 1000:  # noqa: ASYNC110 sockets fill them
            await asyncio.sleep(0.01)
    return draining, stalled


async def _ready(stream: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await status(stream, "/readyz") != 200:  # noqa: ASYNC110 another process
            await asyncio.sleep(0.05)


async def _end(url: str, after_s: float) -> End:
    with tempfile.TemporaryDirectory() as folder:
        audit = Path(folder) / "audit.ndjson"
        async with running("run", KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC", KVD_AUDIT_PATH=str(audit)) as kvd:
            stream = await stream_of(kvd)
            await _ready(stream)
            draining, stalled = await _crowd(stream)
            _, half = await asyncio.open_connection("127.0.0.1", int(re.search(r":(\d+)/", stream)[1]))
            half.write(b"GET /v1/stream HTTP/1.1\r\nUpgrade: ")
            await asyncio.sleep(after_s)
            kvd.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            unready = asyncio.create_task(_unready(stream, began_s))
            async with asyncio.timeout(PATIENCE_S):
                code = await kvd.wait()
                took_s = time.monotonic() - began_s
                for listener in draining:
                    await listener.ended.wait()
            for listener in stalled:
                listener.transport.abort()
            half.close()
        last = _published(audit)
        heard = [listener.heard() for listener in draining]
        told = sum(code == 1001 for _, code in heard)
        newest = sum(said.seq.get(TOPIC) == last for said, _ in heard)
        return End(await unready, took_s, code, len(draining), told, newest)


async def _unready(stream: str, began_s: float) -> float:
    while await status(stream, "/readyz") == 200:  # noqa: ASYNC110 another process
        await asyncio.sleep(0.01)
    return time.monotonic() - began_s


def _published(audit: Path) -> int:
    """What the daemon itself has on record: the number of the last smile of the surface, and so of its `atm` record."""
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    (surface,) = [line["content"]["topics"] for line in lines if line["kind"] == "published"]
    return surface["surface.deribit.BTC"]["to_seq"]


async def _second(url: str, number: signal.Signals) -> tuple[signal.Signals, int, float]:
    """SIGTERM and then `number`, with a subscriber that keeps the first from being done with at once."""
    async with running("run", KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC") as kvd:
        stream = await stream_of(kvd)
        await _ready(stream)
        deaf = await listening(stream, MANY_TOPICS, deaf=True)
        kvd.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        began_s = time.monotonic()
        with suppress(ProcessLookupError):
            kvd.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await kvd.wait()
        deaf.transport.abort()
        return number, code, time.monotonic() - began_s
