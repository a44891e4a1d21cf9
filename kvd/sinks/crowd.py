"""Everyone who is connected, at whatever stage: those of the stream, those still shaking hands, those who ask for a
page.

Who has the stream is counted at the door; what is counted here is sockets, each of which takes a file descriptor. So
many that the feed could not open its own are never let in.
"""

import asyncio
from collections import Counter
from typing import Any
from weakref import WeakSet

from websockets.asyncio.server import ServerConnection

PASSERS_BY = 500  # beside the clients: askers of pages, and those who have not said yet what they want


class TurnedAway:
    """What a connection too many is given: its end, before a byte of it is read."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Hang up."""
        transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""


class Crowd:
    """Makes a connection of every socket accepted, up to `most` at once; `errors` counts those turned away."""

    def __init__(self, most: int, errors: Counter[str]) -> None:
        self._most = most
        self._errors = errors
        self._connections: WeakSet[ServerConnection] = WeakSet()

    def admit(self, *args: Any, **options: Any) -> ServerConnection | TurnedAway:
        """The protocol of a socket that was accepted."""
        if len(self._connections) >= self._most and sum(map(_is_there, self._connections)) >= self._most:
            self._errors["crowded"] += 1
            return TurnedAway()
        connection = ServerConnection(*args, **options)
        self._connections.add(connection)
        return connection

    def abort(self) -> None:
        """Hang up on everyone."""
        for connection in self._connections:
            connection.transport.abort()


def _is_there(connection: ServerConnection) -> bool:
    transport = getattr(connection, "transport", None)  # None: accepted in this very turn
    return transport is None or not transport.is_closing()
