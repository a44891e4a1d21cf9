import asyncio
import shutil
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import deribit_wire as wire
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kvd.config import Deribit
from kvd.feeds.replay import replay
from kvd.feeds.tape import read_tape, read_tapes
from kvd.sinks.record import BLOCK_S, Block, Recorder, RecordError
from kvd.sinks.reel import Bounds, Reel
from kvd.sinks.tape import OneTape
from kvd.venues import deribit

SUFFIXES = [".ndjson", ".gz", ".zst"]
SECOND_US = 1_000_000
START_US = 1_700_000_000_999_999
PATIENCE_S = 15.0
HOURLY = Bounds(3600 * SECOND_US, 1 << 28)


def on_tape(path, *steps):
    """Record to a new tape: (frame, arrival) or None for a gap."""

    async def scenario():
        async with Recorder("deribit", OneTape(path)) as recorder:
            for step in steps:
                recorder.record(*step) if step else recorder.record_gap()

    asyncio.run(scenario())


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 a disk has no event to wait for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_recorded_is_read_back(tmp_path: Path, suffix: str):
    path = tmp_path / f"tape{suffix}"
    lines = [(START_US + number * 7_919, wire.index(1 + number)) for number in range(3000)]
    on_tape(path, *((frame, at) for at, frame in lines), None, (b"", START_US))
    assert list(read_tape(path)) == [*lines, None, (START_US, b"")]


@settings(deadline=None)
@given(st.lists(st.none() | st.tuples(st.integers(0, 4_000_000_000_000_000), st.binary(max_size=40)), max_size=30))
def test_any_bytes_come_back_with_line_breaks_as_spaces(tmp_path_factory: pytest.TempPathFactory, lines):
    path = tmp_path_factory.mktemp("tapes") / "tape.zst"
    on_tape(path, *(line and (line[1], line[0]) for line in lines))
    expected = [line and (line[0], line[1].replace(b"\n", b" ")) for line in lines]
    assert list(read_tape(path)) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_tape_replays_the_events_that_were_live(tmp_path: Path, suffix: str):
    path = tmp_path / f"tape{suffix}"
    frames = [
        wire.result(3, [wire.row("BTC-29DEC23-40000-C", expiration_timestamp=1_703_840_400_000)]),
        wire.ticker(),
        wire.index(),
        wire.ticker("BTC-29DEC23-40000-C", best_bid_price=0.02).replace(b',"', b',\n"'),
        b"garbage",
    ]
    session, live = deribit.Session(Deribit()), []
    for number, frame in enumerate(frames):
        live += session.parse(frame, START_US + number).events if frame != b"garbage" else []
    on_tape(path, *((frame, START_US + number) for number, frame in enumerate(frames)))
    assert list(replay(path, deribit.Session(Deribit()))) == live
    assert len(live) == 3


def test_an_existing_file_is_never_touched(tmp_path: Path):
    path = tmp_path / "tape.zst"
    path.write_bytes(b"precious")
    with pytest.raises(RecordError, match=r"tape\.zst exists already; choose another name"):
        OneTape(path)
    assert path.read_bytes() == b"precious"


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path):
    with pytest.raises(RecordError, match=r"No such file or directory; choose a place"):
        OneTape(tmp_path / "no" / "tape.zst")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_quiet_stream_is_on_disk_after_a_second(tmp_path: Path, suffix: str):
    """Nothing else arrives: what a kill would cost is bounded by time, and not by the next frame."""
    path = tmp_path / f"tape{suffix}"

    async def scenario():
        async with Recorder("deribit", OneTape(path)) as recorder:
            recorder.record(b"{}", START_US)
            began_s = asyncio.get_running_loop().time()
            await until(lambda: recorder.statistics().frames)
            assert asyncio.get_running_loop().time() - began_s < BLOCK_S + 5
            assert list(read_tape(path)) == [(START_US, b"{}")]

    asyncio.run(scenario())


class Gated:
    """A tape whose disk takes a block each time that `let` is released."""

    def __init__(self, tape):
        self.tape, self.let = tape, threading.Semaphore(0)
        self.place, self.written_bytes, self.tape_bytes = tape.place, 0, 0
        self.blocks = 0

    def write(self, block: Block):
        assert self.let.acquire(timeout=PATIENCE_S)
        self.tape.write(block)
        self.blocks += 1

    def close(self):
        self.tape.close()


