"""From one run to the next: what is taken up of a checkpoint, what is not, and what subscribers are shown of it."""

import asyncio
import json
import os
import resource
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
import synthetic_tape
from command_line import until
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kvd.app.checkpoint import LAYOUT, RESTARTED, packed, unpacked
from kvd.app.hand import Hand
from kvd.app.journal import Journal
from kvd.app.restart import Restart
from kvd.app.tape import batches
from kvd.calibrator import Calibrator
from kvd.config import ConfigError, Settings
from kvd.feeds.replay import replay
from kvd.latest import Inbox
from kvd.quotes import Lock
from kvd.sinks import chain
from kvd.sinks.checkpoint import Generations, UnfitError, pack, unpack
from kvd.sinks.requests import LockRequest
from kvd.venues import deribit
from kvd.wire import Encoder, iso

SECOND, HOUR = 1_000_000, 3_600_000_000
SECONDS = 30
END = int(synthetic_tape.START.timestamp()) * SECOND + SECONDS * SECOND  # the tape's
GRID = 50_000
CHANGES = {"deribit": {"currencies": ("BTC",)}}


def settings_with(**changes):
    return msgspec.convert(CHANGES | changes, Settings)


class Run:
    """A daemon without its sockets, at an instant that tests set. It publishes into `messages` and `updates`."""

    def __init__(self, path, now_us, **changes):
        self.now_us = now_us
        self.settings = settings_with(checkpoint={"path": str(path) if path else ""}, **changes)
        self.inbox, self.calibrator = Inbox(GRID), Calibrator(self.settings)
        self.encoder = Encoder(f"{now_us:x}")
        self.journal = Journal(self.settings, self.encoder.epoch, self.clock)
        self.hand = Hand(self.settings.lock, self.journal, self.encoder, self.inbox.put, self.clock)
        self.restart = Restart(self.settings, self.calibrator, self.encoder, self.hand, self.inbox, self.clock)
        self.hand.acted = self.restart.hurry
        self.journal.ending = lambda: self.hand.ending() | self.restart.ending()
        self.updates, self.messages = [], []

    def clock(self):
        return self.now_us

    def publish(self):
        self.inbox.seal()
        for batch in iter(self.inbox.take, None):
            for update in self.calibrator.step(batch):
                self.messages += self.encoder.encode(update)
                self.hand.heed(update)
                self.updates.append(update)
            self.restart.heed()

    def play(self, tape):
        for batch in batches(replay(tape, deribit.Session(self.settings.deribit)), GRID, lambda _: None):
            for event in batch.events:
                self.inbox.put(event)
            self.publish()

    @property
    def start(self):
        return self.restart.statistics()[:2]

    def shown(self):
        return {smile.expiry_us: smile for update in self.updates for smile in update.smiles}


@asynccontextmanager
async def running(path, now_us=END, **changes):
    run = Run(path, now_us, **changes)
    async with run.journal, run.restart:
        run.publish()
        yield run


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    path = tmp_path_factory.mktemp("tape") / "tape.ndjson"
    synthetic_tape.write(path, SECONDS)
    return path


@pytest.fixture(scope="module")
def first(tape, tmp_path_factory):
    """A run over the tape, and the checkpoint that its clean end has left."""
    path = tmp_path_factory.mktemp("first") / "kvd.checkpoint"

    async def scenario():
        async with running(path) as run:
            run.play(tape)
        return run

    return asyncio.run(scenario()), path.read_bytes()


@pytest.fixture
def path(first, tmp_path):
    """The checkpoint that the first run has left."""
    path = tmp_path / "kvd.checkpoint"
    path.write_bytes(first[1])
    return path


def started(path, now_us=END + 2 * SECOND, **changes):
    """A run that has started, published what it has to, and ended; and what it logged."""

    async def scenario():
        async with running(path, now_us, **changes) as run:
            pass
        return run

    with capture_logs() as events:
        run = asyncio.run(scenario())
    return run, [event for event in events if event["event"].startswith("checkpoint.")]


def names(folder):
    return sorted(path.name.removeprefix("kvd.checkpoint").partition("-")[0] for path in folder.iterdir())


# What is taken up


def test_every_smile_is_shown_at_once_widened_and_near_what_it_was(first, path):
    before = first[0].shown()
    run, events = started(path, END + 10 * SECOND)
    assert run.start == ("warm", "current") and len(run.updates) == 1
    after = run.shown()
    assert after.keys() == before.keys() and len(after) == 6
    for expiry_us, smile in after.items():
        was = before[expiry_us]
        assert (smile.state, smile.reason) == ("widened", RESTARTED)
        assert smile.publish_us == END + 10 * SECOND
        assert (smile.exchange_us, smile.receive_us) == (was.exchange_us, was.receive_us)
        assert smile.parameters.atm_vol == pytest.approx(was.parameters.atm_vol, abs=was.sd.atm_vol)
        assert smile.parameters.skew == pytest.approx(was.parameters.skew, abs=2 * was.sd.skew)
        assert smile.sd.atm_vol > was.sd.atm_vol and np.linalg.det(smile.covariance) > np.linalg.det(was.covariance)
    (event,) = events
    assert event["event"] == "checkpoint.restored"
    assert (event["age_s"], event["expiries"], event["underlyings"], event["locks"]) == (10.0, 6, 1, 0)


