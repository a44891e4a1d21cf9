"""The fault proxy does what it says, and nothing while it is well."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from random import Random

import deribit_wire as wire
import pytest
from framing import Splitter, text
from hypothesis import given
from hypothesis import strategies as st
from mischief import FRAMING, NOT_JSON, channel_of, duplicate, flood, garbage, mute, reorder
from proxy import Proxy
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.frames import Frame, Opcode

CHANNELS = [f"ticker.X-{n}.100ms" for n in range(5)]


def notifications(count):
    return [wire.notification(CHANNELS[n % 5], n) for n in range(count)]


def through(mischief, payloads):
    """The payloads that come out, with the number each carries."""
    out = b"".join(mischief(Splitter().feed(b"".join(map(text, payloads)))))
    return [frame.payload for frame in Splitter().feed(out)]


def numbers(payloads):
    return [json.loads(payload)["params"]["data"] for payload in payloads]


@given(st.lists(st.tuples(st.binary(max_size=200) | st.just(b"x" * 70_000), st.booleans()), max_size=6), st.data())
def test_frames_are_split_and_unmasked_as_websockets_does(messages, data):
    wired = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=mask) for payload, mask in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wired)), max_size=8)))
    splitter, found = Splitter(), []
    for begin, end in zip([0, *cuts], [*cuts, len(wired)], strict=True):
        found += splitter.feed(wired[begin:end])
    assert [frame.payload for frame in found] == [payload for payload, _ in messages]
    assert b"".join(frame.raw for frame in found) == wired
    assert all(text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False) for payload, _ in messages)


def test_each_mischief_does_that_and_no_more():
    sent = notifications(400)
    assert numbers(through(mute(CHANNELS[0]), sent)) == [n for n in range(400) if n % 5]
    assert through(mute(""), [wire.result(1, []), *sent]) == [wire.result(1, [])]
    assert numbers(through(flood(3), sent[:2])) == [0, 0, 0, 1, 1, 1]
    twice = numbers(through(duplicate(Random(1)), sent))
    assert set(twice) == set(range(400)) and 450 < len(twice) < 550
    mixed = numbers(through(reorder(Random(1)), sent))
    assert mixed != sorted(mixed) and len(mixed) > 300
    assert all([n for n in mixed if n % 5 == c] == sorted(n for n in mixed if n % 5 == c) for c in range(5))
    soiled = through(garbage(Random(1), NOT_JSON, 0.5), sent)
    assert [payload for payload in soiled if payload in sent] == sent and len(soiled) > 550
    assert through(duplicate(Random(1)), sent) == through(duplicate(Random(1)), sent)


def test_a_channel_is_told_by_its_notification():
    (frame,) = Splitter().feed(text(wire.ticker()))
    assert channel_of(frame) == "ticker.BTC-29DEC23-40000-C.100ms"
    (frame,) = Splitter().feed(text(wire.result(3, ["ticker.X.100ms"])))
    assert channel_of(frame) == ""


# over sockets


@asynccontextmanager
async def proxied():
    """A server that echoes and says a number every 10 ms, and the proxy before it."""

    async def speak(socket):
        async def echo():
            async for said in socket:
                await socket.send(f"echo {said}")

        echoing = asyncio.create_task(echo())
        try:
            for n in range(10_000):
                await socket.send(str(n))
                await asyncio.sleep(0.01)
        finally:
            echoing.cancel()

    async with serve(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(20), Proxy(f"ws://127.0.0.1:{port}/a/path", seed=1) as proxy:
            yield proxy


async def next_number(socket):
    while not (said := await socket.recv()).isdecimal():
        pass
    return int(said)


async def silent(socket, for_s=0.3):
    """Whether nothing arrives, once what was on its way is here."""
    try:
        while True:
            async with asyncio.timeout(for_s):
                await socket.recv()
    except TimeoutError:
        return True
    except ConnectionClosedError:
        return False


def test_a_well_proxy_passes_on_and_takes_note():
    async def scenario():
        async with proxied() as proxy, connect(proxy.url, compression=None, close_timeout=0.2) as socket:
            await socket.send("hello")
            while await socket.recv() != "echo hello":
                pass
            assert [(r.connection, r.text) for r in proxy.requests if r.text == b"hello"] == [(0, b"hello")]
            assert (len(proxy.opened), proxy.links) == (1, 1)
            assert abs(proxy.requests[0].at_s - time.monotonic()) < 10

    asyncio.run(scenario())


def test_it_cuts_refuses_and_listens_again():
    async def scenario():
        async with proxied() as proxy:
            for ending in (proxy.cut, proxy.break_framing, proxy.truncate):
                async with connect(proxy.url, compression=None, close_timeout=0.2) as socket:
                    await socket.recv()
                    ending()
                    with pytest.raises(ConnectionClosedError):
                        while True:
                            await socket.recv()
                proxy.well()
            await proxy.refuse()
            with pytest.raises(OSError):
                await connect(proxy.url)
            await proxy.listen()
            async with connect(proxy.url) as socket:
                await socket.recv()

    asyncio.run(scenario())


def test_it_stalls_and_lets_go_on_late():
    async def scenario():
        async with proxied() as proxy, connect(proxy.url, compression=None, close_timeout=0.2) as socket:
            before = await next_number(socket)
            proxy.stall()
            assert await silent(socket)
            async with connect(
                proxy.url, compression=None, close_timeout=0.2
            ) as other:  # accepted, to the same silence
                assert await silent(other, 0.1)
            proxy.well()
            assert before < await next_number(socket) < before + 30

    asyncio.run(scenario())


def test_a_half_open_port_accepts_and_never_answers():
    async def scenario():
        async with proxied() as proxy, connect(proxy.url, compression=None, close_timeout=0.2) as socket:
            proxy.half_open()
            assert await silent(socket)
            with pytest.raises(TimeoutError):
                await connect(proxy.url, open_timeout=0.3)
            assert len(proxy.opened) == 2

    asyncio.run(scenario())


def test_it_answers_handshakes_and_hangs_up():
    async def scenario():
        async with proxied() as proxy:
            proxy.answer(429, "7")
            with pytest.raises(InvalidStatus) as refused:
                await connect(proxy.url)
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["Retry-After"] == "7"
            proxy.hang_up()
            with pytest.raises((InvalidMessage, OSError)):
                await connect(proxy.url)
            proxy.well()
            async with connect(proxy.url):
                assert proxy.links == 1

    asyncio.run(scenario())


def test_it_drips_and_slips_in():
    async def scenario():
        async with proxied() as proxy, connect(proxy.url, compression=None, close_timeout=0.2) as socket:
            proxy.say(text(b"slipped in"))
            while await socket.recv() != "slipped in":
                pass
            proxy.drip(30.0)  # ten frames of three bytes a second, not a hundred
            await next_number(socket)
            began_s, before = time.monotonic(), await next_number(socket)
            for _ in range(5):
                after = await next_number(socket)
            assert after <= before + 6 and time.monotonic() - began_s > 0.3

    asyncio.run(scenario())


def test_what_breaks_the_framing_is_not_what_another_would_send():
    assert len({*FRAMING}) == len(FRAMING)
