"""kvd: a streaming calibration daemon for option volatility surfaces.

What a subscriber uses stands here, imported when it is first asked for: `connect`, `connect_sync`, `Smile`, `Surface`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvd import client
    from kvd.client import connect, connect_sync
    from kvd.surface import Smile, Surface

__version__ = "0.1.0"
__all__ = ["Smile", "Surface", "__version__", "client", "connect", "connect_sync"]

_ROOMS = {"connect": "kvd.client", "connect_sync": "kvd.client", "Smile": "kvd.surface", "Surface": "kvd.surface"}


def __getattr__(name: str) -> Any:
    if name == "client":
        return import_module("kvd.client")
    if name not in _ROOMS:
        raise AttributeError(f"module 'kvd' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
