"""What kvd says on the wire, held against its own documents: every message of a real conversation, every page."""

import asyncio
import json
from collections import Counter
from urllib.parse import urlsplit

import msgspec
import pytest
from desk import bench
from documents import name_of, page_validator
from option_chain import NOW, chain
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update
from test_outbox import over_a_socket
from websockets.asyncio.client import connect

from kvd.calibrator import Calibrator
from kvd.config import Publish, Settings
from kvd.latest import Batch
from kvd.sinks.answers import Trouble
from kvd.sinks.publish import Publisher
from kvd.sinks.requests import read
from kvd.surface import Certificate, Locked
from kvd.wire import Encoder, Ring
from kvd.wire.schema import asyncapi, openapi
from kvd.wire.schema.messages import ERRORS, MESSAGES
from kvd.wire.schema.pages import REFUSALS
from kvd.wire.schema.requests import REQUESTS

EVERYTHING = ["status", "surface.*.*", "smile.*.*.*", "atm.*.*"]
HELD = smile(
    CHRISTMAS + DAY,
    state="held",
    reason="not_repairable",
    locked=(
        Locked("L1", "vol", 70_000.0, 0.6, 0.001, "desk", NOON + SECOND, 0.58),
        Locked("", "skew", None, -0.2, 0.01, "limits", None, -0.3),
    ),
)
BARE = smile(
    CHRISTMAS + 2 * DAY,
    quoted_low=None,
    quoted_high=None,
    nis=None,
    inside=None,
    record=None,
    certificate=Certificate(-1.0, 1.0, 101, 0.01, None, "measured"),
)
PAGE = page_validator()


def listening(server, **options):
    """A client whose unread messages hold up no close."""
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream", max_queue=None, **options)


async def until(client, kind, heard):
    """Hear up to a message of a type."""
    async with asyncio.timeout(5):
        while not heard or heard[-1]["type"] != kind:
            heard.append(json.loads(await client.recv()))


async def conversation():
    """Requests with the messages that they evoke, from a real publisher over a real socket."""
    server = Publisher(
        Publish(port=0, heartbeat_s=0.1, max_subscriptions=6), Encoder("e", Ring(60 * SECOND, 2**20)), dict, bytes,
        lambda: NOON,
    )  # fmt: skip
    asked, heard = [], []

    async def ask(client, **request):
        asked.append(request)
        await client.send(json.dumps(request))

    async with asyncio.timeout(20), server, listening(server) as client:
        server.publish(update(smile(), HELD, BARE))
        server.status({"venue": "deribit", "state": "lost", "reason": "no data for 3 s"})
        await ask(client, op="subscribe", topics=EVERYTHING)
        topics = ("surface.deribit.BTC", "atm.deribit.BTC", "smile.deribit.ETH.2026-12-25")
        await ask(
            client, op="subscribe", topics=EVERYTHING, epoch="e", from_seq=dict(zip(topics, (0, 9, 0), strict=True))
        )
        await ask(client, op="subscribe", topics=EVERYTHING, epoch="older", from_seq={"status": 1})
        await ask(client, op="unsubscribe", topics=["status"])
        await ask(client, op="subscribe", topics=["status"])
        await ask(client, op="ping")
        await until(client, "heartbeat", heard)
        server.publish(update(smile()))
        server.publish(update(withdrawn=(CHRISTMAS, CHRISTMAS + 2 * DAY)))
        server.status({"venue": "deribit", "state": "connected"})
        await until(client, "status", heard)
        return asked, heard + await mistakes(server)


async def mistakes(server):
    """One error of every code that the stream has."""
    heard = []
    async with listening(server) as client:
        for frame in (
            b"\x00",
            "{",
            '{"op":"subscribe"}',
            '{"op":"subscribe","topics":["surface.deribit"]}',
            '{"op":"unsubscribe","topics":["status"]}',
            json.dumps({"op": "subscribe", "topics": [f"atm.deribit.X{i}" for i in range(7)]}),
            *['{"op":"ping"}'] * 60,
        ):
            await client.send(frame)
        while not heard or heard[-1].get("code") != "too_many_messages":
            heard.append(json.loads(await client.recv()))
    async with listening(server, subprotocols=["kvd.v1.msgpack"]) as client:
        await client.send(b"\xc1")
        heard.append(msgspec.msgpack.decode(await client.recv()))
    return heard


