"""Subscribers by the hundred, some of whom stop reading: sockets in a process of their own (see `reading`)."""

import random
import socket
import struct
import sys
import time
from array import array
from datetime import datetime
from functools import lru_cache
from select import EPOLLERR, EPOLLHUP, EPOLLIN, epoll
from typing import Any

import msgspec
import orjson
from reading import Habit, Join, Leave, Look, Seen, Stop
from subscriber import take_frames

READ_BYTES, SMALL_BYTES = 256 * 1024, 4096
SIP_BYTES, SIP_S = 64 * 1024, 0.2  # what a slow reader takes at a time, and how often
_UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: kvd\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_PUBLISHED, _STAMP = b'"publish_time":"', 27
_PING, _CLOSE = 0x89, 0x88


class _Message(msgspec.Struct):
    type: str
    topic: str = ""
    seq: int = 0
    prev_seq: int = 0
    to_seq: int = 0


_decode = msgspec.json.Decoder(_Message).decode
_order = msgspec.json.Decoder(Join | Stop | Leave | Look).decode


class Reader:
    """One subscriber: its chain of numbers by topic, and when it stops."""

    def __init__(self, connected: socket.socket, habit: Habit, asking: bytes) -> None:
        self.socket, self.habit, self.asking = connected, habit, asking
        self.stops_s: float | None = None
        self.stopped = False
        self.partial = b""
        self.seq: dict[str, int] = {}


