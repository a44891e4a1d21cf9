"""What may come over the port itself: handshakes and frames that are none, floods, and the end at any byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mutation import Mutator
from smiles import NOON, smile, update
from targets import Case
from websockets.asyncio.client import connect

from kvd.config import Publish
from kvd.sinks.publish import Publisher
from kvd.wire import Encoder

UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%b\r\n"
)
PLAIN, PACKED = UPGRADE % b"", UPGRADE % b"Sec-WebSocket-Protocol: kvd.v1.msgpack\r\n"
DEFLATE = UPGRADE % b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
TEXT, BINARY, CLOSE, PING, PONG, MORE, FINAL, COMPRESSED = 1, 2, 8, 9, 10, 0, 0x80, 0x40
GONE_WITHIN_S = 10.0  # a handshake has five seconds; the machine may be busy


def frame(first: int, payload: bytes = b"", masked: bool = True, length: int | None = None) -> bytes:
    """A client's frame (RFC 6455 section 5.2): `first` is its first byte, `length` what it claims."""
    size, mask = len(payload) if length is None else length, 0x80 if masked else 0
    head = (
        bytes((first, mask | size)) if size < 126
        else bytes((first, mask | 126)) + size.to_bytes(2) if size < 2**16
        else bytes((first, mask | 127)) + size.to_bytes(8)
    )  # fmt: skip
    return head + (b"\0\0\0\0" if masked else b"") + payload


ASK = json.dumps({"op": "subscribe", "topics": ["surface.*.*", "status"]}).encode()
CORPUS = (
    PLAIN + frame(FINAL | TEXT, ASK) + frame(FINAL | TEXT, b'{"op":"ping"}') + frame(FINAL | CLOSE, b"\x03\xe8"),
    PACKED + frame(FINAL | BINARY, b"\x81\xa2op\xa4ping"),
    PLAIN + frame(TEXT, ASK[:9]) + frame(FINAL | PING, b"x") + frame(MORE, ASK[9:20]) + frame(FINAL | MORE, ASK[20:]),
    PLAIN + frame(FINAL | PING, b"p" * 125) * 40,
    PLAIN + frame(FINAL | PONG) * 40,
    PLAIN + frame(MORE, b"a") * 300,
    PLAIN + frame(TEXT, b"") * 40,
    DEFLATE + frame(FINAL | COMPRESSED | TEXT, b"\xaa\x56\x2a\x48"),
    PLAIN + frame(FINAL | TEXT, ASK, masked=False),
    PLAIN + frame(FINAL | TEXT, b"\xff\xfe\xed\xa0\x80"),
    PLAIN + frame(FINAL | TEXT, b"", length=2**63),
    PLAIN + frame(FINAL | TEXT, b"a" * 1000, length=70_000),
    PLAIN + frame(FINAL | CLOSE, b"\x03"),
    PLAIN[:60],
    PLAIN.replace(b"13\r\n", b"8\r\n"),
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"POST /v1/vol HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"\r\n" * 200,
)
WORDS = (
    "HTTP/1.1", "Sec-WebSocket-Key: ", "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n", "\x81\x80\x00\x00\x00\x00", "\x88\x80\x00\x00\x00\x00", "\r\n\r\n",
    "Host: a\r\nHost: b\r\n", "\x00" * 100,
)  # fmt: skip


def streams(seed: int) -> Mutator:
    """Whole conversations of a connection, as bytes."""
    return Mutator(seed, CORPUS, WORDS, "bytes")


@asynccontextmanager
async def port() -> AsyncIterator[Case]:
    """A publisher's port. Whoever has said all is let go; at the end a proper subscriber is served."""
    server = Publisher(Publish(port=0), Encoder("e"), dict, bytes, lambda: NOON)
    async with server:
        server.publish(update(smile()))

        async def case(data: bytes) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                async with asyncio.timeout(GONE_WITHIN_S):
                    writer.write(data)
                    writer.write_eof()
                    while await reader.read(65_536):
                        pass
            except ConnectionError:
                return
            finally:
                writer.transport.abort()

        yield case
        async with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as client:
            await client.send('{"op":"subscribe","topics":["surface.*.*"]}')
            said = [json.loads(await client.recv())["type"] for _ in range(2)]
            assert said == ["ack", "snapshot"] and server.statistics().clients == 1