def test_the_longer_away_the_wider(path):
    sds = []
    for away_s in (0.1, 10, 600, 6 * 3600):
        after = started(path, END + round(away_s * SECOND))[0].shown()
        sds.append([after[expiry_us].sd.atm_vol for expiry_us in sorted(after)][-1])
    assert sds == sorted(sds) and sds[-1] > 3 * sds[0]


def test_numbers_go_on_in_a_new_epoch(first, path):
    run, _ = started(path)
    assert run.encoder.epoch != first[0].encoder.epoch
    for message in run.messages:
        assert message.seq > first[0].encoder.seq(message.topic) > 0
        assert json.loads(message.payload)["epoch"] == run.encoder.epoch


def test_it_goes_on_from_the_very_posterior(first, path):
    async def scenario():
        async with running(path, END) as run:
            return run.calibrator.state().books

    was, now = first[0].calibrator.state().books[0], asyncio.run(scenario())[0]
    assert (now.now_us, now.receive_us, now.joint.expiry_us.tolist()) == (
        was.now_us, was.receive_us, was.joint.expiry_us.tolist(),
    )  # fmt: skip
    np.testing.assert_allclose(now.joint.x, was.joint.x, atol=1e-3)
    assert now.scale.value.tolist() == was.scale.value.tolist()


@pytest.mark.parametrize("away_us", [2 * SECOND, HOUR])
def test_the_first_quotes_make_a_smile_live_and_time_is_what_they_say(path, tmp_path, away_us):
    """Two seconds later by the venue's clock, whatever ours has thought the gap to be."""
    tape = tmp_path / "more.ndjson"
    synthetic_tape.write(tape, SECONDS + 8)

    async def scenario():
        async with running(path, END + away_us) as run:
            (first,) = run.updates
            for batch in batches(replay(tape, deribit.Session(run.settings.deribit)), GRID, lambda _: None):
                if batch.instant_us > END + 2 * SECOND:
                    run.updates += run.calibrator.step(batch)
            return {smile.expiry_us: smile for smile in first.smiles}, run.shown()

    restarted, after = asyncio.run(scenario())
    for expiry_us, smile in after.items():
        assert smile.state == "live" and END + 2 * SECOND < smile.exchange_us <= END + 8 * SECOND
        assert smile.tau == pytest.approx((expiry_us - smile.exchange_us) / (365 * 24 * HOUR), rel=1e-6)
        assert smile.sd.atm_vol < restarted[expiry_us].sd.atm_vol


def test_an_expiry_that_has_passed_meanwhile_is_withdrawn(first, path):
    gone, *left = sorted(first[0].shown())
    away_us = gone - END + SECOND
    run, _ = started(path, END + away_us)
    (update,) = run.updates
    assert update.withdrawn == (gone,)
    assert sorted(smile.expiry_us for smile in update.smiles) == left


def test_without_a_path_nothing_is_kept_and_every_start_is_cold(tmp_path):
    run, events = started("")
    assert run.start == ("cold", "not_kept") and events == [] and list(tmp_path.iterdir()) == []
    assert run.restart.statistics() == ("cold", "not_kept", None, None, None, 0, 0, False)


def test_the_first_start_is_cold_and_leaves_nothing_of_nothing(tmp_path):
    run, events = started(tmp_path / "kvd.checkpoint")
    assert run.start == ("cold", "none") and run.updates == []
    assert [(e["event"], e["reason"]) for e in events] == [("checkpoint.cold", "none")]
    assert names(tmp_path) == [".lock"]


# What is not


def test_another_kvd_has_the_files(path):
    holder = Generations(path)
    holder.own()
    with pytest.raises(ConfigError, match=r"cannot be had \(another kvd writes to it\); name a file in a folder"):
        started(path)
    holder.close()
    assert started(path)[0].start == ("warm", "current")


def of_other(first, payload=None, **changes):
    header, own = unpack(first[1])
    return pack(msgspec.structs.replace(header, **changes), own if payload is None else payload)


