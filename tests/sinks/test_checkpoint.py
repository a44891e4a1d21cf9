"""The checkpoint on the disk: its form, its generations, and a disk that fails."""

import asyncio
import errno
import fcntl
import multiprocessing
import os
import resource
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kvd.sinks.checkpoint import Generations, Header, Heard, UnfitError, Writer, pack, read, unpack
from kvd.sinks.checkpoint.form import MOST_BYTES
from kvd.sinks.durable import TakenError

NOW = 1_780_000_000_000_000
HEADER = Header(
    version="0.1.0",
    layout="1-abcdef",
    settings={"venues": ["deribit"]},
    epoch="64c1",
    written_us=NOW,
    venues={"deribit": Heard(NOW - 1000, NOW - 5000, {"BTC": ("2026-07-03", "2026-12-25")})},
    locks=2,
)
PAYLOAD = bytes(range(256)) * 3 + b"\n{}\n"
DATA = pack(HEADER, PAYLOAD)


def unfit(data):
    with pytest.raises(UnfitError) as caught:
        unpack(data)
    return caught.value.kind, str(caught.value)


# The form


def test_what_is_packed_is_what_is_unpacked():
    found = unpack(DATA)
    assert found.payload == PAYLOAD
    assert found.header.payload_bytes == len(PAYLOAD)
    assert found.header.venues == HEADER.venues and found.header.written_us == NOW and found.header.locks == 2


def test_the_first_line_is_for_people():
    assert DATA.startswith(b'kvd checkpoint 1\n{"version":"0.1.0",')


@given(st.binary(max_size=2000))
def test_any_payload_comes_back(payload):
    assert unpack(pack(HEADER, payload)).payload == payload


@given(st.integers(0, len(DATA) - 1))
def test_a_torn_file_is_never_taken_for_a_whole_one(length):
    assert unfit(DATA[:length])[0] == "corrupt"


