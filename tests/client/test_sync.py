"""The synchronous twin, as a script or a notebook uses it: in a thread and in a process without asyncio."""

import asyncio
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from served import publisher, soon, url
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

import kvd
from kvd.client import ClientError, RequestRefused, Unreachable

SCRIPT = """
import sys
import kvd

with kvd.connect_sync(sys.argv[1]) as stream:
    for surface in stream.surfaces("BTC"):
        print(len(surface.smiles), flush=True)
"""


def test_the_same_without_asyncio():
    async def run():
        async with publisher() as server:
            server.publish(update(smile(), smile(CHRISTMAS + DAY)))
            threads = threading.active_count()

            def script():
                with kvd.connect_sync(url(server.port)) as stream:
                    for surface in stream.surfaces("BTC"):
                        assert len(surface.smiles) == 2
                        break
                    assert next(stream.smiles("BTC", "2026-12-26")).expiry_us == CHRISTMAS + DAY
                    assert next(stream.atm()).underlying == "BTC"
                    assert next(stream.messages("surface.*.*"))["type"] == "snapshot"
                    assert len(stream.surface("BTC").smiles) == 2
                    with pytest.raises(RequestRefused, match="there is no surface of 'DOGE'"):
                        stream.surface("DOGE")
                    with pytest.raises(RequestRefused):
                        stream.lock("BTC", "2026-12-25", "vol", 0.6, 0.01, timedelta(hours=1), strike=60_000.0)
                    with pytest.raises(RequestRefused):
                        stream.unlock("none")
                    assert stream.statistics().connections == 1
                    left = stream.surfaces()
                    next(left)
                assert next(left, "ended") == "ended"
                stream.close()
                with pytest.raises(ClientError, match="the stream is closed"):
                    stream.surface("BTC")

            await asyncio.to_thread(script)
            await soon(lambda: server.statistics().clients == 0)
            assert threading.active_count() <= threads + 1  # that of to_thread

    asyncio.run(run())


def test_it_is_open_from_the_start_and_needs_no_block():
    async def run():
        async with publisher() as server:
            server.publish(update(smile()))

            def cells():
                stream = kvd.connect_sync(url(server.port))
                surfaces = stream.surfaces("BTC")
                assert len(next(surfaces).smiles) == 1
                asyncio.run_coroutine_threadsafe(said(), loop).result()
                assert next(surfaces).publish_us == NOON + SECOND
                stream.close()

            async def said():
                server.publish(update(smile(publish_us=NOON + SECOND)))

            loop = asyncio.get_running_loop()
            await asyncio.to_thread(cells)

    asyncio.run(run())
    with pytest.raises(Unreachable):
        kvd.connect_sync(url(1))


def test_ctrl_c_interrupts_it_while_it_waits():
    async def run():
        async with publisher() as server:
            server.publish(update(smile()))
            script = await asyncio.create_subprocess_exec(
                sys.executable, "-c", SCRIPT, url(server.port), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert await script.stdout.readline() == b"1\n"
            script.send_signal(signal.SIGINT)
            _, said = await script.communicate()
            assert said.decode().splitlines()[-1] == "KeyboardInterrupt"
            assert script.returncode == -signal.SIGINT
            await soon(lambda: server.statistics().clients == 0)

    asyncio.run(run())