@pytest.mark.parametrize(
    ("changes", "kind", "why"),
    [
        ({"layout": "2-a", "version": "9"}, "unknown", f"is of kvd 9 and layout 2-a, and this kvd has {LAYOUT}"),
        ({"settings": {}}, "unknown", "was made under another "),
        ({"payload": b""}, "corrupt", "cannot be decoded: "),
        ({"payload": b"\xc1garbage"}, "corrupt", "cannot be decoded: "),
        ({"payload": msgspec.msgpack.encode([b"\x91\x90", [{}, []], []])}, "warm", ""),
        ({"payload": msgspec.msgpack.encode([b"\x90", [{}, []], []])}, "corrupt", "cannot be decoded: "),
    ],
)  # fmt: skip
def test_what_cannot_be_gone_on_from_is_set_aside(first, path, changes, kind, why):
    path.write_bytes(of_other(first, **changes))
    run, events = started(path)
    if kind == "warm":  # a posterior of nothing is one, too
        assert run.start == ("warm", "current")
        return
    assert run.start == ("cold", kind) and run.updates == []
    aside, cold = events
    assert aside["event"] == "checkpoint.set_aside" and aside["log_level"] == "warning"
    assert aside["why"].startswith(f"it {why}") and aside["then"] == "the start is cold"
    assert aside["moved_to"].startswith(f"{path}.{kind}-2026")
    assert (cold["event"], cold["reason"]) == ("checkpoint.cold", kind)
    assert names(path.parent) == sorted((f".{kind}", ".lock"))


def test_settings_of_the_filter_bind_it_and_others_do_not(path):
    run, events = started(path, dynamics={"level_sd": 0.5}, deribit={"currencies": ("BTC",), "url": "ws://elsewhere"})
    assert run.start == ("cold", "unknown")
    assert events[0]["why"] == "it was made under another deribit.url, dynamics.level_sd"
    Path(events[0]["moved_to"]).rename(path)
    assert started(path, publish={"port": 9000}, log={"level": "error"})[0].start == ("warm", "current")


def test_where_the_newest_is_torn_the_one_before_is_taken(first, path):
    path.with_name("kvd.checkpoint.previous").write_bytes(first[1])
    path.write_bytes(first[1][:-1])
    run, (aside, restored) = started(path)
    assert run.start == ("warm", "previous")
    assert aside["then"] == "the previous one is tried" and restored["event"] == "checkpoint.restored"
    assert len(run.shown()) == 6


def test_where_both_are_torn_both_are_set_aside(first, path):
    path.with_name("kvd.checkpoint.previous").write_bytes(first[1][:100])
    path.write_bytes(b"")
    run, events = started(path)
    assert run.start == ("cold", "corrupt")
    assert [event.get("then") for event in events] == ["the previous one is tried", "the start is cold", None]
    assert names(path.parent) == [".corrupt", ".corrupt", ".lock"]


def test_where_only_the_one_before_is_there_it_is_taken(path):
    path.rename(path.with_name("kvd.checkpoint.previous"))
    assert started(path)[0].start == ("warm", "previous")


@settings(max_examples=25, deadline=None)
@given(torn=st.booleans(), share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_whatever_was_torn_or_flipped_the_start_is_not_from_it(first, tmp_path_factory, torn, share, bit):
    path = tmp_path_factory.mktemp("torn") / "kvd.checkpoint"
    data, at = bytearray(first[1]), int(share * len(first[1]))
    if torn:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    path.write_bytes(data)
    run, events = started(path)
    assert run.start[0] == "cold" and events[0]["event"] == "checkpoint.set_aside" and run.updates == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_payload_that_was_changed_under_a_right_digest_is_taken_or_refused_but_never_a_crash(first, changes):
    payload = bytearray(unpack(first[1]).payload)
    for share, byte in changes:
        payload[int(share * len(payload))] = byte
    try:
        with np.errstate(all="ignore"):
            found = unpacked(of_other(first, bytes(payload)), settings_with())
    except UnfitError as unfit:
        assert unfit.kind == "corrupt"
    else:
        assert found.header.layout == LAYOUT


@pytest.mark.parametrize(
    ("away_us", "start"),
    [
        (24 * HOUR - SECOND, "warm"),
        (24 * HOUR + SECOND, "cold"),
        (-4 * SECOND, "warm"),
        (-6 * SECOND, "cold"),
        (-HOUR, "cold"),
    ],
)
def test_one_that_is_too_old_or_from_the_future_is_left_where_it_is(path, away_us, start):
    run, events = started(path, END + away_us)
    assert run.start == (start, "current" if start == "warm" else "untimely")
    if start == "cold":
        assert [event["event"] for event in events] == ["checkpoint.untimely", "checkpoint.cold"]
        assert events[0]["age_s"] == away_us / SECOND and names(path.parent) == ["", ".lock"]


def test_a_folder_that_takes_no_files_costs_the_checkpoint_and_not_the_start(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario():
        async with running(folder / "kvd.checkpoint") as run:
            return run

    lowest = os.open(folder, os.O_RDONLY)
    os.close(lowest)

    def without_descriptors():
        loop = asyncio.new_event_loop()
        try:
            taken = [os.open(os.devnull, os.O_RDONLY)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, limits[1]))
            return loop.run_until_complete(scenario())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            os.close(taken[0])
            loop.close()

    with capture_logs() as events:
        run = without_descriptors()
    assert run.start == ("cold", "none") and run.restart.statistics().failing
    assert (events[0]["event"], events[0]["why"]) == ("checkpoint.failed", "Too many open files")


# While it runs, and how it ends


def test_what_changes_is_written_within_the_interval_and_what_does_not_is_not(tmp_path, tape):
    async def scenario():
        path = tmp_path / "kvd.checkpoint"
        async with running(path) as run, asyncio.timeout(20):
            run.play(tape)
            keeping = asyncio.ensure_future(run.restart.keep())
            await until(lambda: run.restart.statistics().writes == 1)
            first = path.read_bytes()
            await asyncio.sleep(1.3)
            assert run.restart.statistics().writes == 1 and path.read_bytes() == first
            run.now_us += SECOND
            run.restart.heed()
            await until(lambda: run.restart.statistics().writes == 2)
            assert run.restart.statistics().taken_us == END + SECOND
            assert unpack(path.read_bytes()).header.written_us == END + SECOND
            keeping.cancel()

    asyncio.run(scenario())


def test_a_run_that_ends_for_an_error_leaves_what_was_there(path, first):
    async def scenario():
        async with running(path, END + SECOND):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scenario())
    assert path.read_bytes() == first[1]


