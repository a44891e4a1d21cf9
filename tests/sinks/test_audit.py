"""The audit log on a disk that may fill up, tear and be tampered with."""

import asyncio
import json
import re
import resource
import stat
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import NOON
from structlog.testing import capture_logs

from kvd.config import ConfigError
from kvd.sinks import chain
from kvd.sinks.audit import MOST_WAITING, Audit, AuditError


def now_us():
    return NOON


def verdict(path, digest=None):
    with path.open("rb") as lines:
        return chain.verify(lines, digest)


def kinds(path):
    """Of the whole lines; one that was torn off ends in no digest."""
    whole = re.compile(rb'\{.*,"digest":"[0-9a-f]{64}"\}')
    return [json.loads(line)["kind"] for line in path.read_bytes().splitlines() if whole.fullmatch(line)]


def write(path, *acts):
    """A run that writes these lines, each by itself; the head after it."""

    async def run():
        async with Audit(path, now_us) as audit:
            for act in acts:
                await audit.record(act, {"id": act})
        return audit.head

    return asyncio.run(run())


@contextmanager
def disk_full_at(size):
    """Nothing grows past `size` bytes while the block lasts: a write stops in the middle, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_log_is_continued_by_the_next_run_and_read_by_its_owner_alone(tmp_path):
    path = tmp_path / "audit.ndjson"
    first = write(path, "started", "lock", "stopped")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert verdict(path) == chain.Verdict(first, (), None, None)
    second = write(path, "started", "stopped")
    assert (second.number, kinds(path)) == (5, ["started", "lock", "stopped", "started", "stopped"])
    assert verdict(path, first.digest) == chain.Verdict(second, (), None, 3)


def test_lines_are_written_in_order_however_many_ask_at_once(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with Audit(path, now_us) as audit:
            asked = [asyncio.ensure_future(audit.record("lock", {"id": number})) for number in range(200)]
            await asyncio.gather(*asked)
            assert audit.statistics().lines == 200
            audit.note("released", {"id": 200})
            await audit.record("lock", {"id": 201})
            audit.note("released", {"id": 202})

    asyncio.run(run())
    assert [json.loads(line)["content"]["id"] for line in path.read_bytes().splitlines()] == list(range(203))
    assert verdict(path).change is None


def test_what_is_recorded_is_in_the_file_when_it_counts(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with Audit(path, now_us) as audit:
            for number in range(1, 6):
                await audit.record("lock", {})
                assert path.read_bytes().count(b"\n") == number == audit.head.number
                assert verdict(path).head == audit.head

    asyncio.run(run())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_wherever_a_crash_tears_the_file_the_next_run_goes_on_and_says_so(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torn") / "audit.ndjson"
    write(path, "started", "lock", "unlock")
    for _ in range(data.draw(st.integers(1, 3))):  # a repair may be torn, too
        whole = path.read_bytes()
        kept = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:kept])
        before = verdict(path)
        head = write(path, "started")
        assert path.read_bytes().startswith(whole[:kept])
        after = verdict(path)
        assert (after.head, after.change) == (head, None)
        torn = before.change is not None and "is torn" in before.change.why
        assert (head.number - before.head.number, len(after.torn) > len(before.torn)) == (2 if torn else 1, torn)
        assert kinds(path)[-2 if torn else -1 :] == ["repaired", "started"][0 if torn else 1 :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [lines[0], lines[2]], r"line 2 of .*audit.ndjson has the number 3 where 2 belongs"),
        (lambda lines: [lines[0], lines[1].replace(b"lock", b"loch"), lines[2]], "line 2 of .* was changed"),
        (lambda lines: [lines[0], b"# a remark\n", *lines[1:]], "line 2 of .* is no line of the log"),
    ],
)
def test_a_log_that_was_changed_is_not_continued(tmp_path, change, says):
    path = tmp_path / "audit.ndjson"
    write(path, "started", "lock", "stopped")
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=says):
        write(path, "started")
    assert path.read_bytes() == before


def test_a_place_that_cannot_hold_a_log_is_said_with_the_mend(tmp_path):
    for path, says in [
        (tmp_path, "Is a directory"),
        (tmp_path / "absent" / "audit.ndjson", "No such file or directory"),
        ("/dev/null", "is no file that keeps"),
    ]:
        with pytest.raises(ConfigError, match=rf"audit.path: {path} .*{says}"):
            write(path, "started")


def test_two_do_not_write_the_same_log(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with Audit(path, now_us) as audit:
            with pytest.raises(ConfigError, match="another kvd writes to it"):
                Audit(path, now_us)
            await audit.record("lock", {})

    asyncio.run(run())
    assert verdict(path).head.number == 1


def test_a_full_disk_refuses_and_is_said_and_what_waits_is_written_when_there_is_room(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with Audit(path, now_us) as audit:
            await audit.record("started", {"padding": "x" * 20_000})
            size = path.stat().st_size
            with disk_full_at(size + 100):
                audit.note("released", {"id": "a"})
                with pytest.raises(AuditError, match="File too large"):
                    await audit.record("lock", {"id": "b"})
                with pytest.raises(AuditError, match="File too large"):
                    await audit.record("lock", {"id": "c"})
                assert path.stat().st_size == size  # nothing is left half written
                assert verdict(path).change is None
                assert audit.statistics()[1:3] == (1, True)
                audit.note("released", {"id": "d"})
                assert not await audit.flush()
            assert await audit.flush()
            assert audit.statistics() == (4, 2, False, 0)
            await audit.record("lock", {"id": "e"})

    with capture_logs() as events:
        asyncio.run(run())
    assert [event["event"] for event in events] == ["audit.failed", "audit.recovered"]
    said = [json.loads(line) for line in path.read_bytes().splitlines()][1:]
    ids = [(line["kind"], line["content"].get("id", line["content"].get("why"))) for line in said]
    assert ids == [("released", "a"), ("failed", "File too large"), ("released", "d"), ("lock", "e")]
    assert verdict(path).change is None


def test_what_waits_for_a_full_disk_is_bounded_and_what_is_lost_is_counted_and_said(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with Audit(path, now_us) as audit:
            await audit.record("started", {"padding": "x" * 20_000})
            with disk_full_at(path.stat().st_size):
                for number in range(MOST_WAITING + 50):
                    audit.note("released", {"id": number})
                assert not await audit.flush()
            assert await audit.flush() and await audit.flush()
            assert audit.statistics().lost == 50

    asyncio.run(run())
    assert kinds(path) == ["started", *["released"] * MOST_WAITING, "failed", "lost"]
    assert json.loads(path.read_bytes().splitlines()[-1])["content"] == {"lines": 50}


def test_a_log_that_is_deleted_under_kvd_counts_as_failing(tmp_path):
    path = tmp_path / "audit.ndjson"

    async def run():
        async with Audit(path, now_us) as audit:
            await audit.record("started", {})
            path.unlink()
            with pytest.raises(AuditError, match="was deleted"):
                await audit.record("lock", {})
            assert audit.statistics().failing
            audit.note("stopped", {})

    with capture_logs() as events:
        asyncio.run(run())
    assert [event["event"] for event in events] == ["audit.failed", "audit.unwritten"]
    assert events[-1]["lines"] == 2  # that it failed, and that it stopped


def test_the_event_loop_goes_on_while_the_disk_is_busy(tmp_path):
    """A megabyte takes the disk a while, in which the loop has turns."""

    async def run():
        async with Audit(tmp_path / "audit.ndjson", now_us) as audit:
            turns = 0

            async def turn():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            turning = asyncio.ensure_future(turn())
            for _ in range(20):
                before = turns
                await audit.record("lock", {"padding": "x" * 1_000_000})
                assert turns > before + 1
            turning.cancel()

    asyncio.run(run())
