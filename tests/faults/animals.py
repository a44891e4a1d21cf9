"""Clients that mean ill, each of one kind, and what becomes of them."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from urllib.request import Request, urlopen

from fuzz_port import PLAIN, UPGRADE
from fuzz_stream import json_frames
from verdicts import Scale
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

GOOD, BAD, WRONG = "good-0123456789abcdef", "bad-0123456789abcdef", "wrong-0123456789abcdef"
SITE = "site-0123456789abcdef"  # whose token nobody else uses up
ALL = ("surface.*.*", "smile.*.*.*", "atm.*.*", "status")
HANDSHAKE_S, ROOM_S = 5.0, 2.5  # what kvd gives, and what a busy machine may add


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
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(HANDSHAKE_S + ROOM_S):
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
        {"token": SITE, "origin": "https://evil.example"},
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
    slow: (20, 4), silent: (20, 4), stalled: (10, 2), flooding: (6, 1), malformed: (6, 1), huge: (20, 4),
    wrong: (50, 5), dropping: (10, 4),
}  # fmt: skip
"""How many of each, in the whole form and in the short one."""
