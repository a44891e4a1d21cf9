"""The trader's hand: what is asked for, what is refused with the mend, what stands, and what the audit log is told."""

import asyncio

import msgspec
import pytest
from command_line import until
from desk import bench, said
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, NOON, SECOND, smile, update

from kvd.app import locks
from kvd.config import Locks
from kvd.quotes import Lock, Unlock
from kvd.sinks.requests import LockRequest, RequestError, UnlockRequest, read
from kvd.wire import Encoder

ATM = LockRequest("deribit", "BTC", "2026-12-25", "atm_vol", 0.55, 0.002, for_s=60.0)
VOL = msgspec.structs.replace(ATM, of="vol", strike=70_000.0)
HOUR = 3600 * SECOND


async def refusal(asked):
    with pytest.raises(RequestError) as refused:
        await asked
    return refused.value.code, str(refused.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.ndjson"


# What stands


def test_a_lock_is_put_to_the_calibrator_once_it_is_on_record(path):
    async def run():
        async with bench(path) as b:
            b.now_us += SECOND
            lock = await b.hand.lock(VOL, "desk")
            assert said(path)[-1] == (
                "lock",
                {
                    "id": lock.id, "author": "desk", "venue": "deribit", "underlying": "BTC",
                    "expiry": "2026-12-25T08:00:00.000000Z", "of": "vol", "strike": 70_000.0, "value": 0.55,
                    "sd": 0.002, "until": "2026-07-02T12:01:01.000000Z",
                },
            )  # fmt: skip
            assert b.events() == [
                Lock(
                    lock.id, "deribit", "BTC", CHRISTMAS, "vol", 70_000.0, 0.55, 0.002, "desk",
                    NOON + 61 * SECOND, NOON + SECOND,
                )
            ]  # fmt: skip
            other = await b.hand.lock(ATM, "desk")
            assert len({lock.id, other.id}) == 2 and len(lock.id) == 8
            assert b.hand.statistics() == (2, {"lock": 2})

    asyncio.run(run())


def test_anybody_who_may_lock_may_release_and_the_log_says_who(path):
    async def run():
        async with bench(path) as b:
            lock = await b.hand.lock(ATM, "desk")
            b.events()
            b.now_us += SECOND
            await b.hand.unlock(UnlockRequest(lock.id), "risk")
            assert b.events() == [Unlock(lock.id, "deribit", "BTC", NOON + SECOND)]
            code, message = await refusal(b.hand.unlock(UnlockRequest(lock.id), "risk"))
            assert code == "bad_lock" and f"no lock '{lock.id}' stands; there are none" in message
            assert b.hand.statistics() == (0, {"lock": 1, "unlock": 1})
            assert said(path)[-1] == ("unlock", {"id": lock.id, "author": "risk", "set_by": "desk"})

    asyncio.run(run())


def test_a_lock_is_released_when_it_is_due_by_the_daemons_clock_alone(path):
    async def run():
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        async with bench(path, lambda: NOON + round((loop.time() - begun_s) * SECOND)) as b:
            releasing = asyncio.ensure_future(b.hand.release())
            late = await b.hand.lock(ATM, "desk")
            first = await b.hand.lock(msgspec.structs.replace(ATM, for_s=0.25), "desk")
            assert [event.id for event in b.events()] == [late.id, first.id]
            await until(lambda: b.hand.statistics().standing == 1)
            (released,) = b.events()
            assert released.id == first.id
            assert 0 <= released.receive_us - first.until_us < SECOND / 10
            releasing.cancel()

    asyncio.run(run())
    assert [kind for kind, _ in said(path)] == ["started", "lock", "lock", "released", "published", "stopped"]


def test_locks_end_with_the_daemon_and_the_log_names_them(path):
    async def run():
        async with bench(path) as b:
            lock = await b.hand.lock(ATM, "desk")
            return lock.id

    id_ = asyncio.run(run())
    assert said(path)[-1] == ("stopped", {"locks": [id_], "refused_unlisted": {}})


def test_only_so_many_stand_even_of_those_asked_for_at_once(path):
    async def run():
        async with bench(path, most=3) as b:
            asked = [b.hand.lock(ATM, "desk") for _ in range(10)]
            came = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(lock, Lock) for lock in came) == 3
            assert {str(e)[:33] for e in came if not isinstance(e, Lock)} == {"3 locks stand (lock.most): wait f"}
            assert "release one of" in (await refusal(b.hand.lock(ATM, "desk")))[1]
            await b.hand.unlock(UnlockRequest(b.events()[0].id), "desk")
            await b.hand.lock(ATM, "desk")

    asyncio.run(run())


