"""The whole way: an exchange over a real socket, the daemon, a subscriber, the tape, and the same once more."""

import asyncio
import io
import json
import re
import sys
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from time import monotonic

import msgspec
import pytest
import zstandard
from command_line import ROOT, ended, environment, line_with, running, stream_of, until
from websockets.asyncio.client import connect

from kvd.app import daemon as app
from kvd.app import replay
from kvd.config import Settings
from kvd.feeds.replay import replay as replay_tape
from kvd.feeds.simulate import Exchange
from kvd.quotes import Quote
from kvd.venues import INTERRUPTED, deribit

ATTEMPTS = 3


def settings(url):
    """The tapes are a few seconds long each, so that every recording is of several."""
    changes = {
        "recorder": {"rotate_h": 0.001},
        "deribit": {"url": url, "currencies": ("BTC",)},
        "feed": {"stale_after_s": 2.0},
        "publish": {"port": 0},
    }
    return msgspec.convert(changes, Settings)


@asynccontextmanager
async def daemon_and_subscriber(url, topic, tape=None):
    """A daemon that follows `url`, and the list that grows with every frame of `topic` until the daemon has ended."""
    daemon = app.Daemon(settings(url))
    heard = []

    async def listen(client):
        async for frame in client:
            heard.append(frame)

    async with asyncio.TaskGroup() as group, app.running(daemon, tape):
        client = await connect(daemon.url, max_queue=None)
        await client.send(json.dumps({"op": "subscribe", "topics": [topic]}))
        group.create_task(listen(client))
        yield daemon, heard


def updates(heard):
    """The frames that are updates, by topic and number."""
    messages = ((json.loads(frame), frame) for frame in heard)
    return {(m["topic"], m["seq"]): frame for m, frame in messages if m["type"] == "update"}


async def page(daemon, path):
    """Status and text of a page of the daemon's."""

    def get():
        try:
            return urllib.request.urlopen(daemon.url.replace("ws:", "http:").replace("/v1/stream", path), timeout=5)
        except urllib.error.HTTPError as refused:
            return refused

    with await asyncio.to_thread(get) as answer:
        return answer.status, answer.read().decode()


# make demo, and the ten lines of the README


def test_the_demo_fits_and_a_subscriber_written_from_the_readme_hears_it(tmp_path):
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    assert len(snippet.splitlines()) <= 10
    assert set(re.findall(r"^(?:import|from) (\w+)", snippet, re.MULTILINE)) == {"kvd"}

    async def scenario():
        began_s = monotonic()
        async with running("demo", "--seconds", 12) as demo:
            url = await stream_of(demo)
            program = tmp_path / "subscriber.py"
            program.write_text(snippet.replace("ws://127.0.0.1:8765", url))
            assert url in program.read_text()
            fitted = set()
            while len(fitted) < 8:
                fitted.add((await line_with(demo.stdout, "deribit.BTC")).split()[1])
            assert monotonic() - began_s < 15
            subscriber = await asyncio.create_subprocess_exec(
                sys.executable, "-u", program, env=environment(PYTHONPATH=str(ROOT)), stdout=PIPE, stderr=PIPE
            )
            try:
                for _ in range(100):
                    expiry_us, state, atm_vol, _ = (await line_with(subscriber.stdout, "live")).split()
                    assert int(expiry_us) > 0 and state == "live" and 0.1 < float(atm_vol) < 3.0
            finally:
                subscriber.kill()
                await subscriber.communicate()
            assert await ended(demo, 15) == 0

    asyncio.run(scenario())


# What was published live, the tape publishes again


def lines_of(tape):
    return io.BytesIO(
        zstandard.ZstdDecompressor().stream_reader(tape.read_bytes(), read_across_frames=True).read()
    ).readlines()


async def record_live(tape):
    """Every update of eight seconds with an outage in the middle, and how many events an overload has cost."""
    async with Exchange(7, instruments=300, rate=400.0) as exchange:
        async with daemon_and_subscriber(exchange.url, "smile.*.*.*", tape) as (daemon, heard):
            await asyncio.sleep(4)
            exchange.hang_up()
            await asyncio.sleep(4)
        statistics = daemon.feeds["deribit"].statistics()
    assert (statistics.gaps, statistics.bad_frames) == (1, 0)
    (epoch,) = {json.loads(frame)["epoch"] for frame in updates(heard).values()}
    live = {key: frame.replace(f'"epoch":"{epoch}"', '"epoch":"replay"') for key, frame in updates(heard).items()}
    return live, daemon.inbox.overwrites