async def acts(path):
    """Requests with what a trader hears, with an audit log at `path` or, for None, without one."""
    tokens = ("desk:read+lock:0123456789abcdef", "risk:read:fedcba9876543210")
    lock = {"op": "lock", "venue": "deribit", "underlying": "BTC", "expiry": "2026-12-25", "value": 0.55, "sd": 0.002}
    asked, heard = [], []
    async with (
        bench(path) as b,
        Publisher(Publish(port=0, tokens=tokens), b.encoder, dict, bytes, lambda: NOON, b.hand) as server,
    ):

        async def ask(token, **request):
            headers = {"Authorization": f"Bearer {tokens[token].rpartition(':')[2]}"}
            asked.append(request)
            async with asyncio.timeout(5), listening(server, additional_headers=headers) as client:
                await client.send(json.dumps(request))
                heard.append(json.loads(await client.recv()))

        await ask(0, **lock, of="vol", strike=70_000.0, until="2026-07-02T13:00:00Z")
        await ask(0, **lock, of="atm_vol", for_s=60)
        await ask(0, op="unlock", id=heard[0].get("id", "L1"))
        await ask(0, op="unlock", id="nobody's")
        await ask(1, **lock, of="atm_vol", for_s=60)
    return asked, heard


def lossy(encoder, outbox):
    for _ in range(3):
        outbox.put(encoder.encode(update(smile()))[0])
        if encoder.seq("surface.deribit.BTC") == 1:
            outbox.flush()
    outbox.flush()


def too_late(encoder, outbox):
    encoder.encode(update(smile()))
    outbox.put_restart("surface.deribit.BTC", 0, "too_old")
    outbox.flush()


@pytest.fixture(scope="module")
def conversed(tmp_path_factory):
    asked, heard = asyncio.run(conversation())
    for path in (tmp_path_factory.mktemp("audit") / "audit.ndjson", None):
        also_asked, also_heard = asyncio.run(acts(path))
        asked, heard = asked + also_asked, heard + also_heard
    for act in (lossy, too_late):
        heard += asyncio.run(over_a_socket(act))[0]
    return asked, heard


def test_every_message_of_a_conversation_is_in_the_document_and_every_message_of_the_document_in_it(conversed):
    _, heard = conversed
    names = Counter(name_of(message) for message in heard)
    assert set(names) == {kind.__name__ for kind in MESSAGES}
    assert {m["reason"] for m in heard if m["type"] == "gap"} == {"slow", "new_epoch", "too_old", "unknown_seq"}
    assert {m["code"] for m in heard if m["type"] == "error"} == set(ERRORS)


def test_every_request_that_was_made_of_it_is_in_the_document(conversed):
    asked, _ = conversed
    assert {name_of(request) for request in asked} == {kind.__name__ for kind in REQUESTS.values()}


@pytest.mark.parametrize("op", REQUESTS)
def test_the_example_of_every_request_is_read_and_its_fields_are_those_that_are_read(op):
    document = asyncapi()["components"]
    name = REQUESTS[op].__name__
    (example,) = document["messages"][name]["examples"]
    request = read(json.dumps(example["payload"]))
    assert {*request.__struct_fields__, "op"} >= set(document["schemas"][name]["properties"])
    if op in ("lock", "unlock"):
        assert {*request.__struct_fields__, "op"} == set(document["schemas"][name]["properties"])


# The pages


