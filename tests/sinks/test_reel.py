"""Rotation: one tape after another that read as one, and each by itself."""

import os
import resource
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import deribit_wire as wire
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kvd.config import Deribit
from kvd.feeds.replay import replay
from kvd.feeds.tape import TapeError, read_tapes
from kvd.quotes import Gap
from kvd.sinks.record import Block, RecordError
from kvd.sinks.reel import Bounds, Reel, make_folder
from kvd.sinks.tape import OneTape
from kvd.venues import deribit

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
TWO_US = 1_795_442_400 * SECOND_US  # 2026-11-23T14:00:00Z
HOURLY = Bounds(HOUR_US, 1 << 28)
LISTING = wire.result(3, [wire.row("BTC-29DEC28-40000-C", tick_size=0.25, expiration_timestamp=1_861_689_600_123)])


def line(at_us, frame):
    at = datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(microsecond=at_us % SECOND_US)
    return f"{at.isoformat(timespec='microseconds')[:26]}0Z ".encode() + frame + b"\n"


def block(at_us, *frames, **more):
    """Frames a millisecond apart."""
    lines = b"".join(line(at_us + number * 1000, frame) for number, frame in enumerate(frames))
    return Block(at_us, lines, len(frames), **more)


def listing_block(at_us):
    return block(at_us, LISTING, lasting=(("option BTC", line(at_us, LISTING)),))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def text(path):
    return zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()


def session():
    return deribit.Session(Deribit())


def reel_of(folder, *blocks, bounds=HOURLY):
    reel = Reel("deribit", folder, bounds)
    for each in blocks:
        reel.write(each)
    reel.close()


def test_a_tape_begins_with_each_hour_and_is_named_for_its_first_second(tmp_path: Path):
    reel_of(
        tmp_path,
        block(TWO_US - 1, b"1"),
        block(TWO_US, b"2"),
        block(TWO_US + SECOND_US, b"3"),
        block(TWO_US + HOUR_US + 7 * SECOND_US, b"4"),
    )
    assert names(tmp_path) == [
        "deribit-2026-11-23T13-59-59Z.ndjson.zst",
        "deribit-2026-11-23T14-00-00Z.ndjson.zst",
        "deribit-2026-11-23T15-00-07Z.ndjson.zst",
    ]
    assert [len(text(tmp_path / name).splitlines()) for name in names(tmp_path)] == [2, 2, 1]


def test_a_tape_ends_beyond_its_size_and_none_is_ever_written_over(tmp_path: Path):
    blocks = [block(TWO_US + number * 1000, os.urandom(600).hex().encode()) for number in range(12)]
    reel_of(tmp_path, *blocks, bounds=Bounds(HOUR_US, 1))
    assert names(tmp_path)[0] == "deribit-2026-11-23T14-00-00Z.ndjson.zst"
    assert names(tmp_path)[1:] == [f"deribit-2026-11-23T14-00-00Z_{n:02}.ndjson.zst" for n in range(2, 13)]
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    reel_of(tmp_path, block(TWO_US, b"new"))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert b"".join(text(tape.path) for tape in read_tapes(tmp_path, "deribit")) == (
        b"\n" + b"".join(each.lines for each in blocks) + b"\n" + line(TWO_US, b"new")
    )


def test_a_tape_that_begins_later_repeats_what_it_is_read_by(tmp_path: Path):
    ticker = wire.ticker("BTC-29DEC28-40000-C", timestamp=1_861_689_600_000)
    reel_of(tmp_path, listing_block(TWO_US), block(TWO_US + HOUR_US, ticker), block(TWO_US + 2 * HOUR_US, ticker))
    first, second, third = (tmp_path / name for name in names(tmp_path))
    assert text(first) == b"\n" + line(TWO_US, LISTING)
    assert text(second) == b"# " + line(TWO_US, LISTING) + line(TWO_US + HOUR_US, ticker)
    for tape in (second, third):
        played = replay(tape, session())
        (quote,) = played
        assert quote.instrument.tick_size == 0.25 and quote.instrument.expiry_us == 1_861_689_600_123_000
        assert played.statistics()[:2] == (1, 0)
    whole = replay(tmp_path, session())
    assert [quote.receive_us for quote in whole] == [TWO_US + HOUR_US, TWO_US + 2 * HOUR_US]
    assert whole.statistics()[:3] == (3, 0, 0)


def test_a_listing_that_was_lost_is_repeated_behind_the_hole(tmp_path: Path):
    ticker = wire.ticker("BTC-29DEC28-40000-C")
    lost = (("option BTC", line(TWO_US + 5, LISTING)),)
    after = block(TWO_US + SECOND_US, ticker, interrupted=True, lasting=lost)
    for kind in ("reel", "one"):
        target = tmp_path / kind if kind == "reel" else tmp_path / "one.ndjson"
        if kind == "reel":
            reel_of(target, block(TWO_US, ticker), after)
        else:
            tape = OneTape(target)
            tape.write(block(TWO_US, ticker))
            tape.write(after)
            tape.close()
        before, gap, quote = replay(target, session())
        assert gap == Gap("deribit", TWO_US, "feed interrupted")
        assert before.instrument.tick_size == 0.0005 and quote.instrument.tick_size == 0.25


