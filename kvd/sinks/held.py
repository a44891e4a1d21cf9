"""What one subscriber holds of ours, measured."""

import asyncio
import struct
from socket import SOL_SOCKET

from kvd.sinks.outbox import Outbox

SO_MEMINFO = 55  # Linux: what a socket has allocated, in nine counters
_COUNTERS = struct.Struct("9I")
_RECEIVED, _QUEUED = 0, 5  # bytes that wait to be read, and bytes that wait to be sent or confirmed


def held_bytes(outbox: Outbox, transport: asyncio.WriteTransport) -> int:
    """Bytes in the outbox, in the transport, and in the kernel's buffers of the socket, its own book-keeping included.

    Where the kernel does not say (it is not Linux, or the socket is closed) its part is left out.
    """
    return outbox.waiting_bytes + transport.get_write_buffer_size() + _in_kernel(transport)


def _in_kernel(transport: asyncio.WriteTransport) -> int:
    connected = transport.get_extra_info("socket")
    try:
        counters = _COUNTERS.unpack(connected.getsockopt(SOL_SOCKET, SO_MEMINFO, _COUNTERS.size))
    except (AttributeError, OSError, struct.error):
        return 0
    return int(counters[_RECEIVED] + counters[_QUEUED])
