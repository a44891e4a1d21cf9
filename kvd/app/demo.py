"""The synthetic exchange in a process of its own, and the daemon that follows it: the whole main job on one machine."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from kvd.app.daemon import Daemon, run_until
from kvd.app.signals import stop_on_signals
from kvd.config import Checkpoint, Settings
from kvd.surface import SurfaceUpdate

STARTS_WITHIN_S = 15.0
ENDS_WITHIN_S = 3.0


class DemoError(Exception):
    """The synthetic exchange did not start."""


async def demo(
    settings: Settings,
    seed: int,
    seconds: float | None,
    started: Callable[[str], object],
    updated: Callable[[SurfaceUpdate], object],
) -> None:
    """Run the daemon against the synthetic exchange of `seed` until a signal, or for `seconds`.

    `started` is told the address of the stream, `updated` every update. Raises ConfigError and DemoError.
    """
    with stop_on_signals() as stop:
        async with synthetic_exchange("--seed", str(seed)) as url:
            deribit = msgspec.structs.replace(settings.deribit, url=url, currencies=("BTC",))
            nothing = Checkpoint()  # nobody goes on from a market that has ended
            settings = msgspec.structs.replace(settings, venues=("deribit",), deribit=deribit, checkpoint=nothing)
            await run_until(stop, Daemon(settings, started, updated), None, seconds)


@asynccontextmanager
async def synthetic_exchange(*arguments: str) -> AsyncIterator[str]:
    """``kvd simulate`` with `arguments` as a child process; yields the address it listens on. Raises DemoError."""
    command = (sys.executable, "-m", "kvd", "simulate", "--port", "0", "--until-eof", *arguments)
    # A session of its own: Ctrl-C on the terminal reaches the daemon, which then ends the exchange. However the daemon
    # itself ends, the pipe to the exchange ends with it.
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
    try:
        yield await _address(child)
    finally:
        if child.returncode is None:
            child.terminate()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def _address(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            line = await child.stdout.readline()
    except TimeoutError:
        raise DemoError(f"the synthetic exchange has not started within {STARTS_WITHIN_S:g} s; try again") from None
    if not line:
        raise DemoError(f"the synthetic exchange ended with code {await child.wait()}; its message stands above")
    return line.decode().strip()