@given(st.integers(0, 8 * len(DATA) - 1))
def test_no_bit_may_be_another(bit):
    changed = bytearray(DATA)
    changed[bit // 8] ^= 1 << bit % 8
    kind, _ = unfit(bytes(changed))
    assert kind == "corrupt" or changed[15] != DATA[15]  # the digit of the format


@given(st.binary(min_size=1, max_size=100), st.integers(0, len(DATA)))
def test_nothing_may_be_added(more, at):
    if DATA[:at] + more + DATA[at:] != DATA:
        unfit(DATA[:at] + more + DATA[at:])


@given(st.binary(max_size=3000))
def test_bytes_of_any_other_kind_are_refused(data):
    assert unfit(data)[0] == "corrupt"


def test_a_file_of_a_later_format_is_no_torn_one():
    assert unfit(b"kvd checkpoint 2\nwhatever it says") == (
        "unknown", "is of format 2, and this version of kvd reads 1",
    )  # fmt: skip


def test_a_header_with_what_is_not_known_is_of_another_version():
    head = b'kvd checkpoint 1\n{"version":"9.0.0","newer":true'
    data = head + b',"sha256":"' + sha256(head + b"payload").hexdigest().encode() + b'"}\npayload'
    kind, why = unfit(data)
    assert kind == "unknown" and why.startswith("has a header that this version of kvd does not read: ")


# The generations


@pytest.fixture
def generations(tmp_path):
    made = Generations(tmp_path / "kvd.checkpoint")
    yield made
    made.close()


def names(folder):
    return sorted(path.name.removeprefix("kvd.checkpoint") for path in folder.iterdir())


def test_the_present_one_becomes_the_previous_one(generations, tmp_path):
    assert list(generations.candidates()) == []
    generations.write(b"first")
    assert [path.read_bytes() for path in generations.candidates()] == [b"first"]
    generations.write(b"second")
    generations.write(b"third")
    assert [path.read_bytes() for path in generations.candidates()] == [b"third", b"second"]
    assert names(tmp_path) == ["", ".lock", ".previous"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_what_a_crash_left_half_written_is_in_nobodys_way(generations, tmp_path):
    generations.write(b"first")
    (tmp_path / "kvd.checkpoint.part").write_bytes(b"sec")
    assert [path.read_bytes() for path in generations.candidates()] == [b"first"]
    generations.write(b"second")
    assert [path.read_bytes() for path in generations.candidates()] == [b"second", b"first"]


def test_two_processes_do_not_share_the_files(generations, tmp_path):
    generations.own()
    other = Generations(tmp_path / "kvd.checkpoint")
    with pytest.raises(TakenError, match="another kvd writes to it"):
        other.own()
    with pytest.raises(TakenError):
        other.write(b"other")
    assert names(tmp_path) == [".lock"]
    generations.close()
    other.write(b"other")
    other.close()


def test_a_lock_that_was_deleted_is_taken_anew(generations, tmp_path):
    generations.own()
    (tmp_path / "kvd.checkpoint.lock").unlink()
    generations.write(b"first")
    with (tmp_path / "kvd.checkpoint.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_of_what_is_set_aside_the_newest_three_stay(generations, tmp_path):
    for i in range(5):
        generations.write(b"%d" % i)
        kind = "unknown" if i % 2 else "corrupt"
        moved = generations.set_aside(generations.path, kind, NOW + 1_000_000 * (i // 2))  # two in one instant
        assert moved.read_bytes() == b"%d" % i
    aside = {name: (tmp_path / f"kvd.checkpoint{name}").read_bytes() for name in names(tmp_path) if "-" in name}
    assert aside == {
        ".corrupt-20260528T202641.000000Z": b"2",
        ".unknown-20260528T202641.000000Z": b"3",
        ".corrupt-20260528T202642.000000Z": b"4",
    }


def test_two_that_are_set_aside_at_once_both_stay(generations, tmp_path):
    for data in (b"a", b"b"):
        generations.write(data)
        generations.set_aside(generations.path, "corrupt", NOW)
    assert [name for name in names(tmp_path) if "-" in name] == [
        ".corrupt-20260528T202640.000000Z", ".corrupt-20260528T202640.000001Z",
    ]  # fmt: skip


def test_what_cannot_be_read_is_unfit(tmp_path):
    for path, why in (
        (tmp_path / "none", "is no file"),
        (tmp_path, "is no file"),
        (Path("/dev/zero"), "is no file"),
    ):
        with pytest.raises(UnfitError, match=why):
            read(path)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(UnfitError, match="more than any checkpoint"):
        read(large)


def killed_while_writing(path, ready):
    generations = Generations(path)
    for i in range(1_000_000):
        generations.write(pack(HEADER, b"%d" % i * 1000))
        if i == 3:
            ready.set()


def test_whoever_is_killed_while_writing_leaves_a_whole_one(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    for _ in range(3):
        ready = spawn.Event()
        process = spawn.Process(target=killed_while_writing, args=(tmp_path / "kvd.checkpoint", ready))
        process.start()
        assert ready.wait(30)
        process.kill()
        process.join()
        process.close()
        newest, before = (
            int(unpack(read(path)).payload[: len(unpack(read(path)).payload) // 1000])
            for path in Generations(tmp_path / "kvd.checkpoint").candidates()
        )
        assert before in (newest - 1, newest)


# A disk that fails


def writing(generations, *steps):
    """What is logged while the steps, bytes to write or functions to call, are gone through; and the statistics."""

    async def scenario():
        writer = Writer(generations)
        said = []
        for i, step in enumerate(steps):
            if callable(step):
                step()
            else:
                await writer.write(lambda step=step: step, NOW + i)
                said.append(writer.statistics())
        return said

    with capture_logs() as events:
        said = asyncio.run(scenario())
    return [(e["event"], e.get("why")) for e in events], said


def test_what_is_written_is_counted(generations):
    events, (one, two) = writing(generations, b"first", b"second!")
    assert events == []
    assert (one.writes, two.writes, two.failures, two.failing) == (1, 2, 0, False)
    assert two.newest.bytes == 7 and two.newest.taken_us == NOW + 1 and 0 < two.newest.seconds < 30


def test_a_folder_that_is_gone_is_a_state_that_is_said_once_and_ends(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    generations = Generations(folder / "kvd.checkpoint")

    def remove():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    events, said = writing(generations, b"1", remove, b"2", b"3", folder.mkdir, b"4", b"5")
    assert events == [("checkpoint.failed", "No such file or directory"), ("checkpoint.recovered", None)]
    assert [(s.writes, s.failures, s.failing) for s in said] == [
        (1, 0, False), (1, 1, True), (1, 2, True), (2, 2, False), (3, 2, False),
    ]  # fmt: skip
    assert [path.read_bytes() for path in generations.candidates()] == [b"5", b"4"]
    generations.close()


def test_a_disk_that_takes_no_more_leaves_what_was_there(generations, tmp_path):
    generations.write(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        events, (full, again) = writing(
            generations,
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard)),
            b"x" * 101,
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
            b"after",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert events == [("checkpoint.failed", os.strerror(errno.EFBIG)), ("checkpoint.recovered", None)]
    assert full.failing and full.newest is None and not again.failing
    assert [path.read_bytes() for path in generations.candidates()] == [b"after", b"before"]
    assert ".part" not in names(tmp_path)


def test_a_slow_disk_has_at_most_one_at_work_and_whoever_is_cancelled_leaves_it_there(generations):
    async def scenario():
        writer, loop = Writer(generations), asyncio.get_running_loop()
        begun, go = asyncio.Event(), multiprocessing.get_context("spawn").Event()

        def slow():
            loop.call_soon_threadsafe(begun.set)
            assert go.wait(30)
            return b"slow"

        first = asyncio.create_task(writer.write(slow, NOW))
        await begun.wait()
        first.cancel()
        await asyncio.wait((first,))
        second = asyncio.create_task(writer.write(lambda: b"second", NOW + 1))
        await asyncio.sleep(0)
        assert writer.statistics().writes == 0
        go.set()
        await second
        return writer.statistics()

    assert asyncio.run(scenario()).writes == 2
    assert [path.read_bytes() for path in generations.candidates()] == [b"second", b"slow"]


def test_a_disk_that_never_answers_does_not_keep_the_process(tmp_path):
    program = f"""
import asyncio, threading
from pathlib import Path
from kvd.sinks.checkpoint import Generations, Writer

async def main():
    writer = Writer(Generations(Path({str(tmp_path)!r}) / "kvd.checkpoint"))
    try:
        async with asyncio.timeout(0.1):
            await writer.write(threading.Event().wait, 0)
    except TimeoutError:
        writer.gave_up()
    print(writer.statistics().failing)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "the disk does not answer" in done.stdout and done.stdout.endswith("True\n")


def test_an_error_of_our_own_is_raised(generations):
    def wrong():
        raise ZeroDivisionError

    async def scenario():
        await Writer(generations).write(wrong, NOW)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scenario())
