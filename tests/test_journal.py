"""What a run of the daemon puts on record besides a trader's acts."""

import asyncio
import json
from hashlib import sha256

import msgspec
from desk import said
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update
from structlog.testing import capture_logs

from kvd import __version__
from kvd.app.journal import Journal
from kvd.config import Settings
from kvd.wire import Encoder

HOUR = 3600 * SECOND
TOKENS = ("desk:read+lock:hushhushhushhush", "screen:read:hush-hush-hush-hush")


def journal(path, now_us=lambda: NOON):
    changes = {"audit": {"path": str(path)}, "publish": {"tokens": TOKENS, "port": 9000}}
    return Journal(msgspec.convert(changes, Settings), "e1", now_us)


def test_a_start_says_who_runs_with_what_and_no_secret(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        for _ in range(2):
            async with journal(path):
                pass

    asyncio.run(run())
    (kind, started), (_, again) = [line for line in said(path) if line[0] == "started"]
    assert (kind, started["version"], started["epoch"]) == ("started", __version__, "e1")
    assert started["configuration"]["publish.port"] == "9000"
    assert started["configuration"]["publish.tokens"] == "********"
    assert started["tokens"] == {"desk": ["lock", "read"], "screen": ["read"]}
    compact = json.dumps(started["configuration"], separators=(",", ":"), ensure_ascii=False)
    assert started["configuration_sha256"] == sha256(compact.encode()).hexdigest()
    assert "continues" not in started
    stopped = path.read_bytes().splitlines()[2]
    assert again["continues"] == {"number": 3, "digest": sha256(stopped).hexdigest()}
    assert b"hush" not in path.read_bytes()


def test_the_digest_of_what_was_published_is_that_of_what_subscribers_got(tmp_path):
    """From the frames of the surface topic, by the recipe of docs/operations.md."""
    path = tmp_path / "audit.ndjson"
    encoder = Encoder("e1")
    frames = []

    async def run():
        async with journal(path) as j:
            for step in range(5):
                moved = update(smile(publish_us=NOON + step), smile(CHRISTMAS + DAY, tau=0.5 + step))
                for batch in (moved, update(withdrawn=(CHRISTMAS,)), update(smile(underlying="ETH"))):
                    messages = encoder.encode(batch)
                    j.published(messages)
                    frames.extend(message.payload for message in messages)

    asyncio.run(run())
    got = {}
    for frame in frames:
        topic = json.loads(frame)["topic"]
        if topic.startswith("surface."):
            got.setdefault(topic, []).append(frame[frame.index(b'"smile":') + 8 : -1] + b"\n")
    ((_, published),) = [line for line in said(path) if line[0] == "published"]
    assert published["epoch"] == "e1" and published["since"] == "2026-07-02T12:00:00.000000Z"
    assert published["topics"] == {
        topic: {
            "from_seq": 1,
            "to_seq": len(bodies),
            "smiles": len(bodies),
            "sha256": sha256(b"".join(bodies)).hexdigest(),
        }
        for topic, bodies in got.items()
    }
    assert {topic: len(bodies) for topic, bodies in got.items()} == {
        "surface.deribit.BTC": 15,
        "surface.deribit.ETH": 5,
    }


def test_every_hour_is_closed_with_a_head_that_is_also_logged(tmp_path):
    path = tmp_path / "audit.ndjson"
    encoder = Encoder("e1")

    async def run():
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        # the clock stands a twentieth of a second before the hour, and begins to run
        async with journal(path, lambda: NOON + HOUR - SECOND // 20 + round((loop.time() - begun_s) * SECOND)) as j:
            keeping = asyncio.ensure_future(j.keep())
            j.published(encoder.encode(update(smile())))
            async with asyncio.timeout(5):
                while j.statistics().lines < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            j.published(encoder.encode(update(smile())))
            keeping.cancel()
            await asyncio.wait([keeping])

    with capture_logs() as events:
        asyncio.run(run())
    lines = path.read_bytes().splitlines()
    assert [kind for kind, _ in said(path)] == ["started", "published", "published", "stopped"]
    assert [content["topics"]["surface.deribit.BTC"]["to_seq"] for _, content in said(path)[1:3]] == [1, 2]
    assert json.loads(lines[1])["time"][:16] == "2026-07-02T13:00" == said(path)[2][1]["since"][:16]
    heads = [(event["number"], event["digest"]) for event in events if event["event"] == "audit.head"]
    assert heads == [(2, sha256(lines[1]).hexdigest()), (4, sha256(lines[3]).hexdigest())]


def test_an_end_by_an_error_says_which(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with journal(path):
            raise ZeroDivisionError

    try:
        asyncio.run(run())
    except ZeroDivisionError:
        assert said(path)[-1] == ("stopped", {"for": "ZeroDivisionError"})


def test_without_a_path_nothing_is_kept():
    async def run():
        async with Journal(Settings(), "e1", lambda: NOON) as j:
            j.published(Encoder("e1").encode(update(smile())))
            j.note("released", {})
            await j.keep()
            assert j.statistics().lines == 0

    asyncio.run(run())
