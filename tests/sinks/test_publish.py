import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, smile, update
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kvd.config import ConfigError, Publish
from kvd.sinks.answers import Trouble
from kvd.sinks.publish import Publisher
from kvd.wire import Encoder, Ring, decode

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(12))


@asynccontextmanager
async def publisher(ready=dict, encoder=None, **changes):
    made = Publisher(Publish(port=0, **changes), encoder or Encoder("e1"), ready, lambda: b"kvd_up 1\n", lambda: NOON)
    async with asyncio.timeout(20), made:
        yield made


def stream(server, **options):
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream", **options)


async def ask(client, **request):
    await client.send(json.dumps(request))


async def hear(client):
    async with asyncio.timeout(5):
        return json.loads(await client.recv())


async def hear_all(client, count):
    return [await hear(client) for _ in range(count)]


async def subscribe(client, *topics):
    """The snapshots that follow the ack."""
    await ask(client, op="subscribe", topics=list(topics))
    ack = await hear(client)
    assert ack == {"type": "ack", "op": "subscribe", "topics": sorted(topics), "matching": ack["matching"]}
    return await hear_all(client, ack["matching"])


async def refused(client, frame):
    await client.send(frame)
    error = await hear(client)
    assert set(error) == {"type", "code", "message"}
    assert error["type"] == "error"
    return error["code"], error["message"]


async def fetch(server, target, *headers, method="GET"):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write("\r\n".join([f"{method} {target} HTTP/1.1", "Host: kvd", *headers, "", ""]).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), head.decode(), body.decode()


def test_snapshot_then_a_chain_of_updates():
    async def run():
        async with publisher() as server, stream(server) as client:
            server.publish(update(smile(), smile(CHRISTMAS + DAY)))
            (snapshot,) = await subscribe(client, "surface.deribit.BTC")
            assert (snapshot["type"], snapshot["seq"], snapshot["epoch"]) == ("snapshot", 2, "e1")
            assert [s["expiry"][:10] for s in snapshot["smiles"]] == ["2026-12-25", "2026-12-26"]
            for _ in range(50):
                server.publish(update(smile(), smile(CHRISTMAS + DAY)))
            updates = await hear_all(client, 100)
            assert [u["prev_seq"] for u in updates] == list(range(2, 102))
            assert [u["seq"] for u in updates] == list(range(3, 103))
            assert {(u["type"], u["topic"], u["epoch"]) for u in updates} == {("update", "surface.deribit.BTC", "e1")}

    asyncio.run(run())


def test_a_wildcard_covers_topics_that_appear_later_and_overlap_sends_once():
    async def run():
        async with publisher() as server, stream(server) as client:
            assert await subscribe(client, "smile.*.*.*", "smile.deribit.BTC.2026-12-25") == []
            server.publish(update(smile()))
            server.publish(update(smile(underlying="ETH")))
            server.publish(update(withdrawn=(CHRISTMAS,)))
            got = await hear_all(client, 3)
            assert [(m["topic"], m["prev_seq"]) for m in got] == [
                ("smile.deribit.BTC.2026-12-25", 0),
                ("smile.deribit.ETH.2026-12-25", 0),
                ("smile.deribit.BTC.2026-12-25", 1),
            ]
            assert got[2]["smile"]["state"] == "withdrawn"

    asyncio.run(run())


def test_unsubscribe_ends_it_but_for_what_another_pattern_matches():
    async def run():
        async with publisher() as server, stream(server) as client:
            await subscribe(client, "atm.*.*", "atm.deribit.BTC", "surface.deribit.BTC")
            await ask(client, op="unsubscribe", topics=["atm.*.*", "surface.deribit.BTC"])
            assert (await hear(client))["op"] == "unsubscribe"
            server.publish(update(smile()))
            server.publish(update(smile(underlying="ETH")))
            await ask(client, op="ping")
            got = await hear_all(client, 2)
            assert [m.get("topic", m.get("op")) for m in got] == ["atm.deribit.BTC", "ping"]
            assert server.statistics().subscriptions == 1

    asyncio.run(run())


def test_status_is_heard_and_remembered():
    async def run():
        async with publisher() as server, stream(server) as client, stream(server) as late:
            await subscribe(client, "status")
            server.status({"venue": "deribit", "state": "connected"})
            server.status({"venue": "other", "state": "lost"})
            said = await hear_all(client, 2)
            assert [m["status"]["state"] for m in said] == ["connected", "lost"]
            (snapshot,) = await subscribe(late, "status")
            assert snapshot["status"] == [m["status"] for m in said]
            assert snapshot["seq"] == 2

    asyncio.run(run())


