"""One port: the stream over websockets, and the pages of `kvd.sinks.pages` beside it (docs/protocol.md).

`Publisher.publish` never waits. It puts messages into the outboxes of their listeners; one task writes the outboxes
to their sockets in slices, another looks after those that do not drain. A message's frame is built once and handed
to each transport as it is: the library sees only what clients send, and the control frames.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self
from weakref import WeakSet

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import State

from kvd.config import ConfigError, Publish
from kvd.sinks.audience import Audience, Session
from kvd.sinks.outbox import SOCKET_BYTES, Outbox, Tally
from kvd.sinks.pages import Call, Page, Sources, answer, refusal
from kvd.sinks.requests import Bucket, Request, RequestError, read, refuse_bad_topics
from kvd.sinks.topics import matches
from kvd.surface import SurfaceUpdate
from kvd.wire import Encoder, iso

CLIENT_FRAME_BYTES = 64 * 1024
HANDSHAKE_S = 5.0
CLOSE_S = 1.0
log = structlog.get_logger()
_library_log = logging.getLogger("kvd.publish.websockets")
_library_log.setLevel(logging.CRITICAL)  # it would write a traceback for every stranger's bad handshake


class Statistics(NamedTuple):
    """What the publisher has done: counts by kind of message, by reason of a cut, by code of an error.

    `buffered_bytes` waits in the transports of all clients now; `overwrites` is what conflation has cost them.
    """

    clients: int
    subscriptions: int
    sent: dict[str, int]
    sent_bytes: int
    buffered_bytes: int
    overwrites: int
    cut: dict[str, int]
    errors: dict[str, int]


class Publisher:
    """Serves the stream and the pages while its ``async with`` block runs.

    A failure in here cancels that block and leaves it as an ExceptionGroup, as from a TaskGroup.
    `ready` names what is missing with a sentence each; `now_us` is the wall clock, for heartbeats alone.
    Raises ConfigError if the port cannot be had; whether it may be opened to a network, `kvd.config.load` has asked.
    """

    def __init__(
        self,
        settings: Publish,
        encoder: Encoder,
        ready: Callable[[], dict[str, str]],
        render_metrics: Callable[[], bytes],
        now_us: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._sources = Sources(encoder, ready, render_metrics)
        self._now_us = now_us
        self._tally = Tally()
        self._errors: Counter[str] = Counter()
        self._connections: WeakSet[ServerConnection] = WeakSet()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._audience = Audience(self._settings.stalled_after_s)
        self._server = await self._listen()
        self._group = await asyncio.TaskGroup().__aenter__()
        duties = (
            self._audience.write_out(),
            self._audience.look_after(self._settings.heartbeat_s, self._heartbeat),
            self._fail(),
        )
        self._tasks = [self._group.create_task(duty) for duty in duties]
        log.info("publisher.listening", host=self._settings.host, port=self.port)
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

    def publish(self, update: SurfaceUpdate) -> None:
        """Number and hand out what a batch changed. Never waits."""
        self._audience.hand_out(self._encoder.encode(update))

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
            overwrites=self._tally.overwrites,
            cut=dict(self._audience.cut),
            errors=dict(self._errors),
        )

    async def close(self) -> None:
        """Write what waits, close every stream with 1001 and give up the port, within two seconds."""
        if self._closed:
            return
        self._closed = True
        self._audience.settle()
        self._server.close()
        try:
            async with asyncio.timeout(CLOSE_S * 1.5):
                await self._server.wait_closed()
        except TimeoutError:
            for connection in self._connections:
                connection.transport.abort()
            await self._server.wait_closed()
        for task in self._tasks:
            task.cancel()

    async def _listen(self) -> Server:
        try:
            server = await serve(
                self._converse,
                self._settings.host,
                self._settings.port,
                process_request=self._receive,
                create_connection=self._connect,  # type: ignore[arg-type]  # a factory will do
                compression=None,
                server_header=None,
                open_timeout=HANDSHAKE_S,
                close_timeout=CLOSE_S,
                max_size=CLIENT_FRAME_BYTES,
                write_limit=SOCKET_BYTES,
                logger=_library_log,
            )
        except OSError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            raise ConfigError(
                f"publish.host and publish.port: cannot listen on {where}: {error.strerror or error}; "
                "end what holds it or set KVD_PUBLISH_PORT to another"
            ) from error
        for listener in server.sockets:  # what it accepts inherits this; the kernel doubles it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES // 2)
        return server

    def _connect(self, *args: Any, **options: Any) -> ServerConnection:
        connection = ServerConnection(*args, **options)
        self._connections.add(connection)
        return connection

    def _receive(self, _connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer plain HTTP, or None to go on with a websocket's handshake."""
        authorizations = request.headers.get_all("Authorization")
        call = Call(
            getattr(request, "method", "GET"),  # older libraries refuse other methods themselves
            request.path,
            authorizations[0] if len(authorizations) == 1 else None,
            tuple(request.headers.get_all("Origin")),
        )
        try:
            found = answer(call, self._sources, self._settings.token)
        except Exception as error:
            self._report(error)
            raise
        if found is None and len(self._audience.sessions) >= self._settings.max_clients:
            found = refusal(503, "full", f"all {self._settings.max_clients} places are taken: try again later")
            self._errors["full"] += 1
        return None if found is None else _response(found)

    def _report(self, error: Exception) -> None:
        """Have `error` end the block: the library would log it and go on."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _fail(self) -> None:
        await self._failure

    def _heartbeat(self) -> dict[str, object]:
        return {"type": "heartbeat", "epoch": self._encoder.epoch, "time": iso(self._now_us())}

    async def _converse(self, connection: ServerConnection) -> None:
        """One subscriber, from its handshake to its end."""
        transport = connection.transport
        session = Session(
            transport,
            lambda: connection.state is State.OPEN and not transport.is_closing(),
            Outbox(transport, self._encoder, self._tally),
            Bucket(self._settings.max_messages_per_s, self._loop.time()),
        )
        self._audience.join(session)
        try:
            async for frame in connection:
                self._serve(session, frame)
                await session.caught_up.wait()  # who does not read our answers is not read either
        except ConnectionClosed:
            pass
        except Exception as error:
            self._report(error)
            raise
        finally:
            self._audience.leave(session)

    def _serve(self, session: Session, frame: str | bytes) -> None:
        try:
            if not session.bucket.take(self._loop.time()):
                limit = f"{self._settings.max_messages_per_s:g} messages a second"
                raise RequestError("too_many_messages", f"more than {limit}: this one was ignored, send it again later")
            self._do(session, read(frame))
        except RequestError as error:
            self._errors[error.code] += 1
            session.outbox.put_answer({"type": "error", "code": error.code, "message": str(error)})
        self._audience.flush(session)

    def _do(self, session: Session, request: Request) -> None:
        topics = sorted(set(request.topics))
        if request.op == "subscribe":
            self._subscribe(session, topics)
        elif request.op == "unsubscribe":
            unknown = set(topics) - self._audience.subscriptions.of(session)
            if unknown:
                raise RequestError(
                    "not_subscribed", f"not subscribed to {min(unknown)[:128]!r}: name it as when subscribing"
                )
            self._audience.subscriptions.remove(session, topics)
            session.outbox.put_answer({"type": "ack", "op": "unsubscribe", "topics": topics})
        else:
            session.outbox.put_answer({"type": "ack", "op": "ping"})

    def _subscribe(self, session: Session, topics: list[str]) -> None:
        refuse_bad_topics(topics)
        limit = self._settings.max_subscriptions
        if len(self._audience.subscriptions.of(session).union(topics)) > limit:
            raise RequestError("too_many_subscriptions", f"more than {limit} topics: unsubscribe from some, or use *")
        self._audience.subscriptions.add(session, topics)
        known = [topic for topic in self._encoder.topics() if any(matches(pattern, topic) for pattern in topics)]
        session.outbox.put_answer({"type": "ack", "op": "subscribe", "topics": topics, "matching": len(known)})
        for topic in known:
            session.outbox.put_snapshot(topic)


def _response(found: Page) -> Response:
    status = HTTPStatus(found.status)
    headers = Headers()
    headers["Content-Type"] = found.content_type
    headers["Content-Length"] = str(len(found.body))
    headers["Cache-Control"] = "no-store"
    headers["Connection"] = "close"
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET"
    return Response(status, status.phrase, headers, found.body)
