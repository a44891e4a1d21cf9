"""What one subscriber holds of ours, measured, and taken from it."""

import asyncio
import struct
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET

from kvd.sinks.outbox import Outbox

SO_MEMINFO = 55  # Linux: what a socket has allocated, in nine counters
_AT_ONCE = struct.pack("ii", 1, 0)  # of SO_LINGER: closing waits for nothing
_COUNTERS = struct.Struct("9I")
_RECEIVED, _QUEUED = 0, 5  # bytes that wait to be read, and bytes that wait to be sent or confirmed


def held_bytes(outbox: Outbox, transport: asyncio.WriteTransport) -> int:
    """Bytes in the outbox, in the transport, and in the kernel's buffers of the socket, its own book-keeping included.

    Where the kernel does not say (it is not Linux, or the socket is closed) its part is left out.
    """
    return outbox.waiting_bytes + transport.get_write_buffer_size() + _in_kernel(transport)


def reset(transport: asyncio.WriteTransport) -> None:
    """Cut a connection, and what waits in the kernel with it: otherwise that stays for as long as nobody reads it."""
    plain = transport.get_extra_info("socket")
    if plain is not None and not transport.is_closing():
        with suppress(OSError):
            plain.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
    transport.abort()


def _in_kernel(transport: asyncio.WriteTransport) -> int:
    if transport.is_closing():
        return 0
    try:
        said = transport.get_extra_info("socket").getsockopt(SOL_SOCKET, SO_MEMINFO, _COUNTERS.size)
        counters = _COUNTERS.unpack(said)
    except (OSError, struct.error):
        return 0
    return int(counters[_RECEIVED] + counters[_QUEUED])
