"""Where a kvd is, and what it takes to be let in."""

import re
from ssl import SSLContext, create_default_context
from typing import NamedTuple
from urllib.parse import urlsplit

from kvd.client.errors import ClientError

STREAM = "/v1/stream"
DEFAULT_URL = f"ws://127.0.0.1:8765{STREAM}"
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Address(NamedTuple):
    """One kvd: the host and port of its one port, the path before its pages, and how to speak to it."""

    secure: bool
    host: str
    port: int
    prefix: str
    token: str | None
    ssl: SSLContext | None

    @property
    def stream(self) -> str:
        """The address of the stream."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}{self.prefix}{STREAM}"

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def address(url: str, token: str | None = None, ssl: SSLContext | None = None) -> Address:
    """The address that `url` names: ws:// or wss://, a host, perhaps a port and the path of the stream.

    Raises ClientError if it names none, or if `token` cannot be one.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ClientError(_mend(url)) from None
    prefix = parts.path.rstrip("/").removesuffix(STREAM)
    plain = not (parts.query or parts.fragment or parts.username or prefix == parts.path.rstrip("/") != "")
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0 or not plain:
        raise ClientError(_mend(url))
    secure = parts.scheme == "wss"
    if ssl is not None and not secure:
        raise ClientError(f"TLS was asked for, and {url[:200]!r} begins with ws://: write wss://, or leave ssl out")
    if token is not None and not _TOKEN.fullmatch(token):
        raise ClientError("the token has characters that no token has: give it without spaces and line ends")
    trusted = ssl or create_default_context() if secure else None
    return Address(secure, parts.hostname, port or (443 if secure else 80), prefix, token, trusted)


def _mend(url: str) -> str:
    return f"{url[:200]!r} is not the address of a stream: write it as ws://host:port{STREAM}, or wss:// with TLS"