def test_where_the_disk_is_slower_whole_blocks_are_left_out_and_the_tape_says_so(tmp_path: Path):
    frame, blocks = b"x" * 1000, 12
    slow = Gated(OneTape(tmp_path / "tape.ndjson"))

    async def scenario():
        async with Recorder("deribit", slow, queue_bytes=3500) as recorder:
            for second in range(blocks):
                recorder.record(frame, second * SECOND_US)
                recorder.record(b"%d" % second, second * SECOND_US + 1)
                assert recorder.statistics().queue_bytes < 3500 + 2 * 1100
            recorder.record(b"small enough, but what follows a hole waits until there is room for more", 12 * SECOND_US)
            recorder.flush()
            seen = recorder.statistics()
            assert seen.dropped == {"slow": 2 * (blocks - 3) + 1} and not seen.why
            slow.let.release(3)
            await until(lambda: not recorder.statistics().queue_bytes)
            slow.let.release(1)
            recorder.record(b"late", 20 * SECOND_US)
            await until(lambda: recorder.statistics().frames == 7)

    with capture_logs() as said:
        asyncio.run(scenario())
    assert [line and line[1][:4] for line in read_tape(tmp_path / "tape.ndjson")] == [
        b"xxxx", b"0", b"xxxx", b"1", b"xxxx", b"2", None, b"late"
    ]  # fmt: skip
    assert [event["event"] for event in said] == ["recorder.behind", "recorder.caught_up", "recorder.ended"]
    assert said[1]["dropped_frames"] == 19


def test_the_loop_never_waits_for_the_disk(tmp_path: Path):
    stuck = Gated(OneTape(tmp_path / "tape.zst"))

    async def scenario():
        async with Recorder("deribit", stuck) as recorder:
            for number in range(2000):
                recorder.record(b"x" * 1000, number * 10_000)
            await until(lambda: recorder.statistics().queue_bytes > 1_500_000)
            assert not recorder.statistics().frames
            stuck.let.release(1000)

    asyncio.run(scenario())
    assert sum(1 for _ in read_tape(tmp_path / "tape.zst")) == 2000


def test_a_disk_that_hangs_keeps_nobody_from_ending(tmp_path: Path):
    stuck = Gated(OneTape(tmp_path / "tape.zst"))

    async def scenario():
        loop = asyncio.get_running_loop()
        async with Recorder("deribit", stuck) as recorder:
            recorder.record(b"{}", START_US)
            recorder.flush()
            began_s = loop.time()
        assert loop.time() - began_s < 4
        assert recorder.statistics().dropped == {"unwritten": 1}
        stuck.let.release(10)
        await until(lambda: stuck.blocks)
        stuck.close()

    with capture_logs() as said:
        asyncio.run(scenario())
    (ended,) = said
    assert (ended["event"], ended["log_level"], ended["frames"], ended["dropped_frames"]) == (
        "recorder.ended", "error", 0, 1
    )  # fmt: skip


@asynccontextmanager
async def into(folder):
    async with Recorder("deribit", Reel("deribit", folder, HOURLY)) as recorder:
        yield recorder


def read_folder(folder):
    return [line for tape in read_tapes(folder, "deribit") for line in tape]


def test_a_folder_that_cannot_be_had_is_a_state_that_ends_and_costs_nothing_meanwhile(tmp_path: Path):
    folder = tmp_path / "tapes"
    folder.write_text("in the way")

    async def scenario():
        async with into(folder) as recorder:
            recorder.record(b"{}", START_US)
            recorder.flush()
            await until(lambda: recorder.statistics().why)
            seen = recorder.statistics()
            assert (seen.why, seen.frames, seen.dropped) == ("File exists", 0, {})
            recorder.record(b"[]", START_US + SECOND_US)
            folder.unlink()
            await until(lambda: recorder.statistics().frames == 2)
            assert not recorder.statistics().why and recorder.statistics().failures >= 1

    with capture_logs() as said:
        asyncio.run(scenario())
    assert [event["event"] for event in said] == ["recorder.failed", "recorder.recovered", "recorder.ended"]
    assert said[0]["why"] == "File exists" and said[0]["place"] == str(folder)
    assert read_folder(folder) == [None, (START_US, b"{}"), (START_US + SECOND_US, b"[]")]


def test_a_folder_that_is_deleted_is_made_again_and_what_was_in_it_is_an_interruption(tmp_path: Path):
    folder = tmp_path / "tapes"

    async def scenario():
        async with into(folder) as recorder:
            recorder.record(b"{}", START_US)
            await until(lambda: recorder.statistics().frames == 1)
            shutil.rmtree(folder)
            recorder.record(b"[]", START_US + SECOND_US)
            await until(lambda: recorder.statistics().why == "the tape was deleted")
            await until(lambda: recorder.statistics().frames == 2)

    asyncio.run(scenario())
    assert read_folder(folder) == [None, (START_US + SECOND_US, b"[]")]


def test_what_the_disk_never_took_is_counted_at_the_end(tmp_path: Path):
    async def scenario():
        async with into(tmp_path / "no" / "tapes") as recorder:
            recorder.record(b"{}", START_US)
        return recorder.statistics()

    seen = asyncio.run(scenario())
    assert (seen.frames, seen.dropped, seen.why) == (0, {"unwritten": 1}, "No such file or directory")


def test_a_fault_of_ours_ends_the_daemon(tmp_path: Path):
    class Broken(Exception):
        pass

    class Wrong(Gated):
        def write(self, block: Block):
            raise Broken(block)

    tape = OneTape(tmp_path / "tape.zst")

    async def scenario():
        async with Recorder("deribit", Wrong(tape)) as recorder:
            recorder.record(b"{}", START_US)
            await recorder.broken()

    with pytest.raises(Broken):
        asyncio.run(scenario())
    tape.close()
