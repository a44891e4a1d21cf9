from pathlib import Path

import deribit_wire as wire
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.config import Deribit
from kvd.feeds.replay import read_tape, replay
from kvd.sinks.record import BLOCK_US, Recorder, RecordError
from kvd.venues import deribit

SUFFIXES = [".ndjson", ".gz", ".zst"]
START_US = 1_700_000_000_999_999


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_recorded_is_read_back(tmp_path: Path, suffix: str):
    path = tmp_path / f"tape{suffix}"
    lines = [(START_US + number * 7_919, wire.index(1 + number)) for number in range(3000)]
    with Recorder(path) as recorder:
        for receive_us, frame in lines:
            recorder.record(frame, receive_us)
        recorder.record_gap()
        recorder.record(b"", START_US)
    assert list(read_tape(path)) == [*lines, None, (START_US, b"")]


@given(st.lists(st.none() | st.tuples(st.integers(0, 4_000_000_000_000_000), st.binary(max_size=40)), max_size=30))
def test_any_bytes_come_back_with_line_breaks_as_spaces(tmp_path_factory: pytest.TempPathFactory, lines):
    path = tmp_path_factory.mktemp("tapes") / "tape.zst"
    with Recorder(path) as recorder:
        for line in lines:
            recorder.record_gap() if line is None else recorder.record(line[1], line[0])
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
    with Recorder(path) as recorder:
        for number, frame in enumerate(frames):
            recorder.record(frame, START_US + number)
            live += session.parse(frame, START_US + number).events if frame != b"garbage" else []
    assert list(replay(path, deribit.Session(Deribit()))) == live
    assert len(live) == 3


def test_an_existing_file_is_never_touched(tmp_path: Path):
    path = tmp_path / "tape.zst"
    path.write_bytes(b"precious")
    with pytest.raises(RecordError, match=r"tape\.zst exists already; choose another name"):
        Recorder(path)
    assert path.read_bytes() == b"precious"


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path):
    with pytest.raises(RecordError, match=r"No such file or directory; choose a place"):
        Recorder(tmp_path / "no" / "tape.zst")


def test_closing_twice_is_no_harm(tmp_path: Path):
    recorder = Recorder(tmp_path / "tape.gz")
    recorder.record(b"{}", START_US)
    recorder.close()
    recorder.close()
    assert list(read_tape(tmp_path / "tape.gz")) == [(START_US, b"{}")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_recorder_that_was_never_closed_leaves_a_whole_tape_a_second_old(tmp_path: Path, suffix: str):
    path = tmp_path / f"tape{suffix}"
    recorder = Recorder(path)
    for number in range(5):
        recorder.record(b"{}", START_US + number * BLOCK_US // 2)
    assert [line and line[0] for line in read_tape(path)] == [START_US + n * BLOCK_US // 2 for n in range(3)]
    recorder.close()
