"""What a subscriber may send: a real conversation, with real outboxes over a real pair of sockets."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from desk import Bench, bench
from mutation import Mutator
from smiles import CHRISTMAS, DAY, smile, update
from subscriber import take_frames
from targets import Case

from kvd.config import Publish
from kvd.sinks.audience import Audience, Session
from kvd.sinks.conversation import Conversation
from kvd.sinks.outbox import Outbox, Tally
from kvd.sinks.requests import Bucket
from kvd.sinks.tokens import Keyring
from kvd.wire import Coding

SECRET = "0123456789abcdef0123"
SETTINGS = Publish(
    tokens=(f"desk:read+lock:{SECRET}",),
    max_messages_per_s=1e12,
    max_messages_per_s_per_token=1e12,
    max_subscriptions=50,
)
LOCK = {
    "op": "lock", "venue": "deribit", "underlying": "BTC", "expiry": "2026-12-25", "of": "atm_vol", "value": 0.55,
    "sd": 0.002, "for_s": 3600,
}  # fmt: skip
REQUESTS: list[dict[str, Any]] = [
    {"op": "ping"},
    {"op": "subscribe", "topics": ["surface.deribit.BTC", "atm.*.*", "smile.deribit.BTC.2026-12-25", "status", "*"]},
    {"op": "subscribe", "topics": ["surface.deribit.BTC"], "epoch": "e1", "from_seq": {"surface.deribit.BTC": 1}},
    {
        "op": "subscribe",
        "topics": ["surface.deribit.BTC"],
        "epoch": "e0",
        "from_seq": {"surface.deribit.BTC": 2**63 - 1},
    },
    {"op": "subscribe", "topics": [f"surface.deribit.U{i}" for i in range(40)]},
    {"op": "unsubscribe", "topics": ["surface.deribit.BTC"]},
    LOCK | {"value": 7.0},
    LOCK | {"expiry": "2026-12-24"},
    LOCK | {"of": "vol", "strike": 64_000.0, "until": "2026-12-01T00:00:00Z"},
    {"op": "unlock", "id": "0"},
]
WORDS = (
    "op", "topics", "subscribe", "unsubscribe", "lock", "unlock", "ping", "from_seq", "epoch", "surface", "smile",
    "atm", "status", "surface.*.*", "*.*.*", "a.b.c.d.e", "surface.deribit." + "B" * 300, "value", "sd", "strike",
    "until", "for_s", "of", "vol",
)  # fmt: skip
ANSWERS = {"ack", "error", "snapshot", "gap", "update", "status"}
CODES = {
    "bad_frame", "bad_json", "bad_msgpack", "bad_request", "bad_topic", "bad_lock", "not_subscribed",
    "too_many_subscriptions", "too_many_messages", "forbidden", "no_audit",
}  # fmt: skip
PUBLISH_EVERY = 40


def json_frames(seed: int) -> Mutator:
    """Requests in text frames, or what looks like them."""
    twice = b'{"op":"ping","op":"subscribe","topics":["status"],"topics":[]}'
    return Mutator(seed, [*(json.dumps(request).encode() for request in REQUESTS), twice], WORDS)


def msgpack_frames(seed: int) -> Mutator:
    """Requests in binary frames."""
    return Mutator(seed, [msgspec.msgpack.encode(request) for request in REQUESTS], WORDS, "msgpack")


def conversation(coding: Coding) -> Callable[[], AbstractAsyncContextManager[Case]]:
    """A subscriber in that coding, whose token may lock; smiles are published meanwhile."""

    @asynccontextmanager
    async def subject() -> AsyncIterator[Case]:
        with TemporaryDirectory(prefix="kvd-fuzz-") as folder:
            async with bench(Path(folder, "audit.log")) as b:
                talk = await _Talk.begin(b, coding)
                try:
                    yield talk.case
                    talk.end()
                finally:
                    talk.close()

    return subject


class _Talk:
    """One session of a conversation, and the far end of its socket."""

    @classmethod
    async def begin(cls, b: Bench, coding: Coding) -> "_Talk":
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        _, writer = await asyncio.open_connection(sock=ours)
        return cls(b, coding, theirs, writer)

    def __init__(self, b: Bench, coding: Coding, far: socket.socket, writer: asyncio.StreamWriter) -> None:
        transport, tally = writer.transport, Tally()
        self._bench, self._coding, self._far, self._writer = b, coding, far, writer
        self._errors: Counter[str] = Counter()
        self._audience = Audience(5.0, tally)
        self._conversation = Conversation(SETTINGS, b.encoder, self._audience, self._errors, b.hand)
        holder = Keyring(SETTINGS, 0.0).holder(SECRET)
        assert holder is not None
        self._session = Session(
            transport, lambda: True, Outbox(transport, b.encoder, tally, coding), Bucket(1e12, 0.0), holder
        )
        self._audience.join(self._session)
        self._left, self._cases = b"", 0

    async def case(self, data: bytes) -> None:
        """A frame, as the library hands it over: it has looked whether text is UTF-8."""
        try:
            frame: str | bytes = data if self._coding == "msgpack" else data.decode()
        except UnicodeDecodeError:
            frame = data
        await self._conversation.answer(self._session, frame)
        heard = await self._heard()
        assert sum(message["type"] in ("ack", "error") for message in heard) == 1, heard
        self._cases += 1
        if self._cases % PUBLISH_EVERY == 0:
            made = self._bench.encoder.encode(update(smile(), smile(CHRISTMAS + DAY, quotes=self._cases)))
            self._audience.hand_out(made)
            self._audience.settle()
            await self._heard()

    def end(self) -> None:
        """The subscriber leaves: nothing of it stays."""
        self._audience.leave(self._session)
        assert not self._audience.sessions and not len(self._audience.subscriptions)
        assert set(self._errors) <= CODES, self._errors

    def close(self) -> None:
        """Both ends."""
        self._far.close()
        self._writer.transport.abort()

    async def _heard(self) -> list[dict[str, Any]]:
        """Every message that has come, each of them whole, of a known kind."""
        parts = [self._left]
        while True:
            try:
                parts.append(self._far.recv(1 << 20))
            except BlockingIOError:
                if self._session.outbox.drained:
                    break
                await asyncio.sleep(0)
                self._audience.flush(self._session)
        frames, self._left = take_frames(b"".join(parts))
        assert not self._left
        decode, first = (msgspec.json.decode, 0x81) if self._coding == "json" else (msgspec.msgpack.decode, 0x82)
        messages = [decode(payload) for _, payload in frames]
        assert all(head == first for head, _ in frames)
        for message in messages:
            assert message["type"] in ANSWERS, message
            assert message["type"] != "error" or (message["code"] in CODES and len(message["message"]) < 2_000), message
        return messages