FRAMES = st.sampled_from([wire.ticker(), wire.index(), LISTING, b"garbage", wire.ticker("BTC-29DEC28-40000-C")])
STEPS = st.lists(st.tuples(st.sampled_from(["frame", "gap", "lost"]), FRAMES, st.integers(0, 40)), min_size=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(1, 400), st.integers(5, 100))
def test_tapes_read_as_the_one_tape_that_they_were_cut_from(tmp_path_factory, steps, rotate_bytes, rotate_s):
    folder = tmp_path_factory.mktemp("tapes")
    reel = Reel("deribit", folder / "reel", Bounds(rotate_s * SECOND_US, rotate_bytes))
    one = OneTape(folder / "one.ndjson")
    at_us, carried, interrupted = TWO_US, {}, False
    for kind, frame, seconds in steps:
        at_us += seconds * SECOND_US
        carried |= {"option BTC": line(at_us, LISTING)} if frame is LISTING and kind != "gap" else {}
        interrupted |= kind == "lost"
        if kind != "lost":
            lines, frames = (line(at_us, frame), 1) if kind == "frame" else (b"\n", 0)
            made = Block(at_us, lines, frames, interrupted, tuple(carried.items()))
            reel.write(made)
            one.write(made)
            carried, interrupted = {}, False
    reel.close()
    one.close()
    expected, played = replay(folder / "one.ndjson", session()), []
    if any(kind == "frame" for kind, _, _ in steps):
        played = replay(folder / "reel", session())
    assert list(played) == list(expected)
    if played:
        assert played.statistics()[:3] == expected.statistics()[:3]


def test_the_oldest_tapes_of_the_venue_make_room(tmp_path: Path):
    (tmp_path / "deribit-notes.txt").write_text("x" * 50_000)
    (tmp_path / "okx-2026-11-23T13-00-00Z.ndjson.zst").write_bytes(b"x" * 50_000)
    frames = [os.urandom(5000).hex().encode() for _ in range(6)]
    blocks = [block(TWO_US + number * HOUR_US, frame) for number, frame in enumerate(frames)]
    with capture_logs() as said:
        reel_of(tmp_path, *blocks, bounds=Bounds(HOUR_US, 1 << 20, keep_bytes=17_000))
    ours = [name for name in names(tmp_path) if name.startswith("deribit-2026")]
    assert ours == [f"deribit-2026-11-23T{hour}-00-00Z.ndjson.zst" for hour in (17, 18, 19)]
    assert sum((tmp_path / name).stat().st_size for name in ours) <= 17_000
    assert [(event["event"], Path(event["tape"]).name[16:21]) for event in said] == [
        ("tape.deleted", f"23T{hour}") for hour in (14, 15, 16)
    ]
    assert len(names(tmp_path)) == 5


@contextmanager
def files_at_most(size):
    """As on a full disk: a file takes what fits, and then no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", ["reel", ".ndjson", ".zst"])
def test_a_block_that_did_not_fit_leaves_nothing_behind_and_is_tried_again(tmp_path: Path, suffix):
    frames = [os.urandom(3000).hex().encode() for _ in range(3)]
    first, second, third = (block(TWO_US + number * SECOND_US, frame) for number, frame in enumerate(frames))
    place = tmp_path / suffix if suffix == "reel" else tmp_path / f"tape{suffix}"
    tapes = Reel("deribit", place, HOURLY) if suffix == "reel" else OneTape(place)
    tapes.write(first)
    size = tapes.tape_bytes
    with files_at_most(size + 1000), pytest.raises(OSError, match="File too large"):
        tapes.write(second)
    with files_at_most(1000), pytest.raises(OSError, match="File too large"):
        tapes.write(second)
    assert [tape.stat().st_size for tape in (place.iterdir() if suffix == "reel" else [place])] == [size]
    tapes.write(second)
    tapes.write(third)
    tapes.close()
    lines = [each for tape in read_tapes(place, "deribit") for each in tape]
    lead = [None] if suffix == "reel" else []
    assert lines == [*lead, *((TWO_US + number * SECOND_US, frame) for number, frame in enumerate(frames))]


def test_a_gap_alone_begins_no_tape(tmp_path: Path):
    reel_of(tmp_path, Block(0, b"\n", 0))
    assert names(tmp_path) == []


def test_a_folder_without_tapes_of_the_venue_is_named(tmp_path: Path):
    reel_of(tmp_path, block(TWO_US, b"{}"))
    with pytest.raises(TapeError, match="a folder without tapes of okx"):
        read_tapes(tmp_path, "okx")


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"file exists already and is no folder; choose another name"):
        make_folder(tmp_path / "file")
    with pytest.raises(RecordError, match=r"No such file or directory; choose a place"):
        make_folder(tmp_path / "no" / "tapes")
