"""The synthetic exchange as a process of its own."""

import asyncio
import os
import sys
from collections.abc import Callable

from kvd.app.signals import stop_on_signals
from kvd.config import ConfigError
from kvd.feeds.simulate.listing import FAMILIES
from kvd.feeds.simulate.server import Exchange


async def serve(
    port: int,
    seed: int,
    rate: float,
    instruments: int,
    families: tuple[str, ...],
    until_eof: bool,
    say: Callable[[str], object],
) -> None:
    """Serve until a signal comes or, if `until_eof`, standard input ends; `say` is told the address once it listens.

    Raises ConfigError.
    """
    by_name = {family.name: family for family in FAMILIES}
    unknown = [name for name in families if name not in by_name]
    if unknown:
        raise ConfigError(f"there is no family {unknown[0]!r}; --families takes some of: {', '.join(by_name)}")
    chosen = [by_name[name] for name in families]
    with stop_on_signals() as stop:
        if until_eof:
            _stop_at_eof(stop)
        async with Exchange(seed, chosen, rate=rate, instruments=instruments, port=port) as exchange:
            say(exchange.url)
            await stop.wait()


def _stop_at_eof(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), read)
