"""Websocket frames as bytes (RFC 6455 section 5.2), without any library that would refuse the wrong ones."""

from typing import NamedTuple

TEXT, FINAL = 0x1, 0x80


class Frame(NamedTuple):
    """One whole frame: its bytes as they stood on the wire, its opcode, and its payload unmasked."""

    raw: bytes
    opcode: int
    payload: bytes


class Splitter:
    """Bytes of one direction in, whole frames out; what is left of a frame waits for the rest of it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` makes whole."""
        data, at, found = self._rest + data, 0, []
        while (end := _end(data, at)) is not None:
            found.append(_frame(data[at:end]))
            at = end
        self._rest = data[at:]
        return found


def text(payload: bytes) -> bytes:
    """A final text frame as a server sends it: without a mask."""
    length = len(payload)
    if length < 126:
        return bytes([FINAL | TEXT, length]) + payload
    if length < 1 << 16:
        return bytes([FINAL | TEXT, 126]) + length.to_bytes(2) + payload
    return bytes([FINAL | TEXT, 127]) + length.to_bytes(8) + payload


def _head(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `at` begins (after any mask), and its length; None before that is known."""
    if len(data) - at < 2:
        return None
    length, begin = data[at + 1] & 0x7F, at + 2
    if length >= 126:
        wide = 2 if length == 126 else 8
        if len(data) < begin + wide:
            return None
        length, begin = int.from_bytes(data[begin : begin + wide]), begin + wide
    return begin + (4 if data[at + 1] & 0x80 else 0), length


def _end(data: bytes, at: int) -> int | None:
    head = _head(data, at)
    return None if head is None or len(data) < sum(head) else sum(head)


def _frame(raw: bytes) -> Frame:
    begin, length = _head(raw, 0) or (0, 0)
    payload = raw[begin:]
    if raw[1] & 0x80 and length:
        mask = (raw[begin - 4 : begin] * (length // 4 + 1))[:length]
        payload = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(length)
    return Frame(raw, raw[0] & 0x0F, payload)
