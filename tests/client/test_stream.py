"""The asynchronous client against a real publisher: what it yields, what it skips, how it is refused."""

import asyncio
import ssl
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from served import publisher, soon, url, way
from smiles import CHRISTMAS, DAY, NOON, SECOND, same, smile, update

import kvd
from kvd.client import Atm, ClientError, Interrupted, Refused, RequestRefused, Unreachable

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(12))


def batch(second, *expiries, withdrawn=()):
    """What one batch changes: it can be told from its reason."""
    made = update(
        *(smile(e, publish_us=NOON + second * SECOND, reason=f"{second}") for e in expiries), withdrawn=withdrawn
    )
    return made._replace(publish_us=NOON + second * SECOND)


def reasons(surface):
    return {smile.expiry_us: smile.reason for smile in surface.smiles}


def test_surfaces_whole_batches_at_a_time():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, *EXPIRIES))
            async with aclosing(stream.surfaces("BTC")) as surfaces:
                first = await anext(surfaces)
                assert (first.venue, first.underlying) == ("deribit", "BTC")
                assert reasons(first) == dict.fromkeys(EXPIRIES, "0")
                assert same(first.smiles[0], smile(publish_us=NOON, reason="0"))
                for second in range(1, 6):
                    server.publish(batch(second, *EXPIRIES[second:]))
                    assert reasons(await anext(surfaces)) == {e: str(min(i, second)) for i, e in enumerate(EXPIRIES)}
                server.publish(batch(6, EXPIRIES[0], withdrawn=EXPIRIES[1:]))
                assert reasons(await anext(surfaces)) == {EXPIRIES[0]: "6"}
                server.publish(batch(7, withdrawn=EXPIRIES[:1]))
                assert reasons(await anext(surfaces)) == {}

    asyncio.run(run())


def test_surfaces_of_some_underlyings_or_of_all():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            for name in ("BTC", "ETH", "SOL_USDC"):
                server.publish(update(smile(underlying=name)))
            for asked, expected in [(("BTC", "ETH"), {"BTC", "ETH"}), ((), {"BTC", "ETH", "SOL_USDC"})]:
                surfaces = stream.surfaces(*asked)
                assert {(await anext(surfaces)).underlying for _ in expected} == expected
                await surfaces.aclose()
            surfaces = stream.surfaces("BTC", venue="elsewhere")
            waiting = asyncio.ensure_future(anext(surfaces))
            server.publish(update(smile(venue="elsewhere")))
            assert (await waiting).venue == "elsewhere"

    asyncio.run(run())


def test_a_slow_consumer_gets_the_newest_and_holds_no_queue():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, *EXPIRIES))
            surfaces, smiles = stream.surfaces("BTC"), stream.smiles("BTC")
            assert reasons(await anext(surfaces))[EXPIRIES[0]] == "0"
            assert (await anext(smiles)).reason == "0"
            for second in range(1, 101):
                server.publish(batch(second, *EXPIRIES))
                before = stream.statistics().messages
                await soon(lambda before=before: stream.statistics().messages == before + 2 * len(EXPIRIES))
            assert reasons(await anext(surfaces)) == dict.fromkeys(EXPIRIES, "99")  # whether 100 is whole is not known
            assert reasons(await anext(surfaces)) == dict.fromkeys(EXPIRIES, "100")
            assert [(await anext(smiles)).reason for _ in EXPIRIES] == ["100"] * len(EXPIRIES)
            assert stream.statistics().overwrites == 98 + 99 * len(EXPIRIES) + (len(EXPIRIES) - 1)

    asyncio.run(run())


def test_smiles_and_small_records_one_by_one():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, *EXPIRIES[:3]))
            smiles, christmas, records = stream.smiles("BTC"), stream.smiles("BTC", "2026-12-25"), stream.atm("BTC")
            assert [(await anext(smiles)).expiry_us for _ in range(3)] == list(EXPIRIES[:3])
            assert (await anext(christmas)).expiry_us == CHRISTMAS
            plain = smile(publish_us=NOON)
            assert await anext(records) == Atm(
                "deribit", "BTC", CHRISTMAS, plain.forward, 0.5512, 0.0012, -0.0731, 0.0008, "live",
                plain.exchange_us, plain.receive_us, NOON,
            )  # fmt: skip
            server.publish(batch(1, EXPIRIES[1], CHRISTMAS, withdrawn=EXPIRIES[2:3]))
            assert [(await anext(smiles)).reason for _ in range(2)] == ["1", "1"]
            assert (await anext(christmas)).reason == "1"
            assert [(await anext(records)).publish_us - NOON for _ in range(2)] == [SECOND, SECOND]

    asyncio.run(run())


