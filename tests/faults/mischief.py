"""What may happen to frames between a venue and us. Each takes whole frames and gives back bytes to send, in order."""

import re
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from framing import TEXT, Frame, text

Mischief = Callable[[Sequence[Frame]], list[bytes]]

CHANNEL = re.compile(rb'"channel":\s*"([^"]*)"')
HELD_BACK = 64  # frames that reordering keeps to choose from
FRAMING = (
    b"\x83\x00",  # an opcode that there is none of
    b"\xf1\x02{}",  # reserved bits
    b"\x81\x82\x00\x00\x00\x00{}",  # masked, by a server
    b"\x89\x7e\x00\xff" + 255 * b"p",  # a ping longer than pings may be
    b"\x81\xff" + b"\xff" * 8,  # a length that no frame has
    b"\x80\x02{}",  # a continuation of nothing
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
)
NOT_JSON = (b"", b"{", b"null", b"\x00\xff\xfe", b"[1,2", b"NaN", b'{"jsonrpc":', b"[" * 5000)
NOT_DERIBIT = (
    b"[]",
    b"{}",
    b'"subscription"',
    b'{"jsonrpc":"2.0","method":"subscription"}',
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-1JAN30-1-C.100ms","data":null}}',
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.X.100ms","data":{"timestamp":-1}}}',
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":7,"data":{}}}',
    b'{"jsonrpc":"2.0","method":"heartbeat","params":7}',
    b'{"jsonrpc":"2.0","id":1e400,"result":["ticker"]}',
    b'{"jsonrpc":"2.0","id":999999,"result":[]}',
    b'{"jsonrpc":"2.0","id":-1,"error":{"code":"none"}}',
    b'{"arg":{"channel":"opt-summary","instFamily":"BTC-USD"},"data":[{"delta":"0.5"}]}',
)


def channel_of(frame: Frame) -> str:
    """The channel of a notification; empty for an answer, a heartbeat or a control frame."""
    found = CHANNEL.search(frame.payload[:200]) if frame.opcode == TEXT else None
    return found[1].decode(errors="replace") if found else ""


def unharmed(frames: Sequence[Frame]) -> list[bytes]:
    """Everything as it came."""
    return [frame.raw for frame in frames]


def mute(*prefixes: str) -> Mischief:
    """Notifications whose channel begins with one of `prefixes` never arrive; "" silences every channel."""
    return lambda frames: [f.raw for f in frames if not (channel := channel_of(f)) or not channel.startswith(prefixes)]


def duplicate(random: Random, share: float = 0.3) -> Mischief:
    """That share of the frames arrives twice, as often now as a few frames later."""
    late: deque[bytes] = deque()

    def twice(frames: Sequence[Frame]) -> list[bytes]:
        out = []
        for frame in frames:
            out.append(frame.raw)
            if channel_of(frame) and random.random() < share:
                (late if random.random() < 0.5 else out).append(frame.raw)
            if len(late) > HELD_BACK:
                out.append(late.popleft())
        return out

    return twice


def reorder(random: Random) -> Mischief:
    """Notifications overtake those of other channels; within a channel they stay in order."""
    waiting: dict[str, deque[bytes]] = {}
    held = [0]

    def shuffled(frames: Sequence[Frame]) -> list[bytes]:
        out = []
        for frame in frames:
            channel = channel_of(frame)
            if not channel:
                out.append(frame.raw)
                continue
            waiting.setdefault(channel, deque()).append(frame.raw)
            held[0] += 1
            if held[0] > HELD_BACK:
                chosen = random.choice(list(waiting))
                out.append(waiting[chosen].popleft())
                held[0] -= 1
                if not waiting[chosen]:
                    del waiting[chosen]
        return out

    return shuffled


def garbage(random: Random, words: Sequence[bytes], share: float = 0.02) -> Mischief:
    """Between frames, at that share of them, a text frame of one of `words`."""

    def soiled(frames: Sequence[Frame]) -> list[bytes]:
        out = []
        for frame in frames:
            out.append(frame.raw)
            if random.random() < share:
                out.append(text(random.choice(words)))
        return out

    return soiled


def flood(times: int) -> Mischief:
    """Every notification `times` over."""
    return lambda frames: [raw for f in frames for raw in [f.raw] * (times if channel_of(f) else 1)]
