"""The readers in docs/protocol.md that a stranger would begin with, as they stand there, under Node.js."""

import asyncio
import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from served import publisher, way
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
SHORT, READER = re.findall(r"```javascript\n(.*?)```", DOCUMENT, re.S)
ADDRESS = "ws://127.0.0.1:8765/v1/stream"


def batch(second, *expiries, withdrawn=()):
    """What one batch changes: its smiles give its number as their ATM vol."""
    plain = smile()
    vol = plain.parameters._replace(atm_vol=float(second))
    made = update(*(smile(e, publish_us=NOON + second * SECOND, parameters=vol) for e in expiries), withdrawn=withdrawn)
    return made._replace(publish_us=NOON + second * SECOND)


@asynccontextmanager
async def reader(address, script=READER):
    """The script as a process of its own."""
    assert script.count(ADDRESS) == 1
    # of version 20 and 21 WebSocket must be asked for; later ones have it anyway
    command = ["node", "--experimental-websocket", "--input-type=module", "--eval", script.replace(ADDRESS, address)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process):
    """The next line: kind, number, and the smiles that are held then, as day of the month and ATM vol."""
    async with asyncio.timeout(15):
        kind, seq, smiles = (await process.stdout.readline()).decode().split(maxsplit=2)
    return kind, int(seq), {int(expiry[8:10]): vol for expiry, vol in json.loads(smiles)}


@pytest.fixture(autouse=True, scope="module")
def node():
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the reader of docs/protocol.md cannot be run")


@pytest.mark.node
def test_ten_lines_print_every_smile():
    async def run():
        async with publisher() as server:
            server.publish(batch(0, CHRISTMAS, CHRISTMAS + DAY))
            async with reader(f"ws://127.0.0.1:{server.port}/v1/stream", SHORT) as process, asyncio.timeout(15):
                lines = [(await process.stdout.readline()).decode().split() for _ in range(2)]
                server.publish(batch(1, CHRISTMAS, withdrawn=(CHRISTMAS + DAY,)))
                lines += [(await process.stdout.readline()).decode().split() for _ in range(2)]
        return lines

    lines = asyncio.run(run())
    assert [(seq, expiry[8:10], state, vol) for seq, expiry, state, vol, _ in lines] == [
        ("2", "25", "live", "0"),
        ("2", "26", "live", "0"),
        ("3", "25", "live", "1"),
        ("4", "26", "withdrawn", "undefined"),
    ]


@pytest.mark.node
def test_it_holds_the_surface_and_comes_back_where_it_left():
    async def run():
        async with way() as (made, address), publisher("e1", within_s=60.0) as first:
            made.to = first.port
            first.publish(batch(0, CHRISTMAS, CHRISTMAS + DAY))
            async with reader(address) as process:
                assert await heard(process) == ("snapshot", 2, {25: 0, 26: 0})
                first.publish(batch(1, CHRISTMAS))
                assert await heard(process) == ("update", 3, {25: 1, 26: 0})
                made.cut()
                first.publish(batch(2, CHRISTMAS, withdrawn=(CHRISTMAS + DAY,)))
                assert await heard(process) == ("update", 4, {25: 2, 26: 0})
                assert await heard(process) == ("update", 5, {25: 2})
                async with publisher("e2", within_s=60.0) as second:
                    second.publish(batch(7, CHRISTMAS + DAY))
                    made.to = second.port
                    await first.close()
                    assert (await heard(process))[::2] == ("gap", {})
                    assert await heard(process) == ("snapshot", 1, {26: 7})
                    made.cut()
                    assert (await heard_after_silence(process, second)) == ("update", 2, {25: 8, 26: 7})

    async def heard_after_silence(process, server):
        server.publish(batch(8, CHRISTMAS))
        return await heard(process)

    asyncio.run(run())


@pytest.mark.node
def test_it_ends_with_what_kvd_says_is_wrong():
    async def run():
        async with publisher(max_subscriptions=1) as server:
            address = f"ws://127.0.0.1:{server.port}/v1/stream"
            bad = READER.replace(ADDRESS, address).replace("topics: [topic]", "topics: ['surface.deribit']")
            command = ["node", "--experimental-websocket", "--input-type=module", "--eval", bad]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=15)
            assert done.returncode != 0 and "has 2 parts: use surface.{venue}.{underlying}" in done.stderr

    asyncio.run(run())