def test_a_tape_replays_to_what_was_published_live(tmp_path):
    for attempt in range(ATTEMPTS):  # a machine that is busy otherwise may overload the daemon, which is counted
        tape = tmp_path / f"{attempt}"
        live, overwrites = asyncio.run(record_live(tape))
        if not overwrites:
            break
    assert not overwrites
    tapes = sorted(tape.iterdir())
    assert 2 <= len(tapes) <= 5
    whole = tmp_path / "whole.ndjson"
    whole.write_bytes(b"".join(line for each in tapes for line in lines_of(each) if not line.startswith(b"#")))
    outputs = [tmp_path / name for name in ("first", "second", "third", "fourth")]
    replayed = [
        replay(tape, settings("ws://127.0.0.1:1/"), outputs[0]).statistics,
        replay(tape, settings("ws://127.0.0.1:1/"), outputs[1]).statistics,
        replay(tapes[0], settings("ws://127.0.0.1:1/"), outputs[2], more=tapes[1:]).statistics,
        replay(whole, settings("ws://127.0.0.1:1/"), outputs[3]).statistics,
    ]
    assert all(each.frames == replayed[0].frames and each.gaps == 1 for each in replayed)
    lines = outputs[0].read_text("utf-8").splitlines()
    replayed = updates(lines)
    assert len(replayed) == len(lines)
    assert [key for key in live if live[key] != replayed.get(key)] == []
    newest = {topic: seq for topic, seq in replayed}  # noqa: C416 the last of each topic stays
    for topic, last in newest.items():
        numbers = [seq for of, seq in live if of == topic]
        assert numbers == list(range(numbers[0], last + 1))
    assert len(live) > 500 and len(newest) == 12
    assert sum(f'"reason":"{INTERRUPTED}"' in line for line in lines) == 12
    assert all(output.read_bytes() == outputs[0].read_bytes() for output in outputs)


def test_a_tape_of_many_reads_alone(tmp_path):
    """The second tape has heard no listing, and knows what the first was told: price steps and expiry instants."""

    async def scenario():
        async with (
            Exchange(7, instruments=300, rate=400.0) as exchange,
            app.running(app.Daemon(settings(exchange.url)), tmp_path / "tapes"),
        ):
            await until(lambda: len(list((tmp_path / "tapes").glob("*"))) > 2)

    asyncio.run(scenario())
    first, second, *_ = sorted((tmp_path / "tapes").iterdir())
    listings = {line[2:] for line in lines_of(second) if line.startswith(b"# ")}
    assert len(listings) == 2 and listings <= set(lines_of(first))
    session = deribit.Session(Settings().deribit)
    quotes = [event for event in replay_tape(second, session) if isinstance(event, Quote)]
    assert quotes and {quote.instrument.tick_size for quote in quotes} == {0.0001}


# What a subscriber is told of a feed that is lost


def told(heard, after=0):
    """What each expiry was said to be, oldest first, in the updates among the frames from `after` on."""
    said = {}
    for frame in updates(heard[after:]).values():
        smile = json.loads(frame)["smile"]
        said.setdefault(smile["expiry"], []).append((smile["state"], smile["reason"]))
    return said


def all_live(said):
    return len(said) == 12 and {states[-1] for states in said.values()} == {("live", "")}


@pytest.mark.parametrize("loss", ["hang_up", "silence"])
def test_a_lost_feed_is_said_in_band_and_so_is_its_return(loss):
    async def scenario():
        async with (
            Exchange(7, instruments=300, rate=400.0) as exchange,
            daemon_and_subscriber(exchange.url, "surface.deribit.BTC") as (_, heard),
        ):
            await until(lambda: all_live(told(heard)))
            before = len(heard)
            exchange.hang_up() if loss == "hang_up" else exchange.silence("ticker", "deribit_price_index")
            widened = ("widened", INTERRUPTED)
            await until(lambda: sum(widened in states for states in told(heard, before).values()) == 12, 5.0)
            exchange.silence()
            await until(lambda: all_live(told(heard, before)))

    asyncio.run(scenario())


def test_readiness_goes_with_the_data_and_comes_back():
    async def scenario():
        async with (
            Exchange(7, instruments=300, rate=400.0) as exchange,
            daemon_and_subscriber(exchange.url, "status") as (daemon, heard),
        ):
            assert (await page(daemon, "/readyz"))[0] == 503
            await until(lambda: not daemon.missing())
            assert await page(daemon, "/readyz") == (200, "ready\n")
            listed = json.loads((await page(daemon, "/v1/instruments?underlying=BTC"))[1])["instruments"]
            assert 0 < sum(one["counts"] for one in listed) <= len(listed) <= 300
            exchange.silence("ticker", "deribit_price_index")
            await until(lambda: '"stale"' in heard[-1], 5.0)
            status, why = await page(daemon, "/readyz?verbose")
            since = r"since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
            assert status == 503
            assert re.fullmatch(rf"not ready\nmissing deribit: no data from the venue: stale, {since}\n", why)
            assert (await page(daemon, "/livez"))[0] == 200
            exchange.silence()
            await until(lambda: not daemon.missing())
            assert await page(daemon, "/readyz") == (200, "ready\n")
            await until(lambda: '"connected"' in heard[-1])
        assert daemon.missing()["shutdown"] == "kvd is stopping"
        said = [json.loads(frame)["status"] for frame in heard if '"type":"status"' in frame]
        assert said[-2:] == [
            {"venue": "deribit", "state": "lost", "reason": "stale"},
            {"venue": "deribit", "state": "connected"},
        ]

    asyncio.run(scenario())