# What is refused


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"venue": "okx"}, "there is no smile of 'okx.BTC'; there are BTC of deribit"),
        ({"underlying": "DOGE"}, "there is no smile of 'deribit.DOGE'; there are BTC of deribit"),
        ({"expiry": "2026-12-24"}, "deribit.BTC has no expiry '2026-12-24'; there are 2026-12-25, 2026-12-26"),
        ({"expiry": "2026-12-25T08:00"}, "there are 2026-12-25, 2026-12-26"),
        ({"venue": "deribit.BTC", "underlying": "2026-12-25", "expiry": ""}, "there is no smile of"),
        ({"value": 55.0}, "choose one between 0.01 and 5; vols are decimals, 0.55 is 55 %"),
        ({"value": -0.55}, "choose one between 0.01 and 5"),
        ({"value": float("nan")}, "choose one between"),
        ({"of": "skew", "value": -7.31}, "is no skew: choose one between -2 and 2"),
        ({"of": "curvature", "value": 0.0}, "choose one between 0.001 and 10"),
        ({"of": "put_wing", "value": -0.1}, "choose one between 0 and 5"),
        ({"sd": 0.0}, '"sd" 0 is out of range: it says how firm the lock is, from 1e-05 to 1'),
        ({"sd": -1.0}, "out of range"),
        ({"sd": 7.0}, "out of range"),
        ({"sd": float("nan")}, "out of range"),
        ({"of": "vol"}, 'add "strike"'),
        ({"strike": 70_000.0}, 'leave out "strike", or let "of" be vol'),
        ({"of": "vol", "strike": 70.0}, "the forward is 64250.5, and a strike lies within a factor of ten"),
        ({"of": "vol", "strike": float("nan")}, "is no strike"),
        ({"for_s": None}, 'either "until", such as'),
        ({"until": "2026-07-02T13:00:00Z"}, 'either "until", such as'),
        ({"for_s": 0.0}, "above 0 and at most 86400 (lock.longest_h)"),
        ({"for_s": 86_401.0}, "at most 86400"),
        ({"for_s": float("inf")}, "at most 86400"),
        ({"for_s": float("nan")}, "at most 86400"),
        ({"for_s": None, "until": "soon"}, "'soon' is no time: write it in UTC"),
        ({"for_s": None, "until": "2026-07-02T13:00:00"}, "is no time: write it in UTC"),
        ({"for_s": None, "until": "2026-07-02T12:00:00Z"}, "after now, 2026-07-02T12:00:00.000000Z"),
        ({"for_s": None, "until": "2026-07-03T12:00:01Z"}, "at most 24 hours ahead"),
    ],
)
def test_a_lock_that_makes_no_sense_is_refused_with_the_mend(path, changes, says):
    async def run():
        async with bench(path) as b:
            code, message = await refusal(b.hand.lock(msgspec.structs.replace(ATM, **changes), "desk"))
            assert code == "bad_lock" and says in message
            assert (b.events(), b.hand.statistics().standing) == ([], 0)

    asyncio.run(run())


def test_a_lock_ends_before_its_expiry_does(path):
    async def run():
        async with bench(path) as b:
            b.now_us = CHRISTMAS - HOUR
            until = msgspec.structs.replace(ATM, for_s=3600.0)
            code, message = await refusal(b.hand.lock(until, "desk"))
            assert (code, message) == (
                "bad_lock",
                "the expiry settles at 2026-12-25T08:00:00.000000Z: let the lock end before",
            )
            await b.hand.lock(msgspec.structs.replace(ATM, for_s=3599.0), "desk")

    asyncio.run(run())


def test_an_expiry_that_left_cannot_be_locked(path):
    async def run():
        async with bench(path) as b:
            b.publish(update(withdrawn=(CHRISTMAS,)))
            assert "there are 2026-12-26" in (await refusal(b.hand.lock(ATM, "desk")))[1]

    asyncio.run(run())


numbers = st.floats() | st.sampled_from([0.55, 0.01, 60.0, 70_000.0])
texts = st.text(max_size=20)


