"""Subscribers as cheap as can be: what comes from a daemon is kept as bytes, thrown away, or left in the socket."""

import asyncio
import json
import socket
from urllib.parse import urlsplit

from subscriber import Subscriber, take_frames

_CLOSE, _TEXT = 0x88, 0x81
_UPGRADE = (
    "GET /v1/stream HTTP/1.1\r\nHost: kvd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
DEAF_BYTES = 4096  # of a receive buffer, so that a socket is full soon


class Listener(asyncio.Protocol):
    """Subscribes to `topics` and hears all, if it `keeps` it; `ended` is set when the connection is."""

    def __init__(self, topics: tuple[str, ...], keeps: bool) -> None:
        self._asks = json.dumps({"op": "subscribe", "topics": topics}).encode()
        self._keeps = keeps
        self._heard = bytearray()
        self.bytes = 0
        self.ended = asyncio.Event()

    def connection_made(self, transport):
        """Ask for the stream and for topics in one breath, in a frame masked with zeros."""
        self.transport = transport
        frame = bytes([_TEXT, 0x80 | len(self._asks)]) + bytes(4) + self._asks
        transport.write(_UPGRADE.encode() + frame)

    def data_received(self, data):
        """Something has come."""
        self.bytes += len(data)
        if self._keeps or b"\r\n\r\n" not in self._heard:
            self._heard += data

    def connection_lost(self, _):
        """It is over."""
        self.ended.set()

    def heard(self) -> tuple[Subscriber, int | None]:
        """What a subscriber makes of it, and the code with which it was closed, if it was told one."""
        frames, _ = take_frames(bytes(self._heard).partition(b"\r\n\r\n")[2])
        said, code = Subscriber(), None
        for first, payload in frames:
            if first == _TEXT:
                said.hear(payload)
            elif first == _CLOSE:
                code = int.from_bytes(payload[:2])
        return said, code


async def listening(stream: str, topics: tuple[str, ...], keeps: bool = True, deaf: bool = False) -> Listener:
    """A listener at the address `stream`; one that is `deaf` never reads."""
    at = urlsplit(stream)
    near = socket.socket()
    if deaf:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAF_BYTES)
    near.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(near, (at.hostname, at.port))
    transport, listener = await loop.create_connection(lambda: Listener(topics, keeps), sock=near)
    if deaf:
        transport.pause_reading()
    return listener


async def status(stream: str, path: str) -> int | None:
    """The status of a page beside the stream; None where nobody answers any more."""
    at = urlsplit(stream)
    try:
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: kvd\r\n\r\n".encode())
        line = await reader.readline()
        writer.close()
        return int(line.split()[1]) if line else None
    except OSError:
        return None


async def page(stream: str, path: str) -> str:
    """A page beside the stream."""
    at = urlsplit(stream)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: kvd\r\nConnection: close\r\n\r\n".encode())
    body = (await reader.read()).partition(b"\r\n\r\n")[2].decode()
    writer.close()
    return body
