"""One port: the stream over websockets, and the pages of `kvd.sinks.pages` beside it (docs/protocol.md).

`Publisher.publish` never waits. It puts messages into the outboxes of their listeners; one task writes the outboxes
to their sockets in slices, another looks after those that do not drain. A message's frame is built once and handed
to each transport as it is: the library sees only what clients send, and the control frames.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from kvd.config import ConfigError, Publish
from kvd.sinks.answers import Followed, Sources, Trouble, nothing
from kvd.sinks.audience import Audience, Session
from kvd.sinks.conversation import Conversation, Desk
from kvd.sinks.crowd import PASSERS_BY, Crowd
from kvd.sinks.door import Door, response
from kvd.sinks.held import held_bytes
from kvd.sinks.history import History
from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally
from kvd.sinks.requests import Bucket
from kvd.sinks.tls import context
from kvd.sinks.tokens import Holder, Use
from kvd.surface import SurfaceUpdate
from kvd.wire import SUBPROTOCOLS, Encoder, Message, iso

CLIENT_FRAME_BYTES = 64 * 1024
RECEIVE_BYTES = 8 * 1024  # of the kernel, for what a client asks: so much is read at once, however small its frames
WAITING_FRAMES = 4  # read, and not yet answered, before the client is left alone
HANDSHAKE_S = 5.0
CLOSE_S = 1.0
LAST_WORDS_S = 0.5  # for what waits in outboxes when the end has come
JSON = "kvd.v1.json"  # what is spoken if nothing is agreed on
log = structlog.get_logger()
_library_log = logging.getLogger("kvd.publish.websockets")
_library_log.setLevel(logging.CRITICAL)  # it would write a traceback for every stranger's bad handshake


class Statistics(NamedTuple):
    """What the publisher has done: counts by kind of message, by reason of a cut, by code of an error.

    `buffered_bytes` waits in the transports of all clients now; `held_bytes` is the most that one of them holds, the
    kernel's buffers included; `overwrites` is what conflation has cost them;
    `tokens` says by name what each holder of a token has done; `gaps` counts by reason who heard of one, `resumed`
    topics taken up where they were left, `unmoved` by kind the smiles not sent for not having moved; `ring_bytes` and
    `ring_s` are what is kept for who comes back, and how far back.
    """

    clients: int
    subscriptions: int
    sent: dict[str, int]
    sent_bytes: int
    buffered_bytes: int
    held_bytes: int
    overwrites: int
    cut: dict[str, int]
    errors: dict[str, int]
    tokens: dict[str, Use]
    gaps: dict[str, int]
    resumed: int
    unmoved: dict[str, int]
    ring_bytes: int
    ring_s: float


class Publisher:
    """Serves the stream and the pages while its ``async with`` block runs.

    A failure in here cancels that block and leaves it as an ExceptionGroup, as from a TaskGroup.
    `ready` says what is amiss, for /readyz; `now_us` is the wall clock, for heartbeats alone.
    `desk` is where locks are set; without one nobody may. Raises ConfigError if the port cannot be had, or a token or
    the certificate be used; whether it may be opened to a network, `kvd.config.load` has asked.
    """

    def __init__(
        self,
        settings: Publish,
        encoder: Encoder,
        ready: Callable[[], Iterable[Trouble]],
        render_metrics: Callable[[], bytes],
        now_us: Callable[[], int],
        desk: Desk | None = None,
        followed: Followed = nothing,
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._history = History(settings.history_h)
        self._sources = Sources(encoder, ready, render_metrics, followed, self._history)
        self._now_us = now_us
        self._desk = desk
        self._tally = Tally()
        self._errors: Counter[str] = Counter()
        self._crowd = Crowd(settings.max_clients + PASSERS_BY, self._errors)
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._audience = audience = Audience(self._settings.stalled_after_s, self._tally)
        self._conversation = Conversation(self._settings, self._encoder, audience, self._errors, self._desk)
        self._door = Door(self._settings, self._sources, lambda: len(audience.sessions), self._errors, self._loop.time)
        self._server = await self._listen()
        self._group = await asyncio.TaskGroup().__aenter__()
        duties = (
            self._audience.write_out(),
            self._audience.look_after(self._settings.heartbeat_s, self._heartbeat),
            self._fail(),
        )
        self._tasks = [self._group.create_task(duty) for duty in duties]
        tls, tokens = bool(self._settings.tls_certificate), len(self._settings.tokens)
        log.info("publisher.listening", host=self._settings.host, port=self.port, tls=tls, tokens=tokens)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if isinstance(error, asyncio.CancelledError):
            await self._group.__aexit__(kind, error, trace)
        else:  # the block's own error goes up as it is
            await self._group.__aexit__(None, None, None)

    @property
    def port(self) -> int:
        """The port that is listened on: the system's choice where the settings say 0."""
        return int(self._server.sockets[0].getsockname()[1])

    def publish(self, update: SurfaceUpdate) -> tuple[Message, ...]:
        """Number and hand out what a batch changed, and return it. Never waits."""
        self._history.before(update, self._encoder)
        messages = self._encoder.encode(update)
        self._audience.hand_out(messages)
        return messages

    def status(self, record: Mapping[str, object]) -> None:
        """Say `record` on the topic ``status``; records of the same `venue` replace each other. Never waits."""
        self._audience.hand_out((self._encoder.status(record),))

    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(
            clients=len(self._audience.sessions),
            subscriptions=len(self._audience.subscriptions),
            sent=dict(self._tally.sent),
            sent_bytes=self._tally.sent_bytes,
            buffered_bytes=sum(s.transport.get_write_buffer_size() for s in self._audience.sessions),
            held_bytes=max((held_bytes(s.outbox, s.transport) for s in self._audience.sessions), default=0),
            overwrites=self._tally.overwrites,
            cut=dict(self._audience.cut),
            errors=dict(self._errors),
            tokens=self._door.keyring.uses(),
            gaps=dict(self._tally.gaps),
            resumed=self._tally.resumed,
            unmoved=dict(self._encoder.unmoved),
            ring_bytes=self._encoder.ring.held_bytes,
            ring_s=self._encoder.ring.span_us / 1e6,
        )

    async def close(self) -> None:
        """Write what waits, close every stream with 1001 and give up the port, within two and a half seconds."""
        if self._closed:
            return
        self._closed = True
        try:
            self._audience.close()
            await self._audience.caught_up(LAST_WORDS_S)
            self._server.close()
            async with asyncio.timeout(CLOSE_S * 1.5):
                await self._server.wait_closed()
        except TimeoutError:
            self._crowd.abort()
            await self._server.wait_closed()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _listen(self) -> Server:
        secure = context(self._settings)
        try:
            server = await serve(
                self._converse,
                self._settings.host,
                self._settings.port,
                process_request=self._receive,
                select_subprotocol=_choose,
                create_connection=self._crowd.admit,  # type: ignore[arg-type]  # a factory will do
                compression=None,
                server_header=None,
                open_timeout=HANDSHAKE_S,
                close_timeout=CLOSE_S,
                max_size=CLIENT_FRAME_BYTES,
                max_queue=WAITING_FRAMES,
                write_limit=SOCKET_BYTES,
                logger=_library_log,
                ssl=secure,
                ssl_handshake_timeout=HANDSHAKE_S if secure else None,
                ssl_shutdown_timeout=CLOSE_S if secure else None,
            )
        except OSError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            raise ConfigError(
                f"publish.host and publish.port: cannot listen on {where}: {error.strerror or error}; "
                "end what holds it or set KVD_PUBLISH_PORT to another"
            ) from error
        for listener in server.sockets:  # what it accepts inherits this; the kernel doubles it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES // 2)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        return server

    def _receive(self, _connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer plain HTTP, or None to go on with a websocket's handshake."""
        try:
            found = self._door.pass_or_page(request)
        except Exception as error:
            self._report(error)
            raise
        return None if found is None else response(found)

    def _report(self, error: Exception) -> None:
        """Have `error` end the block: the library would log it and go on."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _fail(self) -> None:
        await self._failure

    def _heartbeat(self) -> dict[str, object]:
        return {"type": "heartbeat", "epoch": self._encoder.epoch, "time": iso(self._now_us())}

    def _holder(self, connection: ServerConnection) -> Holder:
        """Whoever holds the token with which the connection passed the door."""
        assert connection.request is not None
        holder = self._door.holder(connection.request)
        assert holder is not None
        return holder

    async def _converse(self, connection: ServerConnection) -> None:
        """One subscriber, from its handshake to its end."""
        transport = connection.transport
        session = Session(
            transport,
            lambda: connection.state is State.OPEN and not transport.is_closing(),
            Outbox(transport, self._encoder, self._tally, SUBPROTOCOLS[connection.subprotocol or JSON]),
            Bucket(self._settings.max_messages_per_s, self._loop.time()),
            self._holder(connection),
        )
        self._audience.join(session)
        try:
            async for frame in connection:
                await self._conversation.answer(session, frame)
                await session.caught_up.wait()  # who does not read our answers is not read either
        except ConnectionClosed:
            pass
        except Exception as error:
            self._report(error)
            raise
        finally:
            self._audience.leave(session)


def _choose(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first coding that a client offers. Whatever else it offers, a token above all, is never the answer."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)
