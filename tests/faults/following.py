"""A subscriber that comes back after every start of a daemon, and what it finds."""

import asyncio
import json
import time
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from command_line import PATIENCE_S
from subscriber import Subscriber
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

TOPIC = "surface.deribit.BTC"
REMEMBERED_S = 60.0


class Smile(NamedTuple):
    """What a subscriber was told of one expiry."""

    expiry: str
    published_s: float
    atm_vol: float
    sd: float
    reason: str


class Told(NamedTuple):
    """A smile that was heard at an instant, with its number in an epoch; one of a snapshot has none: 0."""

    at_s: float
    epoch: str
    seq: int
    smile: Smile


class Back(NamedTuple):
    """What a subscriber found at a new start: what it heard first, the numbers before and after, and the smiles."""

    epoch: str
    first: str
    seq: int
    smiles: dict[str, Smile]


class Listener:
    """Follows one topic through every start of one daemon; `backs` holds what each began with, `complaints` every
    breach of the protocol.
    """

    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/v1/stream"
        self._subscriber = Subscriber()
        self.told: deque[Told] = deque()
        self.backs: list[Back] = []
        self.complaints: list[str] = []
        self.numbers: set[tuple[str, int]] = set()

    async def listen(self) -> None:
        """For ever."""
        while True:
            with suppress(OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                async with connect(self._url, max_queue=None, close_timeout=0.1, open_timeout=2.0) as client:
                    await client.send(json.dumps(self._subscriber.subscribe(TOPIC)))
                    begun = len(self._subscriber.heard_on.get(TOPIC, ()))
                    async for frame in client:
                        self._hear(frame.encode() if isinstance(frame, str) else frame, begun)
            await asyncio.sleep(0.02)

    async def came_back(self, times: int) -> None:
        """Wait until it has come to a daemon so many times."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.backs) < times:  # noqa: ASYNC110 it has no event to wait for
                await asyncio.sleep(0.02)

    def smiles(self, instant_s: float) -> dict[str, Smile]:
        """The newest smile of each expiry that was published by then."""
        return {told.smile.expiry: told.smile for told in self.told if told.smile.published_s <= instant_s}

    def number(self, epoch: str, instant_s: float) -> int:
        """The newest number of an epoch that was published by then; 0 if none was heard."""
        by_then = (told for told in self.told if told.epoch == epoch and told.smile.published_s <= instant_s)
        return max((told.seq for told in by_then), default=0)

    def _hear(self, frame: bytes, begun: int) -> None:
        message = json.loads(frame)
        try:
            self._subscriber.hear(frame)
        except AssertionError as error:
            self.complaints.append(f"{error}: {frame[:200]!r}")
            return
        if message.get("topic") != TOPIC:
            return
        if message["type"] == "update":
            number = (message["epoch"], message["seq"])
            if number in self.numbers:
                self.complaints.append(f"the number {number} twice")
            self.numbers.add(number)
            self._tell(message["seq"], message["smile"])
        elif message["type"] == "snapshot":
            smiles = {smile.expiry: smile for smile in map(_smile, message["smiles"])}
            if not self.backs or self.backs[-1].epoch != message["epoch"]:
                first = self._subscriber.heard_on[TOPIC][begun]
                self.backs.append(Back(message["epoch"], first, message["seq"], smiles))
            for smile in message["smiles"]:
                self._tell(0, smile)

    def _tell(self, seq: int, smile: dict[str, Any]) -> None:
        if smile["state"] == "withdrawn":
            return
        now_s = time.time()
        self.told.append(Told(now_s, self._subscriber.epoch, seq, _smile(smile)))
        while self.told[0].at_s < now_s - REMEMBERED_S:
            self.told.popleft()


def _smile(body: dict[str, Any]) -> Smile:
    published_s = datetime.fromisoformat(body["publish_time"]).timestamp()
    return Smile(body["expiry"], published_s, body["atm_vol"], body["atm_vol_sd"], body["reason"])
