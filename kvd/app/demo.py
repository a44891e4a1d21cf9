"""The synthetic exchange in a process of its own, and the daemon that follows it: the whole main job on one machine."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from kvd.app.daemon import run
from kvd.config import Settings
from kvd.surface import SurfaceUpdate

STARTS_WITHIN_S = 15.0
ENDS_WITHIN_S = 3.0


class DemoError(Exception):
    """The synthetic exchange did not start."""


async def demo(
    settings: Settings, seed: int, seconds: float | None, updated: Callable[[SurfaceUpdate], object]
) -> None:
    """Run the daemon against the synthetic exchange of `seed` until a signal, or for `seconds`."""
    async with synthetic_exchange("--seed", str(seed)) as url:
        deribit = msgspec.structs.replace(settings.deribit, url=url, currencies=("BTC",))
        await run(msgspec.structs.replace(settings, venues=("deribit",), deribit=deribit), None, seconds, updated)


@asynccontextmanager
async def synthetic_exchange(*arguments: str) -> AsyncIterator[str]:
    """``kvd simulate`` with `arguments` as a child process; yields the address it listens on."""
    command = (sys.executable, "-m", "kvd", "simulate", "--port", "0", *arguments)
    # a session of its own: Ctrl-C on the terminal reaches the daemon, which then ends the exchange
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout is not None
        async with asyncio.timeout(STARTS_WITHIN_S):
            url = (await child.stdout.readline()).decode().strip()
        if not url:
            raise DemoError(f"the synthetic exchange ended with code {await child.wait()}; its message stands above")
        yield url
    finally:
        if child.returncode is None:
            child.terminate()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await child.wait()
        except TimeoutError:
            child.kill()