@settings(deadline=None)
@given(
    st.builds(
        LockRequest, st.just("deribit") | texts, st.just("BTC") | texts, st.just("2026-12-25") | texts,
        st.sampled_from(sorted(locks.VALUES)), numbers, numbers, st.none() | numbers, st.none() | texts
        | st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()), st.none() | numbers,
    )
)  # fmt: skip
def test_whatever_is_asked_gives_a_lock_that_makes_sense_or_one_sentence(asked):
    encoder = Encoder("e1")
    encoder.encode(update(smile()))
    forwards = {("deribit", "BTC", CHRISTMAS): 64_250.5}
    try:
        lock = locks.read(asked, "id", "desk", Locks(), encoder, forwards, NOON)
    except RequestError as error:
        assert error.code == "bad_lock" and "\n" not in str(error)[:40]
    else:
        low, high = locks.VALUES[lock.of]
        assert low < lock.value < high and locks.LEAST_SD <= lock.sd <= locks.MOST_SD
        assert NOON < lock.until_us <= NOON + 24 * HOUR
        assert (lock.of == "vol") == (lock.strike is not None)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ('{"op":"lock"}', "missing required field `venue`"),
        (
            '{"op":"lock","venue":"deribit","underlying":"BTC","expiry":"2026-12-25","of":"atm","value":1,"sd":1}',
            "$.of",
        ),
        ('{"op":"lock","venue":1}', "$.venue"),
        ('{"op":"unlock"}', "missing required field `id`"),
        ('{"op":"unlock","id":7}', "$.id"),
    ],
)
def test_a_request_with_wrong_words_is_a_bad_lock_with_an_example(frame, says):
    with pytest.raises(RequestError) as refused:
        read(frame)
    assert refused.value.code == "bad_lock"
    assert says in str(refused.value) and 'send such as {"op":"' in str(refused.value)


def test_the_examples_in_refusals_can_be_sent():
    for op in ("lock", "unlock"):
        with pytest.raises(RequestError) as refused:
            read(f'{{"op":"{op}"}}')
        assert read(str(refused.value).partition("send such as ")[2])


# Without an audit log


def test_without_an_audit_log_nothing_is_locked():
    async def run():
        async with bench(None) as b:
            code, message = await refusal(b.hand.lock(ATM, "desk"))
            assert (code, "set audit.path" in message) == ("no_audit", True)
            assert (b.events(), b.hand.statistics().standing) == ([], 0)
            b.hand.refused("desk", code, message)
            assert b.hand.statistics().acts == {"refused": 1}

    asyncio.run(run())


def test_a_log_that_cannot_be_written_stops_locks_but_no_release(path):
    async def run():
        async with bench(path) as b:
            lock = await b.hand.lock(ATM, "desk")
            path.rename(path.with_suffix(".kept"))
            path.with_suffix(".kept").unlink()
            code, message = await refusal(b.hand.lock(ATM, "desk"))
            assert code == "no_audit" and "the file was deleted" in message
            assert b.journal.statistics().failing
            await b.hand.unlock(UnlockRequest(lock.id), "desk")
            assert [type(event) for event in b.events()] == [Unlock]

    asyncio.run(run())


# What the log is told besides


def test_refusals_are_on_record_and_a_flood_of_them_is_counted(path):
    async def run():
        async with bench(path) as b:
            for number in range(50):
                b.hand.refused("reader", "forbidden", f"number {number}")
            b.hand.refused("desk", "bad_lock", "x" * 1000)
            b.now_us += 60 * SECOND
            b.hand.refused("reader", "forbidden", "later")
            for _ in range(12):
                b.hand.refused("reader", "forbidden", "more")
            assert b.hand.statistics().acts == {"refused": 64}

    asyncio.run(run())
    told = [content for kind, content in said(path) if kind == "refused"]
    of_reader = [content for content in told if content["author"] == "reader"]
    assert [content["message"] for content in of_reader[:20]] == [f"number {number}" for number in range(20)]
    assert of_reader[20] == {"author": "reader", "code": "forbidden", "message": "later", "unlisted_before": 30}
    assert len(of_reader) == 26 and said(path)[-1][1]["refused_unlisted"] == {"reader": 7}
    assert [len(content["message"]) for content in told if content["author"] == "desk"] == [300]
