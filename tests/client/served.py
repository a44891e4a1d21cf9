"""A real publisher on a real socket, and a way to it that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from smiles import NOON

from kvd.config import Publish
from kvd.sinks.publish import Publisher
from kvd.wire import Encoder


@asynccontextmanager
async def publisher(
    epoch: str = "e1", port: int = 0, encoder: Encoder | None = None, **settings
) -> AsyncIterator[Publisher]:
    """Serves while the block lasts, for twenty seconds at most."""
    made = Publisher(Publish(port=port, **settings), encoder or Encoder(epoch), dict, bytes, lambda: NOON)
    async with asyncio.timeout(20), made:
        yield made


def url(server: Publisher) -> str:
    """Where its stream is."""
    return f"ws://127.0.0.1:{server.port}/v1/stream"


async def soon(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 the other side has no event to wait for
            await asyncio.sleep(0.001)
