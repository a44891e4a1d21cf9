"""A connection opened, with all that waits on it bounded; and what it means to lose one."""

from socket import SO_RCVBUF, SOL_SOCKET, socket

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from kvd.config import Feed

MAX_FRAME_BYTES = 16 * 1024 * 1024  # a listing of every linear option is a few MB
MAX_WAITING_FRAMES = 256
RECEIVE_BUFFER_BYTES = 1 << 19  # left alone, Linux lets it grow to 6 MB or more, all of it ever older data
CLOSE_TIMEOUT_S = 1.0


class Lost(Exception):
    """This connection, or this attempt at one, is over; the message says why. Wait ``retry_after_s`` at least."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


async def open_socket(url: str, settings: Feed) -> ClientConnection:
    """Connect to `url`. Raises Lost."""
    try:
        opened = await connect(
            url,
            compression=None,
            close_timeout=CLOSE_TIMEOUT_S,
            open_timeout=max(1.0, settings.stale_after_s),
            max_size=MAX_FRAME_BYTES,
            max_queue=MAX_WAITING_FRAMES,
        )
    except InvalidStatus as error:
        status, after = error.response.status_code, error.response.headers.get("Retry-After", "")
        unsaid_s = settings.reconnect_cap_s if after or status in (418, 429) else 0.0
        raise Lost(f"HTTP {status}", float(after) if after.isdecimal() else unsaid_s) from None
    except (OSError, WebSocketException) as error:
        raise Lost(f"cannot connect: {error}"[:200]) from None
    bound(opened.transport.get_extra_info("socket"))
    return opened


def bound(connected: socket) -> None:
    """Bound what the operating system keeps for us; from then on it does not grow by itself."""
    connected.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES)
