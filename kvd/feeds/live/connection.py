"""One connection to a venue, from the attempt to its loss: send at the pace allowed, receive, watch the canary."""

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from kvd.config import Feed
from kvd.feeds.live.canary import Canary
from kvd.feeds.live.intake import Intake
from kvd.feeds.live.socket import Lost, open_socket
from kvd.feeds.pace import Pacer
from kvd.quotes import Event, ForwardQuote
from kvd.venues import VenueSession

log = structlog.get_logger()


class Connection:
    """Made, begun once, lost. `changed` is called when what stands below may read differently, `heard` at the canary's
    every word.

    ``lost`` is why it ended, and None of one that was hung up; ``open`` speaks of the socket.
    """

    def __init__(
        self,
        session: VenueSession,
        pacer: Pacer,
        settings: Feed,
        intake: Intake,
        changed: Callable[[], object],
        heard: Callable[[Canary], object],
    ) -> None:
        self.session = session
        self.lost: Lost | None = None
        self.open = False
        self._pacer = pacer
        self._settings = settings
        self._intake = intake
        self._changed = changed
        self._heard = heard
        self._canary = Canary(settings.stale_after_s, time.monotonic())
        self._canary_name = session.canary
        self._to_send = asyncio.Event()
        self._silent = False
        self._last_error = ""
        self._opened_at_s = 0.0
        self._lived_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def whole(self) -> bool:
        """Whether it can do without another: data come, and everything that was asked for has been answered."""
        return self.open and self._canary.spoke and self.session.subscribed

    @property
    def lived_s(self) -> float:
        """For how long it has been open, or was."""
        return time.monotonic() - self._opened_at_s if self.open else self._lived_s

    def begin(self, tasks: asyncio.TaskGroup, url: str) -> None:
        """Connect and live until lost. Anything but a lost connection is an error of ours and ends `tasks`."""
        self._task = tasks.create_task(self._run(url))

    def hang_up(self) -> None:
        """End it politely, now."""
        assert self._task is not None
        self._task.cancel()

    async def _run(self, url: str) -> None:
        try:
            await self._live(url)
        except* Lost as group:
            lost = group.exceptions[0]
            assert isinstance(lost, Lost)
            self.lost = lost
            self._intake.last_error = str(lost)
        self._changed()

    async def _live(self, url: str) -> None:
        socket = await open_socket(url, self._settings)
        self.open, self._opened_at_s = True, time.monotonic()
        self._canary = Canary(self._settings.stale_after_s, self._opened_at_s)
        try:
            self._queue(self.session.subscribe())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(socket))
                tasks.create_task(self._watch(socket))
                tasks.create_task(self._receive(socket))
        finally:
            self._lived_s, self.open = self.lived_s, False
            await socket.close(1001)

    async def _receive(self, socket: ClientConnection) -> NoReturn:
        intake, session = self._intake, self.session
        while True:
            try:
                frame = await socket.recv(decode=False)
            except ConnectionClosed as error:
                raise Lost(f"connection closed: {error}"[:200], session.retry_after_s or 0.0) from None
            reading = intake.read(session, frame)
            for event in reading.events:
                self._listen(event)
                intake.put(event)
            if reading.control is not None:
                self._reply(reading.control)

    def _listen(self, event: Event) -> None:
        if self._canary_name is None:
            self._canary.breathe(time.monotonic())
        elif isinstance(event, ForwardQuote) and event.name == self._canary_name:
            self._canary.hear(event.exchange_us, event.receive_us, time.monotonic())
        else:
            return
        self._heard(self._canary)

    def _reply(self, control: object) -> None:
        session = self.session
        self._queue(session.reply(control))
        self._canary_name = session.canary
        if session.retry_after_s is not None:
            raise Lost(session.last_error, session.retry_after_s)
        self._changed()

    def _queue(self, requests: list[bytes]) -> None:
        """Send what the session has asked for, and heed what it has to say besides."""
        if self.session.last_error != self._last_error:
            self._last_error = self._intake.last_error = self.session.last_error
        for request in requests:
            self._pacer.add(request, self.session.quota_of(request))
        if requests:
            self._to_send.set()

    async def _send(self, socket: ClientConnection) -> None:
        try:
            while True:
                self._to_send.clear()
                for request in self._pacer.due(time.monotonic()):
                    await socket.send(request, text=True)
                wait_s = self._pacer.wait_s(time.monotonic())
                try:
                    async with asyncio.timeout(wait_s):
                        await self._to_send.wait()
                except TimeoutError:
                    continue
        except ConnectionClosed:
            return  # the receiver says so

    async def _watch(self, socket: ClientConnection) -> NoReturn:
        canary, session = self._canary, self.session
        while True:
            await asyncio.sleep(canary.look_s)
            if reason := canary.dead(time.monotonic()):
                socket.transport.abort()
                raise Lost(reason)
            self._queue(session.nudge(self._intake.last_us))
            if self._silent != (session.channels_silent > 0):
                self._silent = not self._silent
                said = "feed.channels_silent" if self._silent else "feed.channels_speak"
                log.info(said, venue=session.venue, count=session.channels_silent)
