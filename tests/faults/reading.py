"""Subscribers as a trial sees them: what it may tell their process (`readers`), and what they have seen."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

READERS = Path(__file__).with_name("readers.py")
ROOT = READERS.parents[2]
Habit = Literal["steady", "visits", "stalls", "sips", "asks"]


class Join(msgspec.Struct, tag=True):
    """Let `count` subscribers of `topics` come. All of them read all they can, but those who ask: these never read, and
    send `asking` for as long as they can.
    """

    port: int
    habit: Habit
    count: int
    topics: list[str]
    asking: dict[str, Any] = {}


class Stop(msgspec.Struct, tag=True):
    """Let those who stall stop reading, and those who sip read little from now on, each at an instant of its own within
    `within_s`.
    """

    within_s: float
    seed: int


class Leave(msgspec.Struct, tag=True):
    """Let all who visit go, without a word."""


class Look(msgspec.Struct, tag=True):
    """Say what happened, and what was measured since the last look."""


class Seen(msgspec.Struct):
    """What happened so far: messages, holes in the numbers of which nothing was said, gaps that were, by habit.

    `cut_after_s` are the times from a reader's stopping to its end; `lost` counts those who ended without having
    stopped. `delays_s`, of the steady since the last look, run from publishing to receipt, sorted.
    """

    messages: dict[str, int] = {}
    holes: dict[str, int] = {}
    gaps: dict[str, int] = {}
    ended: dict[str, int] = {}
    cut_after_s: list[float] = []
    lost: int = 0
    delays_s: list[float] = []


class Process:
    """Readers in another process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def join(self, port: int, habit: Habit, count: int, *topics: str, **asking: object) -> None:
        """See `Join`."""
        await self._told(Join(port, habit, count, list(topics), asking))

    async def stop(self, within_s: float, seed: int) -> None:
        """See `Stop`."""
        await self._told(Stop(within_s, seed))

    async def leave(self) -> None:
        """See `Leave`."""
        await self._told(Leave())

    async def look(self) -> Seen:
        """See `Seen`."""
        return msgspec.json.decode(await self._told(Look()), type=Seen)

    async def _told(self, order: Join | Stop | Leave | Look) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        answer = await self._process.stdout.readline()
        assert answer, "the readers have ended"
        return answer


@asynccontextmanager
async def reading() -> AsyncIterator[Process]:
    """Readers while the block lasts."""
    command = (sys.executable, READERS)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdin=PIPE, stdout=PIPE, limit=2**26)
    assert process.stdin is not None
    try:
        yield Process(process)
    finally:
        process.stdin.close()
        await process.wait()
