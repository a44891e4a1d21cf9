"""One connection to kvd, for ever: connect, ask, read, notice silence, come back."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from ssl import SSLCertVerificationError
from typing import Any, NamedTuple, NoReturn

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Response

from kvd.client.address import Address
from kvd.client.errors import Interrupted, RequestRefused
from kvd.client.frames import Frame
from kvd.client.refusals import read_error, turned_away, unreachable, untrusted

OPEN_S = 5.0
CLOSE_S = 1.0
MAX_FRAME_BYTES = 16 * 1024 * 1024  # the snapshot of a surface is a few hundred KB

Hear = Callable[[bytes], Frame]
Answer = Callable[[Frame | None], object]  # told of the ack or error; None: the connection was lost before it came


class Timing(NamedTuple):
    """When a stream counts as lost, and how to come back; all in seconds.

    The first connection is tried for ``patience_s``. One that is silent for ``silent_s``, though pinged in between, is
    lost. The first attempt to come back follows within ``first_s``; then that is doubled each time, up to ``cap_s``,
    with full jitter. A connection that has lived for ``settled_s`` starts the waits at the beginning again.
    """

    patience_s: float = 0.0
    silent_s: float = 15.0
    first_s: float = 0.25
    cap_s: float = 30.0
    settled_s: float = 10.0


class Lost(Exception):
    """This connection, or this attempt at one, is over; the message says why. Wait ``retry_after_s`` at least."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Link:
    """Keeps one connection. `opened` is set when there is one for the first time; `reason` is that of the last loss."""

    def __init__(self, address: Address, timing: Timing) -> None:
        self.opened = asyncio.Event()
        self.connected = False
        self.connections = self.messages = 0
        self.reason = ""
        self._address = address
        self._timing = timing
        self._now_s = asyncio.get_running_loop().time
        self._heard_s = 0.0
        self._to_send: asyncio.Queue[tuple[bytes, Answer]] = asyncio.Queue()
        self._answers: deque[Answer] = deque()

    async def run(self, greet: Callable[[], object], hear: Hear) -> NoReturn:
        """Keep the connection until cancelled. Raises Refused, and Unreachable if the first is not had in time.

        `greet` is called on every connection before anything is read from it; `hear` gets every message and raises Lost
        to have the connection made anew.
        """
        timing, failures, began_s = self._timing, 0, self._now_s()
        while True:
            opened_s = retry_after_s = 0.0
            try:
                socket = await self._open()
                opened_s = self._now_s()
                await self._live(socket, greet, hear)
            except* Lost as group:
                lost = group.exceptions[0]
                assert isinstance(lost, Lost)
                self.reason, retry_after_s = str(lost), lost.retry_after_s
            if not self.opened.is_set() and self._now_s() - began_s >= timing.patience_s:
                raise unreachable(self._address, self.reason)
            if opened_s and self._now_s() - opened_s >= timing.settled_s:
                failures = 0
            wait_s = random.random() * min(timing.cap_s, timing.first_s * 2.0 ** min(failures, 60))
            failures += 1
            await asyncio.sleep(max(wait_s, min(retry_after_s, timing.cap_s)))

    def post(self, request: dict[str, Any], answer: Answer) -> None:
        """Send a request; `answer` is called with the answer before anything that comes after it is heard."""
        if self.connected:
            self._to_send.put_nowait((orjson.dumps(request), answer))
        else:
            answer(None)

    async def ask(self, request: dict[str, Any]) -> Frame:
        """Send a request and wait for its ack. Raises RequestRefused and Interrupted."""
        answered: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()

        def answer(frame: Frame | None) -> None:
            if not answered.done():
                answered.set_result(frame)

        self.post(request, answer)
        frame = await answered
        if frame is None:
            lost = f"the connection to kvd was lost before it answered ({self.reason or 'closed'})"
            raise Interrupted(f"{lost}: see whether it has done what was asked, then ask again")
        if frame.type == "error":
            raise RequestRefused(frame.code, frame.message)
        return frame

    async def _open(self) -> ClientConnection:
        address = self._address
        try:
            return await connect(
                address.stream,
                ssl=address.ssl,
                additional_headers=address.headers,
                compression=None,
                proxy=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                max_size=MAX_FRAME_BYTES,
            )
        except InvalidStatus as error:
            raise _turned_away(address, error.response) from None
        except SSLCertVerificationError as error:
            raise untrusted(address, error) from None
        except (OSError, WebSocketException) as error:
            raise Lost(f"cannot connect: {error or type(error).__name__}"[:200]) from None

    async def _live(self, socket: ClientConnection, greet: Callable[[], object], hear: Hear) -> None:
        self.connected = True
        self.connections += 1
        self._heard_s = self._now_s()
        self.opened.set()
        try:
            greet()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(socket))
                tasks.create_task(self._watch(socket))
                tasks.create_task(self._read(socket, hear))
        finally:
            self.connected = False
            self._drop_answers()
            await socket.close()

    async def _read(self, socket: ClientConnection, hear: Hear) -> NoReturn:
        while True:
            try:
                text = await socket.recv(decode=False)
            except ConnectionClosed as error:
                raise Lost(f"connection closed: {error}"[:200]) from None
            self._heard_s = self._now_s()
            self.messages += 1
            frame = hear(text)
            if frame.type in ("ack", "error"):
                if not self._answers:
                    raise Lost(f"an answer to nothing that was asked: {frame.message or frame.op}"[:200])
                self._answers.popleft()(frame)

    async def _send(self, socket: ClientConnection) -> NoReturn:
        while True:
            request, answer = await self._to_send.get()
            self._answers.append(answer)
            try:
                await socket.send(request, text=True)
            except ConnectionClosed as error:
                raise Lost(f"connection closed: {error}"[:200]) from None

    async def _watch(self, socket: ClientConnection) -> NoReturn:
        """After two thirds of the limit in silence ask for a sign of life, and give it the last third."""
        third_s = self._timing.silent_s / 3
        while True:
            await asyncio.sleep(max(0.0, self._heard_s + 2 * third_s - self._now_s()))
            if self._now_s() - self._heard_s < 2 * third_s:
                continue
            heard_s = self._heard_s
            self.post({"op": "ping"}, lambda _: None)
            await asyncio.sleep(third_s)
            if self._heard_s == heard_s:
                socket.transport.abort()
                raise Lost(f"nothing heard for {self._timing.silent_s:g} s")

    def _drop_answers(self) -> None:
        while not self._to_send.empty():
            self._answers.append(self._to_send.get_nowait()[1])
        while self._answers:
            self._answers.popleft()(None)


def _turned_away(address: Address, response: Response) -> Exception:
    """Lost where it may be better later, Refused where it will not."""
    status, after = response.status_code, response.headers.get("Retry-After", "")
    message = read_error(response.body)[1]
    if status in (408, 425, 429) or status >= 500:
        return Lost(f"HTTP {status} {message}"[:200].strip(), float(after) if after.isdecimal() else 0.0)
    return turned_away(address, status, message)