def test_silence_is_broken_by_heartbeats():
    async def run():
        async with publisher(heartbeat_s=0.1) as server, stream(server) as client:
            beat = {"type": "heartbeat", "epoch": "e1", "time": "2026-07-02T12:00:00.000000Z"}
            assert await hear_all(client, 2) == [beat, beat]

    asyncio.run(run())


def test_every_bad_frame_gets_an_error_that_says_the_mend():
    async def run():
        async with publisher(max_subscriptions=2) as server, stream(server) as client:
            for frame, code, words in [
                (b"\x00\xff", "bad_frame", "send text frames"),
                ("nonsense", "bad_json", "not JSON"),
                ('{"x":' + "[" * 60_000, "bad_json", "not JSON"),
                ('"\\ud800"', "bad_json", "not JSON"),
                ("[]", "bad_request", "Expected `object`"),
                ('{"op":"dance"}', "bad_request", "$.op"),
                ('{"op":"subscribe"}', "bad_request", 'needs "topics"'),
                ('{"op":"subscribe","topics":"status"}', "bad_request", "$.topics"),
                ('{"op":"subscribe","topics":[1]}', "bad_request", "$.topics"),
                ('{"op":"subscribe","topics":["status"],"from_seq":{"status":1}}', "bad_request", 'needs the "epoch"'),
                ('{"op":"subscribe","topics":["status"],"epoch":"e1","from_seq":{"status":-1}}', "bad_request", ">= 0"),
                (
                    '{"op":"subscribe","topics":["atm.*.*"],"epoch":"e1","from_seq":{"status":1}}',
                    "bad_request",
                    """'status', which "topics" does not match""",
                ),
                (
                    '{"op":"subscribe","topics":["atm.*.*"],"epoch":"e1","from_seq":{"atm.*.*":1}}',
                    "bad_request",
                    "without *",
                ),
                ('{"op":"subscribe","topics":["surfaces.deribit.BTC"]}', "bad_topic", "surface.{venue}.{underlying}"),
                ('{"op":"subscribe","topics":["surface.deribit"]}', "bad_topic", "has 2 parts: use surface."),
                ('{"op":"subscribe","topics":["atm.deribit.B C"]}', "bad_topic", "letters, digits"),
                ('{"op":"subscribe","topics":["atm.a.a","atm.a.b","atm.a.c"]}', "too_many_subscriptions", "use *"),
                ('{"op":"unsubscribe","topics":["status"]}', "not_subscribed", "'status'"),
            ]:
                got = await refused(client, frame)
                assert (got[0], words in got[1]) == (code, True), (frame[:80], got)
            assert await subscribe(client, "status") == []

    asyncio.run(run())


frames = st.one_of(
    st.text(max_size=300),
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["op", "topics", "from_seq"]) | st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=12,
    ).map(json.dumps),
)


@settings(deadline=None, max_examples=20)
@given(st.lists(frames, min_size=1, max_size=40))
def test_no_frame_ends_the_conversation(sent):
    async def run():
        async with publisher(max_messages_per_s=1000.0) as server, stream(server) as client:
            for frame in sent:
                await client.send(frame)
            await ask(client, op="ping")
            answers = await hear_all(client, len(sent) + 1)
            assert answers[-1] == {"type": "ack", "op": "ping"}
            assert sum(server.statistics().errors.values()) == sum(a["type"] == "error" for a in answers)

    asyncio.run(run())


def test_a_huge_frame_closes_its_sender_alone():
    async def run():
        async with publisher() as server, stream(server) as client, stream(server) as other:
            await client.send("x" * (64 * 1024 + 1))
            with pytest.raises(ConnectionClosed):
                await hear(client)
            assert client.close_code == 1009
            await ask(other, op="ping")
            assert (await hear(other))["op"] == "ping"

    asyncio.run(run())


def test_too_many_messages_are_ignored_and_said():
    async def run():
        async with publisher(max_messages_per_s=3.0) as server, stream(server) as client:
            for _ in range(5):
                await ask(client, op="ping")
            answers = await hear_all(client, 5)
            assert [a["type"] for a in answers] == ["ack"] * 3 + ["error"] * 2
            assert answers[-1]["code"] == "too_many_messages"
            assert server.statistics().errors == {"too_many_messages": 2}

    asyncio.run(run())