# Locks


def lock(first, name, until_us):
    expiry_us = max(first[0].shown())
    return Lock(name, "deribit", "BTC", expiry_us, "atm_vol", None, 0.61, 0.001, "desk", until_us, END - SECOND)


@pytest.fixture
def locked(first, path):
    """A checkpoint with two locks: one that is due in a minute, and one in an hour."""
    header, _ = unpack(first[1])
    posterior = unpacked(first[1], settings_with()).posterior
    both = (lock(first, "soon", END + 60 * SECOND), lock(first, "late", END + HOUR))
    path.write_bytes(packed(posterior._replace(locks=both), settings_with(), header.epoch, header.written_us))
    return path


def said(path):
    with path.open("rb") as lines:
        assert chain.verify(lines).change is None
    return [(line["kind"], line["content"]) for line in map(json.loads, path.read_bytes().splitlines())]


def test_locks_go_on_and_those_due_meanwhile_are_released(locked, tmp_path):
    log = tmp_path / "audit.ndjson"
    run, events = started(locked, END + 120 * SECOND, audit={"path": str(log)})
    assert events[0]["locks"] == 1
    assert run.hand.statistics() == (1, {"released": 1})
    smile = run.shown()[max(run.shown())]
    assert [told.id for told in smile.locked] == ["late"]
    assert abs(smile.parameters.atm_vol - 0.61) < 0.005
    kinds = dict(said(log))
    assert list(kinds) == ["started", "released", "restored", "published", "stopped"]
    assert kinds["released"] == {"id": "soon", "set_by": "desk", "until": iso(END + 60 * SECOND)}
    assert [content["id"] for content in kinds["restored"]["locks"]] == ["late"]
    assert datetime.fromisoformat(kinds["restored"]["checkpoint"]).astimezone(UTC) is not None
    assert kinds["stopped"] == {"locks": ["late"], "refused_unlisted": {}, "locks_kept": True}


def test_no_lock_stands_where_nothing_is_on_record(locked):
    run, events = started(locked)
    assert run.hand.statistics().standing == 0 and events[0]["locks"] == 0
    assert not any(smile.locked for smile in run.shown().values())


def test_a_lock_is_on_the_disk_long_before_the_interval_is_over(path, tmp_path):
    async def scenario():
        changes = {"audit": {"path": str(tmp_path / "audit.ndjson")}}
        async with running(path, END + SECOND, **changes) as run, asyncio.timeout(20):
            keeping = asyncio.ensure_future(run.restart.keep())
            await until(lambda: run.restart.statistics().writes == 1)
            began_s = asyncio.get_running_loop().time()
            expiry = iso(max(run.shown()))[:10]
            asked = LockRequest("deribit", "BTC", expiry, "atm_vol", 0.61, 0.001, None, None, 60.0)
            stands = await run.hand.lock(asked, "desk")
            await until(lambda: unpack(path.read_bytes()).header.locks == 1)
            took_s = asyncio.get_running_loop().time() - began_s
            keeping.cancel()
            return stands.id, unpacked(path.read_bytes(), run.settings).posterior.locks[0].id, took_s

    stands, kept, took_s = asyncio.run(scenario())
    assert stands == kept and took_s < 0.8
