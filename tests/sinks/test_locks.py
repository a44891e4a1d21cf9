"""Lock and unlock on the socket: who may, what is answered, and that what is refused is on record and counted."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from desk import bench, said
from smiles import NOON
from test_door import LOCK, OTHER, READ, TOKENS, bearer
from test_publish import ask, fetch, hear, hear_all, stream
from websockets.exceptions import InvalidStatus

from kvd.config import Publish
from kvd.quotes import Unlock
from kvd.sinks.publish import Publisher

WISH = {
    "op": "lock", "venue": "deribit", "underlying": "BTC", "expiry": "2026-12-25", "of": "vol", "strike": 70000,
    "value": 0.55, "sd": 0.002, "for_s": 60,
}  # fmt: skip


@asynccontextmanager
async def serving(path, tokens=TOKENS):
    async with bench(path) as b:
        publish = Publish(port=0, tokens=tokens)
        async with Publisher(publish, b.encoder, dict, bytes, lambda: NOON, b.hand) as server:
            yield b, server


def refusals(path):
    return [(said["author"], said["code"]) for kind, said in said(path) if kind == "refused"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.ndjson"


def test_locks_are_answered_in_order_and_reach_the_calibrator(path):
    async def run():
        async with serving(path) as (b, server), stream(server, **bearer(LOCK)) as client:
            await ask(client, **WISH)
            await ask(client, **WISH | {"of": "skew", "strike": None, "value": -0.1})
            await ask(client, op="ping")
            first, second, ping = await hear_all(client, 3)
            until = "2026-07-02T12:01:00.000000Z"
            assert first == {"type": "ack", "op": "lock", "id": first["id"], "until": until}
            assert second == {"type": "ack", "op": "lock", "id": second["id"], "until": until}
            assert ping["op"] == "ping"
            await ask(client, op="unlock", id=first["id"])
            assert await hear(client) == {"type": "ack", "op": "unlock", "id": first["id"]}
            released, stands = b.events()  # within a batch the newest of an id counts
            assert (stands.id, stands.of, stands.strike, stands.author) == (second["id"], "skew", None, "desk")
            assert released == Unlock(first["id"], "deribit", "BTC", NOON)

    asyncio.run(run())
    assert [kind for kind, _ in said(path)] == ["started", "lock", "lock", "unlock", "published", "stopped"]


@pytest.mark.parametrize("request_", [WISH, {"op": "unlock", "id": "f00d"}])
def test_without_the_scope_it_is_forbidden_recorded_and_counted(path, request_):
    async def run():
        async with serving(path) as (b, server), stream(server, **bearer(READ)) as client:
            await ask(client, **request_)
            error = await hear(client)
            assert (error["type"], error["code"]) == ("error", "forbidden")
            assert "give reader the scope read+lock in KVD_PUBLISH_TOKENS" in error["message"]
            assert b.events() == []
            assert server.statistics().errors == {"forbidden": 1}
            assert server.statistics().tokens["reader"].refused == {"forbidden": 1}
            assert b.hand.statistics().acts == {"refused": 1}

    asyncio.run(run())
    assert refusals(path) == [("reader", "forbidden")]


def test_where_there_are_no_tokens_nobody_may_lock(path):
    async def run():
        async with serving(path, ()) as (_, server), stream(server) as client:
            await ask(client, **WISH)
            error = await hear(client)
            assert error["code"] == "forbidden" and "NAME:read+lock:TOKEN in KVD_PUBLISH_TOKENS" in error["message"]

    asyncio.run(run())
    assert refusals(path) == [("", "forbidden")]


def test_wrong_words_and_what_makes_no_sense_are_recorded_and_counted(path):
    async def run():
        async with serving(path) as (b, server), stream(server, **bearer(LOCK)) as client:
            for request in (WISH | {"of": "smile"}, WISH | {"sd": 7}, {"op": "unlock"}, {"op": "unlock", "id": "f00d"}):
                await ask(client, **request)
            assert [error["code"] for error in await hear_all(client, 4)] == ["bad_lock"] * 4
            assert server.statistics().errors == {"bad_lock": 4}
            assert b.events() == []

    asyncio.run(run())
    assert refusals(path) == [("desk", "bad_lock")] * 4


def test_without_an_audit_log_no_lock_stands():
    async def run():
        async with serving(None) as (b, server), stream(server, **bearer(LOCK)) as client:
            await ask(client, **WISH)
            error = await hear(client)
            assert error["code"] == "no_audit" and "set audit.path" in error["message"]
            assert b.events() == []

    asyncio.run(run())


def test_a_replay_takes_no_locks(path):
    async def run():
        async with bench(path) as b:
            publish = Publish(port=0, tokens=TOKENS)
            async with (
                Publisher(publish, b.encoder, dict, bytes, lambda: NOON) as server,
                stream(server, **bearer(LOCK)) as client,
            ):
                await ask(client, **WISH)
                error = await hear(client)
                assert error["code"] == "forbidden" and "serves what was recorded" in error["message"]

    asyncio.run(run())


def test_no_token_is_ever_printed_or_shown(path, capfd):
    """Every way to bring a token, right and wrong, at every door: none comes out again."""

    async def run():
        shown = []
        async with serving(path) as (_, server):
            for token in (READ, LOCK, OTHER):
                for headers in (f"Authorization: Bearer {token}", f"Sec-WebSocket-Protocol: bearer.{token}"):
                    for target in ("/metrics", "/nowhere", "/v1/stream", f"/{'x' * 9000}"):
                        shown.append(await fetch(server, target, headers))
                for options in (bearer(token), {"subprotocols": ["kvd.v1.json", f"bearer.{token}"]}):
                    try:
                        async with stream(server, **options) as client:
                            await ask(client, **WISH)
                            await client.send("nonsense")
                            shown += [client.response.headers, *await hear_all(client, 2)]
                    except InvalidStatus as refused:
                        shown.append(refused.response)
            return shown, server.statistics()

    shown = f"{asyncio.run(run())}{path.read_text('utf-8')}"
    said = capfd.readouterr()
    assert len(shown) > 5000 and "publisher.listening" in said.out + said.err
    for secret in (READ, LOCK, OTHER):
        assert secret not in shown + said.out + said.err