def deaf_socket(server):
    """A client's socket with small buffers: what it does not read stays with the publisher."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", server.port))
    return sock


def test_a_stalled_client_is_cut_and_the_others_lose_nothing():
    async def run():
        async with publisher(stalled_after_s=0.5) as server:
            whole = update(*map(smile, EXPIRIES))
            server.publish(whole)
            async with (
                stream(server) as reader,
                stream(server, sock=deaf_socket(server), max_queue=1, ping_interval=None, close_timeout=0.1) as deaf,
            ):
                (snapshot,) = await subscribe(reader, "surface.deribit.BTC")
                await ask(deaf, op="subscribe", topics=["surface.*.*", "smile.*.*.*", "atm.*.*"])
                rounds = 0
                seq = snapshot["seq"]
                slowest_s = 0.0
                while server.statistics().clients == 2:
                    start_s = time.perf_counter()
                    server.publish(whole)
                    slowest_s = max(slowest_s, time.perf_counter() - start_s)
                    rounds += 1
                    for message in await hear_all(reader, len(EXPIRIES)):
                        assert (message["type"], message["prev_seq"]) == ("update", seq)
                        seq = message["seq"]
                    assert server.statistics().buffered_bytes < 300_000
                assert server.statistics().cut == {"stalled": 1}
                assert seq == (rounds + 1) * len(EXPIRIES)
                assert server.statistics().overwrites > 0
                assert slowest_s < 0.1

    asyncio.run(run())


def test_a_slow_client_hears_of_the_gap_and_then_the_newest_of_each_smile():
    async def run():
        encoder = Encoder("e1")
        async with publisher(stalled_after_s=30.0, encoder=encoder) as server:
            server.publish(update(*map(smile, EXPIRIES)))
            async with stream(server, sock=deaf_socket(server), max_queue=1, ping_interval=None) as slow:
                (snapshot,) = await subscribe(slow, "surface.deribit.BTC")
                while server.statistics().overwrites < 500:
                    server.publish(update(*map(smile, EXPIRIES)))
                    await asyncio.sleep(0)
                server.publish(update(smile(), withdrawn=EXPIRIES[1:]))
                seq, missed, last = snapshot["seq"], 0, {}
                while seq < encoder.seq("surface.deribit.BTC"):
                    message = await hear(slow)
                    if message["type"] == "gap":
                        assert message["from_seq"] == seq + 1 <= message["to_seq"]
                        missed += message["to_seq"] - seq
                        seq = message["to_seq"]
                    else:
                        assert message["prev_seq"] == seq
                        seq = message["seq"]
                        last[message["smile"]["expiry"]] = message["smile"]["state"]
                assert missed == server.statistics().overwrites
                assert sorted(last.values()) == ["live"] + ["withdrawn"] * 11

    asyncio.run(run())


def test_who_asks_without_reading_the_answers_is_not_read_either():
    async def run():
        async with publisher(stalled_after_s=0.5, max_messages_per_s=1e6, max_subscriptions=10_000) as server:
            server.publish(update(*map(smile, EXPIRIES)))
            async with stream(server, sock=deaf_socket(server), max_queue=1, close_timeout=0.1) as deaf:

                async def pester():
                    while True:
                        await ask(deaf, op="subscribe", topics=["surface.*.*", "smile.*.*.*", "atm.*.*"])

                with pytest.raises(ConnectionClosed):
                    await pester()
            assert server.statistics().cut == {"stalled": 1}

    asyncio.run(run())


def test_closing_flushes_and_says_going_away():
    async def run():
        async with publisher() as server, stream(server) as client:
            half = socket.create_connection(("127.0.0.1", server.port))
            deaf = deaf_socket(server)
            async with stream(server, sock=deaf, max_queue=1, ping_interval=None, close_timeout=0.1) as stalled:
                await subscribe(client, "surface.deribit.BTC")
                await ask(stalled, op="subscribe", topics=["smile.*.*.*", "surface.*.*"])
                await ask(client, op="ping")
                await hear(client)
                while not server.statistics().overwrites:
                    server.publish(update(*map(smile, EXPIRIES)))
                    await hear_all(client, len(EXPIRIES))
                server.publish(update(smile(reason="the last")))
                start_s = time.perf_counter()
                closing = asyncio.ensure_future(server.close())
                assert (await hear(client))["smile"]["reason"] == "the last"
                with pytest.raises(ConnectionClosed):
                    await hear(client)
                await closing
                assert time.perf_counter() - start_s < 3.0
                assert client.close_code == 1001
                half.close()

    asyncio.run(run())


def test_pages_over_the_wire():
    async def run():
        missing = [Trouble("deribit", "no data yet", True, NOON), Trouble("held", "1 smile is held", False, NOON)]
        async with publisher(ready=lambda: missing) as server:
            server.publish(update(smile()))
            assert (await fetch(server, "/livez"))[::2] == (200, "alive\n")
            assert (await fetch(server, "/readyz"))[::2] == (503, "not ready\n")
            lost = "missing deribit: no data yet, since 2026-07-02T12:00:00.000000Z\n"
            held = "degraded held: 1 smile is held, since 2026-07-02T12:00:00.000000Z\n"
            assert (await fetch(server, "/readyz?verbose"))[2] == f"not ready\n{lost}{held}"
            del missing[0]
            assert (await fetch(server, "/readyz?verbose"))[::2] == (200, f"ready\n{held}")
            assert (await fetch(server, "/readyz"))[::2] == (200, "ready\n")
            assert (await fetch(server, "/metrics"))[::2] == (200, "kvd_up 1\n")
            status, head, body = await fetch(server, "/v1/surface/BTC")
            assert (status, len(json.loads(body)["surfaces"])) == (200, 1)
            assert "Content-Type: application/json" in head
            assert (await fetch(server, "/v2/stream"))[0] == 404
            assert (await fetch(server, "/v1/stream"))[0] == 426
            assert (await fetch(server, "/livez", method="POST"))[0] == 405
            with pytest.raises(InvalidStatus) as refusal:
                async with connect(f"ws://127.0.0.1:{server.port}/stream"):
                    pass
            assert refusal.value.response.status_code == 404

    asyncio.run(run())


def test_a_full_house_says_so():
    async def run():
        async with publisher(max_clients=1) as server, stream(server):
            with pytest.raises(InvalidStatus) as refusal:
                async with stream(server):
                    pass
            assert refusal.value.response.status_code == 503
            assert json.loads(refusal.value.response.body)["code"] == "full"

    asyncio.run(run())


def test_a_port_in_use_is_said_with_the_mend():
    async def run():
        async with publisher() as server:
            second = Publisher(Publish(port=server.port), Encoder("e2"), dict, bytes, lambda: NOON)
            with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{server.port}.*KVD_PUBLISH_PORT"):
                async with second:
                    pass

    asyncio.run(run())


def test_the_blocks_own_error_goes_up_as_it_is():
    async def run():
        async with publisher():
            raise KeyError("the caller's")

    with pytest.raises(KeyError, match="the caller's"):
        asyncio.run(run())


def test_a_page_that_fails_ends_the_block():
    def broken():
        raise ZeroDivisionError

    async def run():
        async with publisher(ready=broken) as server:
            await fetch(server, "/readyz")
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as failure:
        asyncio.run(run())
    assert failure.group_contains(ZeroDivisionError)


def test_an_update_that_must_not_be_published_is_the_callers_error():
    async def run():
        async with publisher() as server, stream(server) as client:
            await subscribe(client, "surface.deribit.BTC")
            with pytest.raises(ValueError, match="tau"):
                server.publish(update(smile(tau=float("nan"))))
            server.publish(update(smile()))
            got = await hear(client)
            assert decode(json.dumps(got)).smiles[0].tau == smile().tau
            assert got["seq"] == 1

    asyncio.run(run())


def test_who_comes_back_hears_what_was_missed_or_why_not():
    async def run():
        async with publisher(encoder=Encoder("e1", Ring(60_000_000, 2**20))) as server, stream(server) as client:
            for count in range(3):
                server.publish(update(smile(quotes=count)))
            topics = [f"{kind}.deribit.{name}" for name in ("BTC", "ETH") for kind in ("surface", "atm")]
            heard = dict(zip(topics, [1, 9, 0, 5], strict=True))
            await ask(client, op="subscribe", topics=["*.*.*", "smile.*.*.*"], epoch="e1", from_seq=heard)
            ack, *rest = await hear_all(client, 8)
            assert (ack["matching"], ack["resumed"]) == (3, ["surface.deribit.BTC", "surface.deribit.ETH"])
            assert [(m["type"], m["topic"], m.get("reason"), m.get("seq", m.get("to_seq"))) for m in rest] == [
                ("snapshot", "smile.deribit.BTC.2026-12-25", None, 3),
                ("update", "surface.deribit.BTC", None, 2),
                ("update", "surface.deribit.BTC", None, 3),
                ("gap", "atm.deribit.BTC", "unknown_seq", 3),
                ("snapshot", "atm.deribit.BTC", None, 3),
                ("gap", "atm.deribit.ETH", "unknown_seq", 0),
                ("snapshot", "atm.deribit.ETH", None, 0),
            ]
            server.publish(update(smile(underlying="ETH")))
            assert [m["prev_seq"] for m in await hear_all(client, 3)] == [0, 0, 0]

    asyncio.run(run())


def test_numbers_of_another_start_mean_nothing():
    async def run():
        async with publisher(encoder=Encoder("e2", Ring(60_000_000, 2**20))) as server, stream(server) as client:
            server.publish(update(smile()))
            await ask(client, op="subscribe", topics=["atm.*.*"], epoch="e1", from_seq={"atm.deribit.BTC": 1})
            ack, gap, snapshot = await hear_all(client, 3)
            assert (ack["resumed"], gap["reason"], gap["from_seq"], gap["to_seq"]) == ([], "new_epoch", 1, 1)
            assert (snapshot["type"], snapshot["seq"], snapshot["epoch"]) == ("snapshot", 1, "e2")

    asyncio.run(run())
