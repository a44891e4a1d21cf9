"""A daemon that is killed and started anew, in a process of its own."""

import asyncio
import json
import os
import signal
import socket
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from command_line import COMMAND, PATIENCE_S, ROOT, environment


class Started(NamedTuple):
    """How long a start took until it was ready, and how long it had a core meanwhile."""

    seconds: float
    cpu_s: float


class Victim:
    """A daemon at a fixed port that is killed and started anew, and its log, an event a line; gone with the block."""

    def __init__(self, folder: Path, port: int, url: str, **environ: str) -> None:
        self.path = folder / "kvd.checkpoint"
        self.port = port
        self._environ = environment(
            KVD_PUBLISH_PORT=str(port), KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC", KVD_LOG_FORMAT="json",
            KVD_CHECKPOINT_PATH=str(self.path), **environ,
        )  # fmt: skip
        self.process: Process | None = None
        self.events: list[dict[str, Any]] = []

    def environ(self, folder: Path) -> dict[str, str]:
        """What is kvd's of its environment, with the checkpoint in `folder`."""
        own = {name: value for name, value in self._environ.items() if name.startswith("KVD_")}
        return own | {"KVD_CHECKPOINT_PATH": str(folder / self.path.name)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> Started:
        """Start it, and wait until it is ready."""
        began_s = time.monotonic()
        self.events = []
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND, "run", cwd=ROOT, env=self._environ, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        self._reading = asyncio.create_task(self._read())
        async with asyncio.timeout(PATIENCE_S):
            while await status(self.port) != 200:  # noqa: ASYNC110 it has no event to wait for
                await asyncio.sleep(0.02)
        return Started(time.monotonic() - began_s, _cpu_s(self.process.pid))

    async def kill(self) -> None:
        """With SIGKILL."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
            await self._reading

    def said(self, event: str) -> list[dict[str, Any]]:
        """What was logged under that name since the start."""
        return [one for one in self.events if one.get("event") == event]

    async def _read(self) -> None:
        async for line in self.process.stderr:
            with suppress(json.JSONDecodeError):
                self.events.append(json.loads(line))


async def status(port: int, path: str = "/readyz") -> int:
    """The status of a page, 0 if nobody answers."""
    page = await get(port, path)
    return int(page.split(b" ", 2)[1]) if page else 0


async def get(port: int, path: str) -> bytes:
    """A page with its head; nothing if nobody answers."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                return await reader.read()
            finally:
                writer.close()
    return b""


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