async def fetch(port, target, *headers, method="GET"):
    """Status, content type and body over a socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([f"{method} {target} HTTP/1.1", "Host: kvd", *headers, "", ""]).encode())
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    kind = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:]).get("Content-Type")
    return head.split()[1].decode(), kind, body


ASKED = [
    "/v1/surface/BTC",
    "/v1/surface/BTC?venue=deribit&at=2026-07-02T12:01:30Z",
    "/v1/surface/BTC?at=1999-01-01",
    "/v1/surface/BTC?at=soon",
    "/v1/surface/DOGE",
    "/v1/vol?underlying=BTC&expiry=2026-12-25&strike=60000&strike=1e9",
    "/v1/vol?underlying=BTC&expiry=2026-12-24&strike=60000",
    "/v1/vol?underlying=DOGE&expiry=2026-12-25&strike=60000",
    "/v1/vol",
    "/v1/tenors/BTC",
    "/v1/tenors/DOGE",
    "/v1/tenors/BTC?" + "&" * 200,
    "/v1/instruments",
    "/v1/instruments?after=X",
    "/v1/asyncapi.json",
    "/v1/openapi.json",
    "/metrics",
    "/livez",
    "/readyz?verbose",
    "/v1/stream",
]


@pytest.fixture(scope="module")
def answered():
    """What a publisher answers to every address asked for."""

    async def run():
        calibrator, missing = Calibrator(Settings()), []
        calibrator.step(Batch(NOW, tuple(chain(NOW + 7 * DAY))))
        server = Publisher(
            Publish(port=0), Encoder("e"), lambda: missing, lambda: b"kvd_up 1\n", lambda: NOON,
            followed=calibrator.followed,
        )  # fmt: skip
        async with server:
            server.publish(update(smile(), HELD, BARE))
            server.publish(update(smile(publish_us=NOON + 61 * SECOND)))
            answers = {target: await fetch(server.port, target) for target in ASKED}
            missing.append(Trouble("deribit", "no data", True, NOON))
            return answers | {"/readyz": await fetch(server.port, "/readyz")}

    return asyncio.run(run())


@pytest.mark.parametrize("target", [*ASKED, "/readyz"])
def test_every_answer_of_a_page_is_in_the_document(answered, target):
    status, kind, body = answered[target]
    path = urlsplit(target).path
    for underlying in ("BTC", "DOGE"):
        path = path.replace(f"/{underlying}", "/{underlying}")
    described = openapi()["paths"][path]["get"]["responses"][status]
    if "content" in described:
        (content,) = [content for media, content in described["content"].items() if media == kind]
        PAGE(content["schema"], json.loads(body) if kind == "application/json" else body.decode())


def test_every_status_of_every_page_was_answered_but_those_of_the_door(answered):
    """401, 429 and the stream's 403 and 503 are `kvd.sinks.door`'s, and 101 is the stream."""
    seen = {(urlsplit(target).path.replace("BTC", "DOGE"), answer[0]) for target, answer in answered.items()}
    doors = {("/v1/stream", "403"), ("/v1/stream", "503")}
    said = {
        (path.replace("{underlying}", "DOGE"), status)
        for path, item in openapi()["paths"].items()
        for status in item["get"]["responses"]
        if status not in ("401", "429", "101")
    }
    assert said - doors <= seen


async def refused():
    """What is answered to those whom the door or the pages turn away."""
    strict = {"tokens": ("desk:read:0123456789abcdef",), "max_clients_per_token": 1}
    bearer = "Authorization: Bearer 0123456789abcdef"
    many = "&".join(["strike=1"] * 200)
    async with Publisher(Publish(port=0, max_clients=1), Encoder("e"), dict, bytes, lambda: NOON) as server:
        asked = [("/v2",), (f"/v1/vol?{many}",), ("/v1/stream", "Origin: https://other.example.org")]
        answers = [await fetch(server.port, *one) for one in asked] + [
            await fetch(server.port, "/livez", method="POST")
        ]
        async with listening(server):
            answers.append(await fetch(server.port, "/v1/stream"))
    async with Publisher(Publish(port=0, **strict), Encoder("e"), dict, bytes, lambda: NOON) as server:
        answers.append(await fetch(server.port, "/metrics"))
        async with listening(server, additional_headers={"Authorization": bearer.partition(": ")[2]}):
            answers.append(await fetch(server.port, "/v1/stream", bearer))
    strict["max_messages_per_s_per_token"] = 1.0
    async with Publisher(Publish(port=0, **strict), Encoder("e"), dict, bytes, lambda: NOON) as server:
        return answers + [await fetch(server.port, "/metrics", bearer) for _ in range(2)]


def test_every_refusal_is_in_the_document_and_was_heard(answered):
    answers = [*answered.values(), *asyncio.run(refused())]
    codes = {(json.loads(body)["code"], int(status)) for status, kind, body in answers if b'"error"' in body[:20]}
    assert codes == {(code, status) for code, (status, _) in REFUSALS.items()}


def test_the_documents_are_served_as_they_are_printed(answered):
    assert json.loads(answered["/v1/asyncapi.json"][2]) == asyncapi()
    assert json.loads(answered["/v1/openapi.json"][2]) == openapi()
