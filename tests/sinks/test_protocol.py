"""docs/protocol.md and kvd, kept in step: every example there has the fields and types of what kvd sends."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from desk import bench
from smiles import CHRISTMAS, NOON, SECOND, smile, update
from test_outbox import over_a_socket
from websockets.asyncio.client import connect

from kvd.config import Publish
from kvd.quotes import Instrument
from kvd.sinks.answers import Sources
from kvd.sinks.history import History
from kvd.sinks.pages import Call, answer
from kvd.sinks.publish import Publisher
from kvd.wire import Encoder

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", DOCUMENT, re.S)]
REQUESTS = [example for example in EXAMPLES if "op" in example and "type" not in example]
ACTS = [request for request in REQUESTS if request["op"] in ("lock", "unlock")]
QUESTIONS = [request for request in REQUESTS if request not in ACTS]


def shape(value):
    """Names and types, the same for two messages of a kind."""
    if isinstance(value, dict):
        return tuple(sorted((name, shape(part)) for name, part in value.items()))
    if isinstance(value, list):
        return ("list", *{shape(part) for part in value})
    return "number" if isinstance(value, int | float) else type(value).__name__


async def conversation():
    """Every kind of message, from a real publisher over a real socket."""
    settings = Publish(port=0, heartbeat_s=0.1)
    server = Publisher(settings, Encoder("e"), dict, bytes, lambda: NOON)
    async with asyncio.timeout(10), server, connect(f"ws://127.0.0.1:{server.port}/v1/stream") as client:
        server.publish(update(smile()))
        server.status({"venue": "deribit", "state": "connected"})
        back = {**QUESTIONS[-1], "epoch": "e", "from_seq": {"surface.deribit.BTC": 1}}
        asked = [*QUESTIONS, back, {"op": "subscribe", "topics": ["*", "smile.*.*.*", "surface.*.*"]}]
        for request in [*asked, {"op": "subscribe", "topics": ["surface.deribit"]}]:
            await client.send(json.dumps(request))
        heard = [json.loads(await client.recv())]
        while heard[-1]["type"] != "heartbeat":
            heard.append(json.loads(await client.recv()))
        server.publish(update(smile()))
        server.publish(update(withdrawn=(CHRISTMAS,)))
        server.status({"venue": "deribit", "state": "connected"})
        while heard[-1]["type"] != "status":
            heard.append(json.loads(await client.recv()))
        return heard


async def acts(path):
    """What a desk is answered that locks as the document says, and releases what it has locked."""
    settings = Publish(port=0, tokens=("desk:read+lock:0123456789abcdef",))
    bearer = {"Authorization": "Bearer 0123456789abcdef"}
    heard = []
    async with (
        bench(path) as b,
        Publisher(settings, b.encoder, dict, bytes, lambda: NOON, b.hand) as server,
        connect(f"ws://127.0.0.1:{server.port}/v1/stream", additional_headers=bearer) as client,
    ):
        for request in ACTS:
            known = {"id": heard[-1]["id"]} if request["op"] == "unlock" else {}
            await client.send(json.dumps(request | known))
            heard.append(json.loads(await client.recv()))
    return heard


def lossy(encoder, outbox):
    for _ in range(3):
        outbox.put(encoder.encode(update(smile()))[0])
        if encoder.seq("surface.deribit.BTC") == 1:
            outbox.flush()
    outbox.flush()


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    gaps, _ = asyncio.run(over_a_socket(lossy))
    encoder = Encoder("e")
    encoder.encode(update(smile()))
    history = History(1.0)
    for minute in (0, 1):
        one = update(smile(publish_us=NOON + minute * 60 * SECOND))
        history.before(one, encoder)
        encoder.encode(one)
    of = Instrument("BTC-25DEC26-70000-C", "deribit", "BTC", CHRISTMAS, 70_000.0, "call", True, 0.0001)
    sources = Sources(encoder, dict, bytes, lambda _venue, _underlying: [(of, True)], history)
    paths = ("surface/BTC", "surface/X", "surface/BTC?at=2027-01-01", "tenors/BTC", "instruments")
    vol = "vol?underlying=BTC&expiry=2026-12-25&strike=70000"
    bodies = [json.loads(answer(Call("GET", f"/v1/{path}"), sources).body) for path in (*paths, vol)]
    for body in bodies:
        for surface in body.get("surfaces", ()):
            surface.get("smiles", []).clear()
    path = tmp_path_factory.mktemp("acts") / "audit.ndjson"
    return asyncio.run(conversation()) + asyncio.run(acts(path)) + gaps + bodies


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e not in REQUESTS], ids=lambda e: e.get("type", "page"))
def test_every_example_has_the_shape_of_what_is_sent(example, sent):
    assert shape(example) in {shape(message) for message in sent}


def test_every_type_and_every_request_is_shown(sent):
    assert {m["type"] for m in sent if "type" in m} == {e["type"] for e in EXAMPLES if "type" in e}
    assert [request["op"] for request in REQUESTS] == [
        "subscribe",
        "unsubscribe",
        "ping",
        "subscribe",
        "lock",
        "unlock",
    ]
    acks = [message["op"] for message in sent if message.get("type") == "ack"]
    assert acks[:3] + acks[-2:] == ["subscribe", "unsubscribe", "ping", "lock", "unlock"]


def test_every_field_of_a_smile_is_explained(sent):
    fields = {name for message in sent for name in message.get("smile", ())}
    explained = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT))
    assert {name for name in fields if not name.endswith("_sd")} <= explained | {"venue", "underlying", "expiry"}


def test_the_python_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)

    async def run():
        encoder = Encoder("e")
        async with Publisher(Publish(port=0), encoder, dict, bytes, lambda: NOON) as server:
            server.publish(update(smile()))
            command = [sys.executable, "-c", code.replace("8765", str(server.port))]
            example = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            async with asyncio.timeout(20):
                first = await example.stdout.readline()
                server.publish(update(smile(publish_us=NOON + SECOND), withdrawn=(CHRISTMAS + 1,)))
                second, third = [await example.stdout.readline() for _ in range(2)]
                await server.close()
                rest, _ = await example.communicate()
            assert (example.returncode, rest) == (0, b"")
            return [first, second, third]

    lines = [line.decode().split() for line in asyncio.run(run())]
    assert lines[0] == ["1", "2026-12-25T08:00:00.000000Z", "live", "0.5512", "-0.0731"]
    assert lines[1][0::2] == ["2", "live", "-0.0731"]
    assert lines[2][2:] == ["withdrawn", "None", "None"]
