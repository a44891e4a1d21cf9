"""R10: all kinds of clients that mean ill, one beside another, at a daemon in a process of its own that has a good one.

The good subscriber hears every update, descriptors come back to what they were, and no log holds a secret.
"""

import asyncio
import json
import re
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from urllib.request import Request, urlopen

from command_line import exchange, running, stream_of, until
from fuzz_port import PLAIN, UPGRADE
from fuzz_stream import json_frames
from subscriber import Subscriber
from verdicts import Row, Scale
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

GOOD, BAD, WRONG = "good-0123456789abcdef", "bad-0123456789abcdef", "wrong-0123456789abcdef"
TOKENS = f"screen:read:{GOOD},zoo:read:{BAD}"
ALL = ("surface.*.*", "smile.*.*.*", "atm.*.*", "status")
HANDSHAKE_S, ROOM_S = 5.0, 2.5  # what kvd gives, and what a busy machine may add
STALLED_S = 1.0
GROWTH_MIB = 48.0


class Zoo:
    """The daemon `at` a port, what its visitors came to, and how many of each there are."""

    def __init__(self, url: str, scale: Scale) -> None:
        self.url = url
        self.host, port = re.search(r"//([^:/]+):(\d+)", url).groups()
        self.port = int(port)
        self.rng = Random(scale.seed)
        self.scale = scale
        self.expelled_s: list[float] = []
        self.codes: list[int] = []
        self.statuses: list[int] = []
        self.visits = 0

    def stream(self, token: str = BAD, **options: object) -> connect:
        """A visitor with a token."""
        self.visits += 1
        headers = {"Authorization": f"Bearer {token}"}
        return connect(self.url, additional_headers=headers, compression=None, max_queue=None, **options)

    async def socket(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A visitor's bare connection."""
        self.visits += 1
        return await asyncio.open_connection(self.host, self.port)

    def page(self, path: str) -> str:
        """A page, for the good one's token."""
        asked = Request(f"http://{self.host}:{self.port}{path}", headers={"Authorization": f"Bearer {GOOD}"})
        with urlopen(asked, timeout=10) as answer:
            return answer.read().decode()


async def slow(zoo: Zoo) -> None:
    """A byte a second of a good handshake."""
    reader, writer = await zoo.socket()
    began_s = time.monotonic()
    gone = asyncio.ensure_future(reader.read())
    for byte in PLAIN:
        writer.write(bytes((byte,)))
        done, _ = await asyncio.wait([gone], timeout=1.0)
        if done or time.monotonic() - began_s > 2 * (HANDSHAKE_S + ROOM_S):
            break
    gone.cancel()
    zoo.expelled_s.append(time.monotonic() - began_s)
    writer.transport.abort()


async def silent(zoo: Zoo) -> None:
    """A connection and not a word."""
    reader, writer = await zoo.socket()
    began_s = time.monotonic()
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(2 * (HANDSHAKE_S + ROOM_S)):
            await reader.read()
    zoo.expelled_s.append(time.monotonic() - began_s)
    writer.transport.abort()


async def stalled(zoo: Zoo) -> None:
    """Asks for everything again and again and never reads."""
    reader, writer = await zoo.socket()
    writer.write(UPGRADE % f"Authorization: Bearer {BAD}\r\n".encode())
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(20):
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()
            ask = json.dumps({"op": "subscribe", "topics": ALL}).encode()
            while not writer.is_closing():
                writer.write(b"\x81\xfe" + len(ask).to_bytes(2) + b"\0\0\0\0" + ask)
                await writer.drain()
                await asyncio.sleep(0.005)
    writer.transport.abort()


async def flooding(zoo: Zoo) -> None:
    """Far more messages than its token may send, and then everything in a loop."""
    async with zoo.stream() as client:
        for number in range(zoo.scale.of(5_000, 600)):
            topics = list(ALL) if number % 2 else [f"surface.x.{number}"]
            op = ("subscribe", "ping", "unsubscribe")[number % 3]
            await client.send(json.dumps({"op": op, "topics": topics}))
            if number % 20 == 0:
                await _some(client)


async def malformed(zoo: Zoo) -> None:
    """Frames that are nearly right, resumptions that make no sense among them."""
    mutator = json_frames(zoo.rng.randrange(10**6))
    async with zoo.stream() as client:
        for number in range(zoo.scale.of(2_000, 200)):
            case = mutator.case(number)
            with suppress(UnicodeDecodeError):
                await client.send(case.decode())
            nonsense = {"surface.deribit.BTC": zoo.rng.choice((0, 1, 10**15)), "status": number}
            epoch = zoo.rng.choice(("", "e", "\x00"))
            again = {"op": "subscribe", "topics": list(ALL), "epoch": epoch, "from_seq": nonsense}
            await client.send(json.dumps(again))
            if number % 10 == 0:
                await _some(client)


async def huge(zoo: Zoo) -> None:
    """One byte more than a frame may have, in one piece or in several."""
    whole = zoo.rng.random() < 0.5
    async with zoo.stream() as client:
        with suppress(ConnectionClosed):
            await client.send("a" * 65_537 if whole else ["a" * 16_384] * 5)
            while True:
                await client.recv()
        zoo.codes.append(client.close_code or 0)


async def wrong(zoo: Zoo) -> None:
    """A stranger's token, none at all, and a site that may not."""
    for options in (
        {"token": WRONG},
        {"token": ""},
        {"token": GOOD[:-1]},
        {"token": BAD, "origin": "https://evil.example"},
    ):
        try:
            async with zoo.stream(**options):
                zoo.statuses.append(101)
        except InvalidStatus as refused:
            zoo.statuses.append(refused.response.status_code)


async def dropping(zoo: Zoo) -> None:
    """Opens and is gone: at once, within its handshake, or right after it."""
    ends = (b"", PLAIN[:40], UPGRADE % f"Authorization: Bearer {BAD}\r\n".encode())
    for _ in range(zoo.scale.of(300, 30)):
        with suppress(OSError):
            _, writer = await zoo.socket()
            writer.write(zoo.rng.choice(ends))
            writer.transport.abort()
        await asyncio.sleep(0)


async def _some(client: ClientConnection) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            while True:
                await client.recv(decode=False)


ANIMALS: dict[Callable[[Zoo], Awaitable[None]], tuple[int, int]] = {
    slow: (20, 4), silent: (20, 4), stalled: (10, 2), flooding: (6, 1), malformed: (6, 1), huge: (20, 4), wrong: (50, 5),
    dropping: (10, 4),
}  # fmt: skip
"""How many of each, in the whole form and in the short one."""


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
    named = [secret for secret in (GOOD, BAD, WRONG) if secret.encode() in logs or secret in metrics]
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
            refused if expected and enough else f"{zoo.statuses} {counted}", "all refused and counted",
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
