"""What systemd is told: datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)). Elsewhere nothing is said."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Self

import structlog

MARGIN = 2  # pings in the time that systemd waits for one
STATUS_S = 1.0
log = structlog.get_logger()


class Systemd:
    """The service manager that started this process, if `environ` says that one did; for a ``with`` block."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if address and ours and usec.isdecimal() else 0.0
        self._status = ""
        self._deaf = False

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def served(self) -> None:
        """The stream is served. Whether it has anything to say is another question: `follow` answers it."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", "STATUS=stopping")

    async def ping(self) -> None:
        """Say for ever that the event loop turns; a loop that is stuck falls silent, and systemd ends the process."""
        while self.watchdog_s:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / MARGIN)

    async def follow(self, status: Callable[[], str]) -> None:
        """Pass on for ever what `status` says, a line, as it changes."""
        while self._socket:
            now = status()
            if now != self._status and self._tell(f"STATUS={now}"):
                self._status = now
            await asyncio.sleep(STATUS_S)

    def _tell(self, *lines: str) -> bool:
        """Send without waiting; True if it was taken."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
            self._deaf = False
        except OSError as error:
            if not self._deaf:
                log.warning("systemd.unreachable", reason=str(error))
            self._deaf = True
        return not self._deaf
