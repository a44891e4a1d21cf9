"""However the connection is lost, the client is soon where it would have been, or says why it cannot be."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

import pytest
from served import publisher, soon, url, way
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update
from websockets.asyncio.server import serve

import kvd
from kvd.client import Refused, Stream, Timing
from kvd.wire import Encoder

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(6))
TOKENS = ("reader:read:s3cret-s3cret-s3cret",)


def batch(number, *expiries, withdrawn=(), apart_us=SECOND):
    """What batch `number` changes: its smiles give the number as their reason."""
    at_us = NOON + number * apart_us
    made = update(*(smile(e, publish_us=at_us, reason=f"{number}") for e in expiries), withdrawn=withdrawn)
    return made._replace(publish_us=at_us)


def reasons(surface):
    return {smile.expiry_us: smile.reason for smile in surface.smiles}


async def surface_with(surfaces, expected):
    """The first surface that is as expected."""
    async with asyncio.timeout(15):
        async for surface in surfaces:
            if reasons(surface) == expected:
                return surface


class Follower:
    """What an iterator over messages makes of the protocol alone, as a stranger would write it."""

    def __init__(self, messages):
        self.held, self.last, self.gaps = {}, {}, []
        self.task = asyncio.create_task(self.follow(messages))

    async def follow(self, messages):
        async for message in messages:
            topic, kind = message["topic"], message["type"]
            if kind == "snapshot":
                self.held = {s["expiry"]: s["reason"] for s in message["smiles"]}
                self.last[topic] = message["seq"]
            elif kind == "gap":
                self.gaps.append(message["reason"])
                self.last[topic] = message["to_seq"]
            else:
                assert message["prev_seq"] == self.last.get(topic, message["prev_seq"])
                self.last[topic] = message["seq"]
                said = message["smile"]
                if said["state"] == "withdrawn":
                    self.held.pop(said["expiry"])
                else:
                    self.held[said["expiry"]] = said["reason"]


def test_a_hundred_cuts_change_nothing():
    """Some come before the last loss is made good; every message arrives once, in order, and no gap is said."""
    dice = random.Random(1)
    expected = {}

    async def run():
        async with (
            publisher(within_s=60.0) as server,
            way(server.port) as (made, address),
            kvd.connect(url(server.port)) as steady,
            Stream(kvd.client.address(address), Timing(first_s=0.02, settled_s=0.0)) as cut,
        ):
            server.publish(batch(0, *EXPIRIES))
            expected.update(dict.fromkeys(EXPIRIES, "0"))
            followers = [Follower(stream.messages("surface.deribit.BTC")) for stream in (steady, cut)]
            newest = cut.surfaces("BTC")
            await soon(lambda: all(len(f.held) == 6 for f in followers))
            for second in range(1, 101):
                connected = cut.statistics().connections
                here = dice.sample(EXPIRIES, 3)
                leaves = tuple(e for e in here[:1] if second % 7 == 0 and e in expected)
                stays = [e for e in here if e not in leaves]
                if dice.random() < 0.5:
                    made.cut()
                    server.publish(batch(second, *stays, withdrawn=leaves, apart_us=SECOND // 10))
                else:
                    server.publish(batch(second, *stays, withdrawn=leaves, apart_us=SECOND // 10))
                    made.cut()
                expected.update(dict.fromkeys(stays, str(second)))
                for expiry_us in leaves:
                    del expected[expiry_us]
                await soon(lambda connected=connected: cut.statistics().connections > connected)
            await soon(lambda: followers[0].last == followers[1].last)
            assert followers[0].held == followers[1].held
            assert followers[0].gaps == followers[1].gaps == []
            assert reasons(await surface_with(newest, expected)) == expected
            assert reasons(await surface_with(cut.surfaces("BTC"), expected)) == expected
            assert sorted(followers[1].held.values()) == sorted(expected.values())
            statistics = cut.statistics()
            assert statistics.connections == 101 and statistics.gaps == {}
            for follower in followers:
                follower.task.cancel()

    asyncio.run(run())


def test_a_kvd_that_starts_anew_begins_from_nothing():
    async def run():
        async with way() as (made, address), publisher("e1") as first:
            made.to = first.port
            async with kvd.connect(address) as stream:
                surfaces, messages = stream.surfaces("BTC"), stream.messages("surface.*.*")
                first.publish(batch(0, *EXPIRIES))
                assert reasons(await anext(surfaces)) == dict.fromkeys(EXPIRIES, "0")
                assert len((await anext(messages))["smiles"]) == 6
                async with publisher("e2") as second:
                    made.to = second.port
                    await first.close()
                    assert (await anext(surfaces)).smiles == ()
                    assert "1001" in stream.statistics().reason
                    second.publish(batch(9, CHRISTMAS))
                    assert reasons(await anext(surfaces)) == {CHRISTMAS: "9"}
                    said = [await anext(messages) for _ in range(3)]
                    assert [(m["type"], m["epoch"], m.get("reason")) for m in said] == [
                            ("gap", "e2", "new_epoch"), ("snapshot", "e2", None), ("update", "e2", None),
                        ]  # fmt: skip
                    assert stream.statistics().gaps == {"new_epoch": 1}

    asyncio.run(run())


def test_who_was_away_too_long_gets_a_gap_and_a_snapshot():
    async def run():
        async with (
            publisher() as server,
            way(server.port) as (made, address),
            kvd.connect(address) as stream,
        ):
            surfaces = stream.surfaces("BTC")
            server.publish(batch(0, *EXPIRIES))
            await anext(surfaces)
            made.to = None
            made.cut()
            for second in range(1, 200, 10):
                server.publish(batch(second, CHRISTMAS))
            server.publish(batch(300, CHRISTMAS, withdrawn=EXPIRIES[1:3]))
            made.to = server.port
            assert reasons(await anext(surfaces)) == {CHRISTMAS: "300"} | dict.fromkeys(EXPIRIES[3:], "0")
            assert stream.statistics().gaps == {"too_old": 1}

    asyncio.run(run())


def test_a_connection_that_stands_still_is_made_anew():
    async def run():
        async with (
            publisher(heartbeat_s=0.1) as server,
            way(server.port) as (made, address),
            kvd.connect(address, silent_s=0.6) as stream,
        ):
            server.publish(batch(0, CHRISTMAS))
            surfaces = stream.surfaces("BTC")
            await anext(surfaces)
            made.open.clear()
            server.publish(batch(1, CHRISTMAS))
            await soon(lambda: not stream.statistics().connected)
            assert stream.statistics().reason == "nothing heard for 0.6 s"
            made.open.set()
            assert reasons(await anext(surfaces)) == {CHRISTMAS: "1"}

    asyncio.run(run())


def test_a_quiet_kvd_is_asked_before_it_is_left():
    async def run():
        async with publisher(heartbeat_s=60.0) as server, kvd.connect(url(server.port), silent_s=0.3) as stream:
            await soon(lambda: stream.statistics().messages >= 5)  # acks of pings
            assert stream.statistics().connections == 1

    asyncio.run(run())


def test_a_reader_that_falls_behind_hears_of_the_gap_and_gets_the_newest():
    async def run():
        async with (
            publisher(stalled_after_s=30.0) as server,
            way(server.port) as (made, address),
            kvd.connect(address) as stream,
        ):
            surfaces = stream.surfaces("BTC")
            server.publish(batch(0, *EXPIRIES))
            await anext(surfaces)
            made.open.clear()
            second = 0
            while server.statistics().overwrites < 100:
                second += 1
                server.publish(batch(second, *EXPIRIES))
                await asyncio.sleep(0)
            made.open.set()
            await surface_with(surfaces, dict.fromkeys(EXPIRIES, str(second)))
            assert set(stream.statistics().gaps) == {"slow"} and stream.statistics().connections == 1

    asyncio.run(run())


@asynccontextmanager
async def scripted(*scripts):
    """A server that says what it is told, one script a connection, and what it was asked."""
    asked = []

    async def converse(connection):
        script = scripts[min(len(asked), len(scripts) - 1)]
        asked.append(json.loads(await connection.recv()))
        for message in script:
            await connection.send(message if isinstance(message, str) else json.dumps(message))
        await connection.wait_closed()

    async with asyncio.timeout(20), serve(converse, "127.0.0.1", 0) as server:
        yield url(server.sockets[0].getsockname()[1]), asked


def test_a_break_in_the_numbers_is_mended_by_coming_back():
    encoder = Encoder("e")
    encoder.encode(batch(0, CHRISTMAS))
    topic = "surface.deribit.BTC"
    snapshot = encoder.snapshot(topic).decode()
    lost, kept = (
        next(m.payload.decode() for m in encoder.encode(batch(s, CHRISTMAS)) if m.kind == "surface") for s in (1, 2)
    )
    ack = {"type": "ack", "op": "subscribe", "topics": [topic], "matching": 1}

    async def run():
        scripts = [ack, snapshot, kept], [ack | {"resumed": [topic]}, lost, kept]
        async with scripted(*scripts) as (address, asked), kvd.connect(address) as stream:
            messages = stream.messages(topic)
            assert [(await anext(messages))["seq"] for _ in range(3)] == [1, 2, 3]
            assert asked[1] == asked[0] | {"epoch": "e", "from_seq": {topic: 1}}
            assert stream.statistics().gaps == {"unsaid": 1}
            assert stream.statistics().reason == "messages of surface.deribit.BTC are missing"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (["nonsense"], "a message that cannot be read"),
        ([{"type": "ack"}, {"type": "update", "topic": "surface.a.b", "smile": {}}], "a message that cannot be read"),
        ([{"type": "ack"},
          {"type": "update", "topic": "surface.a.b", "seq": 1, "prev_seq": 0, "epoch": "e", "smile": {
              "venue": "a", "underlying": "b", "expiry": "2026", "state": "live", "publish_time": "x"}}],
         "a smile that cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_stream_of_this_version_is_no_matter_of_coming_back(script, says):
    async def run():
        async with scripted(script) as (address, asked), kvd.connect(address) as stream:
            with pytest.raises(kvd.client.ClientError, match=says):
                await anext(stream.surfaces())
            assert len(asked) == 1

    asyncio.run(run())


def test_a_server_that_accepts_and_hangs_up_is_not_stormed():
    async def run():
        async with publisher() as server, way(server.port) as (made, address), kvd.connect(address):
            made.to = None
            made.cut()
            with pytest.raises(TimeoutError):
                await soon(lambda: made.attempts > 20, 3.0)
            assert made.attempts >= 2

    asyncio.run(run())


def test_the_first_attempt_to_come_back_follows_within_a_quarter_of_a_second():
    async def run():
        async with publisher() as server, way(server.port) as (made, address), kvd.connect(address) as stream:
            loop = asyncio.get_running_loop()
            for again in range(1, 4):  # the wait doubles: a connection that has not lived is no success
                cut_s = loop.time()
                made.cut()
                await soon(lambda again=again: stream.statistics().connections == 1 + again)
                assert loop.time() - cut_s < 0.25 * 2 ** (again - 1) + 0.2

    asyncio.run(run())


def test_a_token_that_is_valid_no_more_ends_the_stream():
    async def run():
        async with way() as (made, address), publisher() as first, publisher(tokens=TOKENS) as second:
            made.to = first.port
            async with kvd.connect(address) as stream:
                waiting = asyncio.ensure_future(anext(stream.surfaces("BTC")))
                await soon(lambda: first.statistics().subscriptions == 1)
                made.to = second.port
                made.cut()
                with pytest.raises(Refused, match="HTTP 401"):
                    await waiting
                with pytest.raises(Refused, match="HTTP 401"):
                    await anext(stream.atm())

    asyncio.run(run())


def test_a_full_house_is_tried_again():
    async def run():
        async with publisher(max_clients=1) as server:
            async with kvd.connect(url(server.port)):
                trying = asyncio.ensure_future(kvd.connect(url(server.port), patience_s=10.0).__aenter__())
                await soon(lambda: server.statistics().errors.get("full", 0) > 1)
            stream = await trying
            assert stream.statistics().connected
            await stream.__aexit__(None, None, None)

    asyncio.run(run())
