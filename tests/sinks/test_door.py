"""Who comes in: tokens and their limits, and the pages of which sites."""

import asyncio
import json

import pytest
from command_line import until
from hypothesis import given
from hypothesis import strategies as st
from smiles import smile, update
from test_publish import ask, fetch, hear, hear_all, publisher, stream, subscribe
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from kvd.config import Publish
from kvd.sinks.door import presented
from kvd.sinks.tokens import Keyring

READ, LOCK, OTHER = "read-0123456789abcdef", "lock-0123456789abcdef", "other-0123456789abcdef"
TOKENS = (f"reader:read:{READ}", f"desk:read+lock:{LOCK}")
secrets = st.text("abcXYZ019._~+-", min_size=16, max_size=40)


def bearer(token):
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


def offered(*names):
    """A browser's way: sub-protocols. The server may choose one of kvd's own, or none, and never a token."""
    return {"subprotocols": [*names]}


async def refusal(server, **options):
    """Status and code with which the stream is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with stream(server, **options):
            pass
    return refused.value.response.status_code, json.loads(refused.value.response.body)["code"]


# Tokens


@given(st.lists(secrets, min_size=1, max_size=5, unique=True), st.none() | secrets | st.text())
def test_each_token_and_nothing_else_is_its_holders(known, stranger):
    entries = tuple(f"n{place}:{'read+lock' if place % 2 else 'read'}:{secret}" for place, secret in enumerate(known))
    keyring = Keyring(Publish(tokens=entries), 0.0)
    for place, secret in enumerate(known):
        holder = keyring.holder(secret)
        assert (holder.name, holder.may_lock) == (f"n{place}", place % 2 == 1)
        assert {keyring.holder(near) for near in (secret[:-1], secret + "0", f" {secret}")} <= {None}
    assert (keyring.holder(stranger) is not None) == (stranger in known)


@given(st.none() | st.text())
def test_without_tokens_everyone_is_someone_who_may_not_lock(presented):
    keyring = Keyring(Publish(), 0.0)
    holder = keyring.holder(presented)
    assert holder is keyring.holder(None) and not holder.may_lock
    assert keyring.uses() == {}


NAMES = st.sampled_from(["Authorization", "Sec-WebSocket-Protocol", "Accept"])


@given(st.lists(st.tuples(NAMES, st.text(st.characters(min_codepoint=32, max_codepoint=126)))))
def test_whatever_the_headers_hold_one_token_or_none_is_read(headers):
    found = presented(Headers(headers))
    assert found is None or any(found in value for _, value in headers)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("Authorization", "Bearer t")], "t"),
        ([("Authorization", "bearer  t ")], "t"),
        ([("Authorization", "Basic t")], None),
        ([("Authorization", "Bearer t"), ("Authorization", "Bearer t")], None),
        ([("Sec-WebSocket-Protocol", "kvd.v1.json, bearer.t")], "t"),
        ([("Sec-WebSocket-Protocol", "kvd.v1.json"), ("Sec-WebSocket-Protocol", "bearer.t")], "t"),
        ([("Sec-WebSocket-Protocol", "bearer.t, bearer.u")], None),
        ([("Authorization", "Basic t"), ("Sec-WebSocket-Protocol", "bearer.t")], None),
        ([], None),
    ],
)
def test_a_token_comes_in_a_header_or_as_a_sub_protocol(headers, token):
    assert presented(Headers(headers)) == token


def test_tokens_open_the_stream_and_the_pages_but_not_the_probes():
    async def run():
        async with publisher(tokens=TOKENS) as server:
            server.publish(update(smile()))
            for options in (bearer(READ), bearer(LOCK), offered("kvd.v1.json", f"bearer.{READ}")):
                async with stream(server, **options) as client:
                    assert not (client.subprotocol or "").startswith("bearer")
                    assert len(await subscribe(client, "atm.*.*")) == 1
            for options in ({}, bearer(OTHER), bearer(READ[:-1]), offered("kvd.v1.json", f"bearer.{OTHER}")):
                assert await refusal(server, **options) == (401, "unauthorised")
            for target in ("/metrics", "/v1/surface/BTC", "/nowhere", "/livez/"):
                status, head, body = await fetch(server, target)
                assert (status, json.loads(body)["code"]) == (401, "unauthorised")
                assert "WWW-Authenticate: Bearer" in head
                assert (await fetch(server, target, f"Authorization: Bearer {READ}"))[0] != 401
            assert (await fetch(server, "/livez"))[0] == (await fetch(server, "/readyz?verbose"))[0] == 200
            assert server.statistics().errors == {"unauthorised": 8}

    asyncio.run(run())


# Limits


def test_a_token_has_its_places_and_no_more_and_takes_nobody_elses():
    async def run():
        async with publisher(tokens=TOKENS, max_clients_per_token=3) as server:
            tries = [connect(f"ws://127.0.0.1:{server.port}/v1/stream", **bearer(READ)).__aenter__() for _ in range(12)]
            came = await asyncio.gather(*tries, return_exceptions=True)
            inside = [client for client in came if not isinstance(client, Exception)]
            outside = [json.loads(e.response.body)["code"] for e in came if isinstance(e, InvalidStatus)]
            assert (len(inside), outside) == (3, ["too_many_clients"] * 9)
            async with stream(server, **bearer(LOCK)):
                uses = server.statistics().tokens
                assert (uses["reader"].clients, uses["desk"].clients) == (3, 1)
                assert uses["reader"].refused == {"too_many_clients": 9}
            await inside.pop().close()
            await until(lambda: server.statistics().tokens["reader"].clients == 2)
            async with stream(server, **bearer(READ)) as again:
                await ask(again, op="ping")
                assert (await hear(again))["op"] == "ping"
            for client in inside:
                await client.close()

    asyncio.run(run())


def test_the_messages_of_a_token_count_over_all_its_connections():
    async def run():
        async with (
            publisher(tokens=TOKENS, max_messages_per_s_per_token=10.0) as server,
            stream(server, **bearer(READ)) as first,
            stream(server, **bearer(READ)) as second,
            stream(server, **bearer(LOCK)) as other,
        ):
            for client in (first, second):
                for _ in range(8):
                    await ask(client, op="ping")
            answers = await hear_all(first, 8) + await hear_all(second, 8)
            refused = [answer for answer in answers if answer["type"] == "error"]
            assert len(refused) >= 7  # ten at once, two of them the handshakes', and one more each tenth of a second
            assert refused[0]["code"] == "too_many_messages" and "10 messages a second of this token" in str(refused[0])
            assert server.statistics().tokens["reader"].refused == {"too_many_messages": len(refused)}
            status, _, body = await fetch(server, "/metrics", f"Authorization: Bearer {READ}")
            assert (status, json.loads(body)["code"]) == (429, "too_many_messages")
            for _ in range(8):
                await ask(other, op="ping")
            assert {answer["type"] for answer in await hear_all(other, 8)} == {"ack"}

    asyncio.run(run())


# Origins


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:80", True),
        ("https://desk.example", True),
        ("http://desk.example", False),
        ("https://desk.example:8443", False),
        ("https://desk.example.elsewhere.example", False),
        ("https://elsewhere.example", False),
        ("http://127.0.0.1.elsewhere.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_only_pages_of_this_machine_and_of_listed_sites_may_connect(origin, welcome):
    async def run():
        async with publisher(origins=("https://desk.example",)) as server:
            if welcome:
                async with stream(server, origin=origin) as client:
                    assert await subscribe(client, "status") == []
            else:
                assert await refusal(server, origin=origin) == (403, "bad_origin")
                assert server.statistics().errors == {"bad_origin": 1}

    asyncio.run(run())


def test_every_origin_of_a_request_must_be_welcome():
    async def run():
        async with publisher(origins=("https://desk.example",)) as server:
            both = {"additional_headers": [("Origin", "https://desk.example"), ("Origin", "https://elsewhere.example")]}
            assert await refusal(server, **both) == (403, "bad_origin")

    asyncio.run(run())