def test_messages_as_they_came():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, CHRISTMAS))
            messages = stream.messages("status", "surface.*.*")
            first = await anext(messages)
            assert (first["type"], first["seq"], len(first["smiles"])) == ("snapshot", 1, 1)
            server.publish(batch(1, CHRISTMAS))
            server.status({"venue": "deribit", "state": "lost", "reason": "why"})
            got = [await anext(messages) for _ in range(2)]
            assert [(m["type"], m["topic"]) for m in got] == [("update", "surface.deribit.BTC"), ("status", "status")]
            assert got[1]["status"] == {"venue": "deribit", "state": "lost", "reason": "why"}

    asyncio.run(run())


def test_two_iterators_share_a_connection_and_end_one_by_one():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, CHRISTMAS))
            one, two, other = stream.surfaces("BTC"), stream.surfaces("BTC"), stream.atm()
            assert reasons(await anext(one)) == reasons(await anext(two)) == {CHRISTMAS: "0"}
            await anext(other)
            assert server.statistics().clients == 1 and server.statistics().subscriptions == 2
            await one.aclose()
            server.publish(batch(1, CHRISTMAS))
            assert reasons(await anext(two)) == {CHRISTMAS: "1"}
            await two.aclose()
            await soon(lambda: server.statistics().subscriptions == 1)
            server.publish(batch(2, CHRISTMAS))
            assert reasons(await anext(stream.surfaces("BTC"))) == {CHRISTMAS: "2"}

    asyncio.run(run())


def test_an_iterator_that_is_left_unsubscribes():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, CHRISTMAS))
            async for surface in stream.surfaces("BTC"):
                assert reasons(surface) == {CHRISTMAS: "0"}
                break
            await soon(lambda: server.statistics().subscriptions == 0)

    asyncio.run(run())


def test_iterators_end_with_the_block():
    async def run():
        async with publisher() as server:
            async with kvd.connect(url(server.port)) as stream:
                silent = asyncio.ensure_future(anext(stream.surfaces("BTC"), "ended"))
                await soon(lambda: server.statistics().subscriptions == 1)
            assert await silent == "ended"
            assert await anext(stream.surfaces("BTC"), "ended") == "ended"
            await soon(lambda: server.statistics().clients == 0)

    asyncio.run(run())


def test_a_surface_once_and_as_it_was():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, *EXPIRIES))
            server.publish(batch(60, CHRISTMAS))
            assert reasons(await stream.surface("BTC"))[CHRISTMAS] == "60"
            then = datetime(2026, 7, 2, 12, 0, 59, tzinfo=UTC)
            assert reasons(await stream.surface("BTC", at=then))[CHRISTMAS] == "0"
            there = timedelta(hours=2)
            with pytest.raises(RequestRefused) as refusal:
                await stream.surface("BTC", at=then - there)
            assert refusal.value.code == "no_history"
            with pytest.raises(RequestRefused, match="there is no surface of 'DOGE'; there are BTC of deribit"):
                await stream.surface("DOGE")
            with pytest.raises(ClientError, match="give it tzinfo"):
                await stream.surface("BTC", at=then.replace(tzinfo=None))
            server.publish(update(smile(venue="elsewhere")))
            with pytest.raises(RequestRefused, match=r"venues with a surface of BTC: deribit, elsewhere; name one"):
                await stream.surface("BTC")
            assert (await stream.surface("BTC", "elsewhere")).venue == "elsewhere"

    asyncio.run(run())


# Refusals


