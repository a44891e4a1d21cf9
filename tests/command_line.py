"""kvd as a user runs it: `python -m kvd` in processes of its own."""

import asyncio
import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "kvd")
PATIENCE_S = 30.0
NOBODY = "ws://127.0.0.1:1/ws/api/v2"  # an address at which nothing listens


def environment(**changes: str) -> dict[str, str]:
    """What a process inherits: nothing of kvd's but `changes`, and a port that the system chooses."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KVD_")}
    return inherited | {"COLUMNS": "150", "KVD_PUBLISH_PORT": "0"} | changes


def run(*arguments: object, within_s: float = 2 * PATIENCE_S, **environ: str) -> subprocess.CompletedProcess[str]:
    """kvd to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, env=environment(**environ), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=within_s, check=False,
    )  # fmt: skip


@asynccontextmanager
async def running(*arguments: object, **environ: str) -> AsyncIterator[Process]:
    """kvd while the block lasts; killed at its end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *map(str, arguments), cwd=ROOT, env=environment(**environ), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(stream: asyncio.StreamReader, text: str) -> str:
    """The next line that holds `text`; whatever came before it is passed over."""
    passed = []
    async with asyncio.timeout(PATIENCE_S):
        while line := (await stream.readline()).decode():
            if text in line:
                return line.strip()
            passed.append(line)
    raise AssertionError(f"it ended without saying {text!r}:\n{''.join(passed)}")


async def ended(process: Process, within_s: float = 5.0) -> int:
    """The exit code."""
    async with asyncio.timeout(within_s):
        return await process.wait()


async def until(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait for what another process does to the world."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 it has no event to wait for
            await asyncio.sleep(0.02)


@asynccontextmanager
async def exchange(*arguments: object) -> AsyncIterator[str]:
    """`kvd simulate` at a free port; its address."""
    async with running("simulate", "--port", "0", *arguments) as process:
        yield await line_with(process.stdout, "ws://")


async def stream_of(process: Process) -> str:
    """Where a daemon that is starting says that it serves its stream."""
    return re.search(r"ws://127\.0\.0\.1:\d+/v1/stream", await line_with(process.stderr, "/v1/stream"))[0]
