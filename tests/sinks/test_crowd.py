import asyncio
from collections import Counter

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from kvd.sinks.crowd import Crowd


async def echo(connection):
    async for frame in connection:
        await connection.send(frame)


def serving(crowd):
    return serve(echo, "127.0.0.1", 0, create_connection=crowd.admit, close_timeout=1.0, open_timeout=5.0)


async def enter(port):
    """A socket that says nothing, or None if it is turned away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(0.3):
            await reader.read(1)
    except TimeoutError:
        return writer
    except ConnectionResetError:
        pass
    writer.close()
    return None


async def is_served(port):
    try:
        async with connect(f"ws://127.0.0.1:{port}") as client:
            await client.send("still here")
            return await client.recv() == "still here"
    except (WebSocketException, OSError):
        return False


def test_silent_sockets_are_let_in_up_to_the_limit_and_their_places_are_free_again():
    async def run():
        errors = Counter()
        async with asyncio.timeout(30), serving(Crowd(3, errors)) as server:
            port = server.sockets[0].getsockname()[1]
            came = [await enter(port) for _ in range(5)]
            assert [writer is not None for writer in came] == [True, True, True, False, False]
            assert errors == {"crowded": 2}
            assert not await is_served(port)
            came[0].close()
            while not await is_served(port):  # noqa: ASYNC110 it has no event to wait for
                await asyncio.sleep(0.01)
            for writer in came[1:3]:
                writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("most", [1, 4])
def test_aborting_ends_everyone(most):
    async def run():
        crowd = Crowd(most, Counter())
        async with asyncio.timeout(30), serving(crowd) as server:
            port = server.sockets[0].getsockname()[1]
            clients = [await connect(f"ws://127.0.0.1:{port}") for _ in range(most)]
            crowd.abort()
            for client in clients:
                with pytest.raises(ConnectionClosed):
                    await client.recv()

    asyncio.run(run())