class Readers:
    """All of them, in one loop."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._readers: dict[int, Reader] = {}
        self._poll = epoll()
        self._delays_s = array("d")
        self._sip_s = 0.0

    def run(self) -> None:
        """Read sockets and orders until there are no more orders."""
        self._poll.register(sys.stdin, EPOLLIN)
        while True:
            for fd, event in self._poll.poll(0.01):
                if fd == sys.stdin.fileno():
                    line = sys.stdin.buffer.readline()
                    if not line:
                        return
                    self._obey(_order(line))
                elif fd in self._readers and event & (EPOLLERR | EPOLLHUP):
                    self._end(fd)
                elif fd in self._readers:
                    self._read(fd, READ_BYTES)
            self._turn(time.monotonic())

    def _obey(self, order: Join | Stop | Leave | Look) -> None:
        answer: dict[str, Any] | Seen = {}
        if isinstance(order, Join):
            for _ in range(order.count):
                self._join(order)
        elif isinstance(order, Stop):
            chance, now_s = random.Random(order.seed), time.monotonic()
            for reader in self._readers.values():
                if reader.habit in ("stalls", "sips"):
                    reader.stops_s = now_s + chance.uniform(0.0, order.within_s)
        elif isinstance(order, Leave):
            for reader in list(self._readers.values()):
                if reader.habit == "visits":
                    self._close(reader)
        else:
            answer = msgspec.structs.replace(self._seen, delays_s=sorted(self._delays_s))
            self._delays_s = array("d")
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.flush()

    def _join(self, order: Join) -> None:
        connected = socket.socket()
        if order.habit != "steady":  # how much the far end takes is not ours to count: little
            buffer = SIP_BYTES if order.habit == "sips" else SMALL_BYTES
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connected.connect(("127.0.0.1", order.port))
        connected.sendall(_UPGRADE)
        said = b""
        while b"\r\n\r\n" not in said:
            said += (more := connected.recv(SMALL_BYTES))
            if not more:
                raise ConnectionError(f"refused: {said!r}")
        connected.sendall(masked(orjson.dumps({"op": "subscribe", "topics": order.topics})))
        connected.setblocking(False)
        reader = Reader(connected, order.habit, masked(orjson.dumps(order.asking)) * 64)
        reader.partial = said.partition(b"\r\n\r\n")[2]
        self._readers[connected.fileno()] = reader
        self._poll.register(connected, EPOLLIN)
        if order.habit == "asks":
            self._stop(reader, time.monotonic())

    def _turn(self, now_s: float) -> None:
        """Let those whose instant has come stop, those who sip sip, those who ask ask."""
        sip = now_s - self._sip_s >= SIP_S
        self._sip_s = now_s if sip else self._sip_s
        for fd, reader in list(self._readers.items()):
            if reader.stops_s is not None and now_s >= reader.stops_s and not reader.stopped:
                self._stop(reader, now_s)
            if reader.habit == "asks":
                self._ask(reader)
            elif reader.stopped and reader.habit == "sips" and sip:
                self._read(fd, SIP_BYTES)

    def _stop(self, reader: Reader, now_s: float) -> None:
        reader.stopped, reader.stops_s = True, now_s
        self._poll.modify(reader.socket, 0)  # its end is still told

    def _ask(self, reader: Reader) -> None:
        try:
            sent = reader.socket.send(reader.asking)
            reader.asking = reader.asking[sent:] + reader.asking[:sent]  # whole frames in a circle
        except BlockingIOError:
            pass
        except OSError:
            self._end(reader.socket.fileno())

    def _read(self, fd: int, most: int) -> None:
        reader, taken = self._readers[fd], 0
        while taken < most:
            try:
                data = reader.socket.recv(most - taken)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end(fd)
                return
            taken += len(data)
            self._hear(reader, data)
            if reader.habit != "sips" or not reader.stopped:
                return

    def _end(self, fd: int) -> None:
        """The daemon has ended it."""
        reader = self._readers[fd]
        self._close(reader)
        self._count(self._seen.ended, reader)
        if reader.stopped and reader.stops_s is not None and reader.habit == "stalls":
            self._seen.cut_after_s.append(time.monotonic() - reader.stops_s)
        elif not reader.stopped:
            self._seen.lost += 1

    def _close(self, reader: Reader) -> None:
        del self._readers[reader.socket.fileno()]
        self._poll.unregister(reader.socket)
        reader.socket.close()

    def _hear(self, reader: Reader, data: bytes) -> None:
        if reader.habit == "steady":
            at = data.find(_PUBLISHED)
            if at >= 0 and len(data) >= at + len(_PUBLISHED) + _STAMP:
                published = data[at + len(_PUBLISHED) : at + len(_PUBLISHED) + _STAMP]
                self._delays_s.append(time.time() - _instant_s(published))
        frames, reader.partial = take_frames(reader.partial + data)
        for first, payload in frames:
            if first == _PING:
                reader.socket.send(masked(payload, 0x8A))
            elif first != _CLOSE:
                self._follow(reader, payload)

    def _follow(self, reader: Reader, payload: bytes) -> None:
        message = _decode(payload)
        self._count(self._seen.messages, reader)
        if message.type == "snapshot":
            reader.seq[message.topic] = message.seq
        elif message.type == "gap":
            self._count(self._seen.gaps, reader)
            reader.seq[message.topic] = message.to_seq
        elif message.type in ("update", "status"):
            if reader.seq.get(message.topic, 0) != message.prev_seq:
                self._count(self._seen.holes, reader)
            reader.seq[message.topic] = message.seq

    def _count(self, counts: dict[str, int], reader: Reader) -> None:
        counts[reader.habit] = counts.get(reader.habit, 0) + 1


@lru_cache(maxsize=1024)
def _instant_s(stamp: bytes) -> float:
    return datetime.fromisoformat(stamp.decode()).timestamp()


def masked(payload: bytes, first: int = 0x81) -> bytes:
    """A client's frame, masked with zeros."""
    length = len(payload)
    if length < 126:
        return bytes((first, 0x80 | length)) + bytes(4) + payload
    if length < 65536:
        return struct.pack("!BBH", first, 0x80 | 126, length) + bytes(4) + payload
    return struct.pack("!BBQ", first, 0x80 | 127, length) + bytes(4) + payload


if __name__ == "__main__":
    Readers().run()
