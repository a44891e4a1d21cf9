"""Sockets by the thousand in a process of their own, that read and note when they did: the far end of a fan-out.

What the process is told and what it answers is one JSON object a line, on its standard input and output. It ends with
its input.
"""

import os
import resource
import selectors
import socket
import sys
import time
from typing import Any

import orjson

READ_BYTES = 256 * 1024
AT_ONCE = 50  # connections begun before the first of them is waited for: fewer than fit a listener's queue
DEAF_BYTES = 4096
_UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: kvd\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_UPDATE, _SEQ = b'{"type":"update"', b'"seq":'
_PING, _PONG = 0x89, 0x8A


class Listeners:
    """Groups of sockets by name, and when updates came to them, in ns of the monotonic clock, by ``seq``."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._groups: dict[str, list[socket.socket]] = {}
        self._partial: dict[socket.socket, bytes] = {}
        self._seen: dict[int, list[int]] = {}
        self._buffer = memoryview(bytearray(READ_BYTES))

    def run(self) -> None:
        """Read sockets and commands until there are no more commands."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._read(key.data)
                    continue
                line = os.read(key.fd, READ_BYTES)
                while line and not line.endswith(b"\n"):
                    line += os.read(key.fd, READ_BYTES)
                if not line:
                    return
                self._obey(orjson.loads(line))

    def _obey(self, told: dict[str, Any]) -> None:
        answer: dict[str, float] = {}
        if told["do"] == "connect":
            self._groups[told["group"]] = self._connect(told["port"], told["requests"], told["deaf"])
        elif told["do"] == "close":
            for sock in self._groups.pop(told["group"]):
                self._close(sock)
        else:
            answer = self._latencies(told["published"])
        sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.flush()

    def _connect(self, port: int, requests: list[str], deaf: bool) -> list[socket.socket]:
        """A socket for each of `requests`, which it sends as a websocket; an empty one makes it a bare socket.

        Deaf sockets have small buffers and are never read.
        """
        made: list[socket.socket] = []
        for first in range(0, len(requests), AT_ONCE):
            some = [(_socket(port, deaf), request) for request in requests[first : first + AT_ONCE]]
            made += [sock for sock, _ in some]
            asking = [(sock, request.encode()) for sock, request in some if request]
            for sock, _ in asking:
                sock.sendall(_UPGRADE)
            for sock, request in asking:
                self._hear(sock, _upgraded(sock))
                sock.sendall(_masked(0x81, request))
        if not deaf:
            for sock in made:
                sock.setblocking(False)
                self._selector.register(sock, selectors.EVENT_READ, sock)
        return made

    def _read(self, sock: socket.socket) -> None:
        try:
            length = sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            length = 0
        if length:
            self._hear(sock, self._buffer[:length].tobytes())
        elif sock.fileno() >= 0:
            self._selector.unregister(sock)

    def _close(self, sock: socket.socket) -> None:
        self._partial.pop(sock, None)
        if sock.fileno() in self._selector.get_map():
            self._selector.unregister(sock)
        sock.close()

    def _hear(self, sock: socket.socket, data: bytes) -> None:
        """Note the updates among the frames that are complete, and answer pings."""
        now_ns = time.monotonic_ns()
        data, at = self._partial.pop(sock, b"") + data, 0
        while len(data) - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[at + 2 : start])
            if len(data) < start + length:
                break
            if data[at] == _PING:
                sock.sendall(_masked(_PONG, data[start : start + length]))
            elif data.startswith(_UPDATE, start):
                number = data.index(_SEQ, start) + len(_SEQ)
                self._seen.setdefault(int(data[number : data.index(b",", number)]), []).append(now_ns)
            at = start + length
        if at < len(data):
            self._partial[sock] = data[at:]

    def _latencies(self, published: dict[str, int]) -> dict[str, float]:
        """How many updates came since the last call, and quantiles of how long after `published` (ns by seq)."""
        taken, self._seen = self._seen, {}
        late_ns = sorted(
            at - published[str(seq)] for seq, seen in taken.items() if str(seq) in published for at in seen
        )
        quantiles = {f"p{p}_ms": late_ns[len(late_ns) * p // 100] / 1e6 for p in (50, 99) if late_ns}
        return {"received": sum(map(len, taken.values())), **quantiles}


def raise_file_limit() -> None:
    """Let this process have as many sockets as the system grants it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _socket(port: int, deaf: bool) -> socket.socket:
    sock = socket.socket()
    if deaf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAF_BYTES)
    sock.connect(("127.0.0.1", port))
    return sock


def _upgraded(sock: socket.socket) -> bytes:
    """Read the answer to the upgrade; returns what came behind it."""
    said = b""
    while b"\r\n\r\n" not in said:
        more = sock.recv(READ_BYTES)
        if not more:
            raise ConnectionError(f"the stream was refused: {said!r}")
        said += more
    return said.partition(b"\r\n\r\n")[2]


def _masked(kind: int, payload: bytes) -> bytes:
    """A client's frame of at most 125 bytes, masked with zeros."""
    return bytes((kind, 0x80 | len(payload))) + bytes(4) + payload


def main() -> None:
    """Be that process."""
    raise_file_limit()
    Listeners().run()
