"""What a subscriber imports: a stream of surfaces that comes back by itself, with asyncio and without.

    async with kvd.connect("ws://127.0.0.1:8765") as stream:
        async for surface in stream.surfaces("BTC"):
            print([smile.parameters.atm_vol for smile in surface.smiles])

docs/client.md says the rest. Nothing of the calibrator is imported, nor the filter, nor the metrics.
"""

from ssl import SSLContext

from kvd.client.address import DEFAULT_URL, address
from kvd.client.errors import ClientError, Interrupted, Refused, RequestRefused, Unreachable
from kvd.client.link import Timing
from kvd.client.pages import surface_page
from kvd.client.stream import Held, Statistics, Stream
from kvd.client.sync import SyncStream
from kvd.wire import Atm

__all__ = [
    "DEFAULT_URL", "Atm", "ClientError", "Held", "Interrupted", "Refused", "RequestRefused", "Statistics", "Stream",
    "SyncStream", "Timing", "Unreachable", "address", "connect", "connect_sync", "surface_page",
]  # fmt: skip


def connect(
    url: str = DEFAULT_URL,
    *,
    token: str | None = None,
    ssl: SSLContext | None = None,
    patience_s: float = 0.0,
    silent_s: float = 15.0,
) -> Stream:
    """A stream of the kvd at `url`, open inside ``async with``.

    The first connection is tried for `patience_s`, at least once; one that is lost later is made anew for ever. One
    that is silent for `silent_s` is lost: kvd sends heartbeats, every 5 s by default. Entering the block raises
    Unreachable if nobody answers and Refused if kvd will not let the client in. Raises ClientError for a bad address.
    """
    return Stream(address(url, token, ssl), Timing(patience_s, silent_s))


def connect_sync(
    url: str = DEFAULT_URL,
    *,
    token: str | None = None,
    ssl: SSLContext | None = None,
    patience_s: float = 0.0,
    silent_s: float = 15.0,
) -> SyncStream:
    """The same without asyncio: a stream that is open at once, until ``with`` ends or `close` is called."""
    return SyncStream(connect(url, token=token, ssl=ssl, patience_s=patience_s, silent_s=silent_s))