@pytest.mark.parametrize(
    "bad",
    ["http://127.0.0.1:8765", "127.0.0.1:8765", "ws://", "ws://host:0/", "ws://host:99999", "ws://h/v1/other", "ws://h/?x=1",
     "ws://me:secret@h/", "ws://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_mend(bad):
    with pytest.raises(ClientError, match=r"is not the address of a stream: write it as ws://host:port/v1/stream"):
        kvd.connect(bad)


@pytest.mark.parametrize(
    ("given", "stream"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765/v1/stream"),
        ("ws://127.0.0.1:8765/v1/stream/", "ws://127.0.0.1:8765/v1/stream"),
        ("wss://kvd.example", "wss://kvd.example:443/v1/stream"),
        ("ws://[::1]:9/", "ws://[::1]:9/v1/stream"),
        ("wss://proxy.example/desk/v1/stream", "wss://proxy.example:443/desk/v1/stream"),
    ],
)
def test_an_address_may_leave_out_what_goes_without_saying(given, stream):
    assert kvd.client.address(given).stream == stream


@pytest.mark.parametrize("token", ["", "two words", "line\nend", "ümlaut"])
def test_what_cannot_be_a_token_is_refused_unsaid(token):
    with pytest.raises(ClientError, match="the token has characters") as refusal:
        kvd.connect(token=token)
    assert not token or token not in str(refusal.value)


def test_tls_without_wss_is_refused():
    with pytest.raises(ClientError, match="write wss://"):
        kvd.connect(ssl=ssl.create_default_context())


async def entered(address, **options):
    async with kvd.connect(address, **options) as stream:
        return stream.statistics()


def test_no_server_is_said_at_once_or_after_patience():
    async def run():
        async with way() as (made, address):
            with pytest.raises(Unreachable, match=r"no kvd answers at ws://127.0.0.1:\d+/v1/stream .*: start it with"):
                await entered(address)
            assert made.attempts == 1
            trying = asyncio.ensure_future(entered(address, patience_s=10.0))
            await soon(lambda: made.attempts > 2)
            async with publisher() as server:
                made.to = server.port
                assert (await trying).connections == 1
        with pytest.raises(Unreachable):
            await entered(url(1))

    asyncio.run(run())


def test_a_token_opens_and_its_lack_is_no_matter_of_patience():
    async def run():
        tokens = ("reader:read:s3cret-s3cret-s3cret", "desk:read+lock:l0ck-l0ck-l0ck-l0ck")
        async with publisher(tokens=tokens) as server:
            address = url(server.port)
            server.publish(batch(0, CHRISTMAS))
            async with kvd.connect(address, token="s3cret-s3cret-s3cret") as stream:
                assert reasons(await anext(stream.surfaces())) == reasons(await stream.surface("BTC"))
                with pytest.raises(RequestRefused) as refusal:
                    await stream.lock("BTC", "2026-12-25", "atm_vol", 0.6, 0.01, timedelta(minutes=5))
                assert refusal.value.code == "forbidden"
                with pytest.raises(RequestRefused):
                    await stream.unlock("nothing")
            for token, said in [(None, "it asks for a token; give token="), ("wrong", "it does not know this token")]:
                with pytest.raises(Refused, match=rf"refuses with HTTP 401: {said}"):
                    await entered(address, token=token, patience_s=60.0)
            with pytest.raises(Refused, match="HTTP 404"):
                await entered(address.replace("/v1/stream", "/nowhere/v1/stream"), token="s3cret-s3cret-s3cret")

    asyncio.run(run())


def test_a_bad_topic_ends_its_iterator_alone():
    async def run():
        async with publisher() as server, kvd.connect(url(server.port)) as stream:
            server.publish(batch(0, CHRISTMAS))
            good = stream.surfaces()
            await anext(good)
            with pytest.raises(RequestRefused, match="no topic begins with 'nope'") as refusal:
                await anext(stream.messages("nope.deribit.BTC"))
            assert refusal.value.code == "bad_topic"
            server.publish(batch(1, CHRISTMAS))
            assert reasons(await anext(good)) == {CHRISTMAS: "1"}

    asyncio.run(run())


def test_a_stream_that_is_not_open_says_how_to_open_it():
    with pytest.raises(ClientError, match="inside `async with"):
        kvd.connect().surfaces("BTC")


def test_who_asks_while_the_connection_is_lost_is_told():
    async def run():
        async with publisher() as server, way(server.port) as (made, address), kvd.connect(address) as stream:
            made.open.clear()
            asked = asyncio.ensure_future(stream.unlock("x"))
            await asyncio.sleep(0)
            made.to = None
            made.cut()
            with pytest.raises(Interrupted, match="was lost before it answered"):
                await asked
            with pytest.raises(Interrupted):
                await stream.unlock("x")

    asyncio.run(run())
