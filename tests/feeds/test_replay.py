import asyncio
import gzip
from pathlib import Path

import deribit_wire as wire
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kvd.config import Deribit
from kvd.feeds.replay import paced, replay
from kvd.feeds.tape import CHUNK_BYTES, TapeError, read_tape
from kvd.quotes import ForwardQuote, Gap, Quote
from kvd.venues import deribit

STAMP = "2023-11-14T22:13:{:02d}.1234567Z "
FIRST_US = 1_700_000_000_123_456  # 22:13:20.123456


def line(second: int, frame: bytes) -> bytes:
    return STAMP.format(second).encode() + frame + b"\n"


TAPE = (
    line(20, wire.ticker()) + line(21, wire.index()) + b"\n" + line(23, wire.ticker("BTC-PERPETUAL")) + line(23, b"x")
)
PACKED = {
    ".ndjson": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(params=PACKED)
def tape(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"tape{request.param}"
    half = len(TAPE) // 2  # two members, and a line across the seam
    path.write_bytes(PACKED[request.param](TAPE[:half]) + PACKED[request.param](TAPE[half:]))
    return path


def session() -> deribit.Session:
    return deribit.Session(Deribit())


def test_a_tape_is_stamps_frames_and_gaps(tape: Path):
    lines = list(read_tape(tape))
    assert lines == [
        (FIRST_US, wire.ticker()),
        (FIRST_US + 1_000_000, wire.index()),
        None,
        (FIRST_US + 3_000_000, wire.ticker("BTC-PERPETUAL")),
        (FIRST_US + 3_000_000, b"x"),
    ]


def test_a_replay_yields_events_and_counts_the_rest(tape: Path):
    played = replay(tape, session())
    quote, index, gap = played
    assert isinstance(quote, Quote) and isinstance(index, ForwardQuote)
    assert gap == Gap("deribit", FIRST_US + 1_000_000, "feed interrupted")
    size = tape.stat().st_size
    assert played.statistics() == (4, 1, 1, 0, {"perpetual": 1}, size, size)


def test_only_an_empty_line_after_a_frame_is_a_gap(tmp_path: Path):
    path = tmp_path / "tape.ndjson"
    path.write_bytes(b"\n\n" + line(20, wire.index()) + b"\n\n\n" + line(59, wire.index()))
    assert [type(event) for event in replay(path, session())] == [ForwardQuote, Gap, ForwardQuote]


@pytest.mark.parametrize(
    ("fraction", "us"), [("", 0), (".5", 500_000), (".1234567", 123_456), (".123456789", 123_456), (".", None)]
)
def test_any_fraction_of_a_second_will_do(tmp_path: Path, fraction: str, us: int | None):
    path = tmp_path / "tape.ndjson"
    path.write_text(f"2023-11-14T22:13:20{fraction}Z {{}}\n")
    if us is None:
        with pytest.raises(TapeError):
            list(read_tape(path))
    else:
        assert list(read_tape(path)) == [(1_700_000_000_000_000 + us, b"{}")]


@pytest.mark.parametrize(
    "bad",
    ["{}", "hello", "2023-11-14T22:13:20.1Z", "2023-13-14T22:13:20.1Z {}", "2023-11-14T22:13:20.1+ {}", "x" * 500],
)
def test_what_is_not_a_tape_line_is_named_with_its_number(tmp_path: Path, bad: str):
    path = tmp_path / "tape.ndjson"
    path.write_bytes(line(20, b"{}") + bad.encode() + b"\n")
    with pytest.raises(TapeError, match=r"tape\.ndjson, line 2: not a tape line; convert"):
        list(read_tape(path))


def test_a_missing_tape_is_named_at_once(tmp_path: Path):
    with pytest.raises(TapeError, match=r"none\.gz: No such file or directory; check the path"):
        read_tape(tmp_path / "none.gz")


def members(suffix: str) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A packed tape of several members, and its lines."""
    lines = [(second, wire.index(1 + second + number)) for number in range(4) for second in range(60)]
    packed = [b"".join(line(*each) for each in lines[n : n + 50]) for n in range(0, len(lines), 50)]
    stamped = [(FIRST_US + (second - 20) * 1_000_000, frame) for second, frame in lines]
    return b"".join(map(PACKED[suffix], packed)), stamped


@pytest.mark.parametrize("suffix", PACKED)
def test_a_tape_cut_off_anywhere_gives_what_came_before(tmp_path: Path, suffix: str):
    content, lines = members(suffix)
    path = tmp_path / f"tape{suffix}"
    most = 0
    for cut in [*range(0, len(content), 1 + len(content) // 400), len(content)]:
        path.write_bytes(content[:cut])
        tape = read_tape(path)
        found = list(tape)
        assert found == lines[: len(found)]
        assert tape.torn_bytes <= cut and len(found) >= most
        most = len(found)
    assert most == len(lines) and tape.torn_bytes == 0


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("zeros", [16, 4096, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
def test_zeros_in_place_of_an_end_that_never_reached_the_disk_are_torn(tmp_path: Path, suffix: str, zeros: int):
    content, lines = members(suffix)
    path = tmp_path / f"tape{suffix}"
    for cut in range(1, len(content), len(content) // 7):
        path.write_bytes(content[:cut] + bytes(zeros))
        tape = read_tape(path)
        found = list(tape)
        assert found == lines[: len(found)] and tape.torn_bytes >= zeros
    path.write_bytes(content + bytes(zeros))
    tape = read_tape(path)
    assert list(tape) == lines and tape.torn_bytes >= zeros  # gzip ends with zeros of its own
    assert tape.bytes_read == tape.bytes_total


@settings(deadline=None)
@given(data=st.data())
def test_damage_in_the_middle_is_never_taken_for_an_end(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    suffix = data.draw(st.sampled_from([".gz", ".zst"]))
    content, _ = members(suffix)
    if suffix == ".zst":
        packer = zstandard.ZstdCompressor(write_checksum=True)
        content = b"".join(packer.compress(line(second, wire.index(second))) for second in range(60))
    first, last = data.draw(st.integers(0, len(content) // 2)), data.draw(st.integers(1, 50))
    path = tmp_path_factory.mktemp("tapes") / f"tape{suffix}"
    path.write_bytes(content[:first] + content[first + last :])
    with pytest.raises(TapeError, match=r"after line \d+: .*; fetch the tape again"):
        list(read_tape(path))


@pytest.mark.parametrize("suffix", PACKED)
def test_tapes_in_their_order_are_one_stream(tmp_path: Path, suffix: str):
    content, lines = members(suffix)
    whole, torn, last = (tmp_path / f"{name}{suffix}" for name in ("whole", "torn", "last"))
    whole.write_bytes(content)
    torn.write_bytes(content[: len(content) * 2 // 3])
    last.write_bytes(PACKED[suffix](b"# " + line(1, wire.index(9)) + line(20, wire.index(7))))
    kept = len(list(read_tape(torn)))
    played = replay(whole, session(), [torn, last])
    events = list(played)
    since_us = lines[kept - 1][0]
    assert events[len(lines) + kept] == Gap("deribit", since_us, "feed interrupted")
    assert len(events) == len(lines) + kept + 2
    assert isinstance(events[-1], ForwardQuote) and events[-1].bid == 7
    seen, sizes = played.statistics(), [path.stat().st_size for path in (whole, torn, last)]
    assert (seen.frames, seen.gaps) == (len(lines) + kept + 1, 1)
    assert seen.bytes_read == seen.bytes_total == sum(sizes)
    assert 0 < seen.torn_bytes < sizes[1]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_tape_that_is_not_compressed_as_its_name_says(tmp_path: Path, suffix: str):
    path = tmp_path / f"tape{suffix}"
    path.write_bytes(TAPE)
    with pytest.raises(TapeError, match=r"after line 0: .*fetch the tape again"):
        list(read_tape(path))


@pytest.mark.parametrize("cut", [3, 30, 60])
def test_a_torn_last_line_is_left_out_and_counted(tmp_path: Path, cut: int):
    path = tmp_path / "tape.ndjson"
    path.write_bytes(line(20, wire.index()) + line(21, wire.index())[:cut])
    played = replay(path, session())
    assert len(list(played)) == 1
    assert played.statistics().torn_bytes == cut


def test_a_whole_last_line_needs_no_newline(tmp_path: Path):
    path = tmp_path / "tape.ndjson"
    path.write_bytes(line(20, wire.index()).rstrip())
    played = replay(path, session())
    assert len(list(played)) == 1
    assert played.statistics().torn_bytes == 0


def test_a_paced_replay_takes_the_time_the_tape_took(tmp_path: Path):
    path = tmp_path / "tape.ndjson"
    path.write_bytes(line(20, wire.index(1)) + line(21, wire.index(2)) + b"\n" + line(24, wire.index(3)))

    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        return [loop.time() async for _ in paced(replay(path, session()), speed=20)]

    first, second, gap, last = asyncio.run(scenario())
    assert second - first == pytest.approx(0.05, abs=0.03)
    assert gap - second < 0.03
    assert last - first == pytest.approx(0.2, abs=0.05)


@pytest.mark.data
def test_a_replay_reads_a_whole_day(market_data: Path):
    played = replay(market_data / "tapes" / "deribit-btc-2023-04-13.ndjson.gz", session())
    events = sum(1 for _ in played)
    seen = played.statistics()
    assert (events, seen.frames, seen.bad_frames, seen.gaps, seen.refusals) == (192_998, 192_998, 0, 0, {})
    assert seen.bytes_read == seen.bytes_total
