"""A calibrator put aside and taken up again: it must not be able to tell, and neither must anybody who listens."""

from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from eventful import SETTINGS, hour, told
from hypothesis import example, given
from hypothesis import settings as drawn
from hypothesis import strategies as st
from recursive import differences

from kvd.app.tape import batches
from kvd.calibrator import Calibrator
from kvd.calibrator.book import Book
from kvd.calibrator.records import BookState
from kvd.calibrator.state import (
    FINGERPRINT,
    LAYOUT,
    VERSION,
    CalibratorState,
    StateError,
    decode,
    encode,
    settings_of,
)
from kvd.config import Settings
from kvd.feeds.replay import replay
from kvd.latest import Batch, Inbox
from kvd.quotes import Gap, Quote, Unlock
from kvd.venues import deribit
from kvd.wire import Encoder

GOLDEN = Path(__file__).parents[1] / "golden" / "state_layout.txt"
LEFT_OUT = frozenset(
    {
        "Book.work",  # how the newest update was made: what comes after it does not depend on it
        "Book._withheld",  # remembers hashes of names, which are taken anew
        "Forwards._found",  # made of prices and biases when somebody asks
    }
)


class Passed(NamedTuple):
    """What there was after each batch of the hour: the state, and every message so far."""

    batches: list[Batch]
    states: list[bytes]
    numberings: list
    messages: list[list[bytes]]


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    calibrator, encoder = Calibrator(SETTINGS), Encoder("hour")
    passed = Passed(hour(tmp_path_factory.mktemp("hour")), [], [], [])
    for batch in passed.batches:
        passed.messages.append(told(calibrator, encoder, [batch]))
        passed.states.append(encode(calibrator.state()))
        passed.numberings.append(encoder.state())
    return passed


def restored(state: CalibratorState, settings=SETTINGS) -> Calibrator:
    calibrator = Calibrator(settings)
    calibrator.restore(state)
    return calibrator


def test_the_hour_holds_what_it_should(passed):
    said = b"".join(payload for messages in passed.messages for payload in messages)
    for word in (b'"predicted"', b'"settling"', b'"withdrawn"', b'"interrupted"', b'"ann"', b'"limits"'):
        assert word in said, word
    states = [decode(state).books[0] for state in passed.states]
    for name, ever in {
        "doubts": lambda s: s.forwards.sources.doubts,
        "young": lambda s: any(start.heard for start in s.young.values()),
        "news": lambda s: s.hand.news,
        "underway": lambda s: s.hand.underway,
        "reach": lambda s: s.hand.reach,
        "said": lambda s: s.hand.said,
        "market": lambda s: s.showcase.market,
        "noise": lambda s: s.noise_factor != 1,
        "turned": lambda s: s.marks.turned_us,
    }.items():
        assert any(map(ever, states)), name


def test_after_every_batch_a_restored_calibrator_is_the_same_to_the_last_bit_and_goes_on_so(passed):
    """Each is compared to the bottom right after, and once more after the next batch: so are all that come then."""
    running, encoder, before = Calibrator(SETTINGS), Encoder("hour"), None
    for batch, messages, numbering in zip(passed.batches, passed.messages, passed.numberings, strict=True):
        assert told(running, encoder, [batch]) == messages
        if before:
            assert told(*before, [batch]) == messages
            assert [*differences(running, before[0], leaving_out=LEFT_OUT)] == []
        again = restored(decode(encode(running.state()))), Encoder("hour")
        again[1].restore(numbering)
        assert [*differences(running, again[0], leaving_out=LEFT_OUT)] == []
        before = again


@drawn(max_examples=3, deadline=None)
@given(st.lists(st.integers(0, 28), min_size=1, max_size=3).map(sorted))
def test_an_hour_cut_anywhere_however_often_comes_to_the_same_bytes(passed, cuts):
    calibrator, encoder, at, messages = Calibrator(SETTINGS), Encoder("hour"), 0, []
    for cut in [*cuts, len(passed.batches)]:
        messages += told(calibrator, encoder, passed.batches[at:cut])
        kept, at = (decode(encode(calibrator.state())), encoder.state()), cut
        calibrator, encoder = restored(kept[0]), Encoder("hour")
        encoder.restore(kept[1])
    assert messages == [*chain.from_iterable(passed.messages)]


@pytest.mark.data
@pytest.mark.parametrize("tape", ["deribit-btc-2023-04-13.ndjson.gz", "deribit-eth-2023-04-12.ndjson.gz"])
def test_on_real_tapes_a_restored_calibrator_is_the_same_to_the_last_bit(market_data: Path, tape: str):
    """Taken up anew now and then, and compared to the bottom before that."""
    events = replay(market_data / "tapes" / tape, deribit.Session(Settings().deribit))
    running, encoder = Calibrator(Settings()), Encoder("tape")
    again, other = restored(running.state(), Settings()), Encoder("tape")
    for number, batch in enumerate(islice(batches(events, 50_000, lambda _: None), 250)):
        assert told(running, encoder, [batch]) == told(again, other, [batch])
        if number % 41 == 0:
            assert [*differences(running, again, leaving_out=LEFT_OUT)] == []
            again, other = restored(decode(encode(running.state())), Settings()), Encoder("tape")
            other.restore(encoder.state())
    assert number == 249
    assert [*differences(running, again, leaving_out=LEFT_OUT)] == []


def leaves(record, path=()):
    """The paths of all fields that are not records themselves."""
    for name in record._fields:
        below = getattr(record, name)
        yield from leaves(below, (*path, name)) if hasattr(below, "_fields") else [(*path, name)]


def taken(record, path):
    return taken(getattr(record, path[0]), path[1:]) if path else record


def put(record, path, value):
    return record._replace(**{path[0]: put(getattr(record, path[0]), path[1:], value)}) if path else value


def test_whatever_is_left_out_of_a_state_is_missed(passed):
    """Or the comparison would be blind: every field in turn is nought, or that of a book which has heard nothing."""
    empty, seen = Book("deribit", "BTC", SETTINGS).state(), set()
    for number in range(0, len(passed.states), 4):
        state = decode(passed.states[number])
        whole, (book,) = restored(state), state.books
        for path in leaves(book):
            own = taken(book, path)
            blank = np.zeros_like(own) if isinstance(own, np.ndarray) else taken(empty, path)
            if [*differences(blank, own)]:
                seen.add(path)
                without = restored(CalibratorState([put(book, path, blank)]))
                assert [*differences(whole, without, leaving_out=LEFT_OUT)] != [], path
    assert len(seen) >= len(BookState._fields) + 40


def test_a_state_stays_what_it_was_whoever_goes_on_from_it(passed):
    running = restored(decode(passed.states[10]))
    state = running.state()
    one, other = restored(state), restored(state)
    for calibrator in (running, one, other):
        assert told(calibrator, Encoder("hour"), passed.batches[11:16])
        assert encode(state) == passed.states[10]
    assert [*differences(one, other)] == [*differences(one, running)] == []


def test_arrays_lie_in_memory_as_they_did(passed):
    """Products of matrices differ in their last digits with it."""
    (book,) = decode(passed.states[-1]).books
    P, A = np.asfortranarray(book.joint.P), book.joint.A.transpose(0, 2, 1).copy().transpose(0, 2, 1)
    state = CalibratorState([book._replace(joint=book.joint._replace(P=P, A=A))])
    assert not P.flags.c_contiguous and not A.flags.c_contiguous
    assert [*differences(decode(encode(state)), state)] == []
    (kept,) = restored(decode(encode(state))).state().books
    assert (kept.joint.P.strides, kept.joint.A.strides) == (P.strides, A.strides)


def test_a_fresh_calibrator_has_a_state_too():
    assert [*differences(restored(decode(encode(Calibrator(SETTINGS).state()))), Calibrator(SETTINGS))] == []


@drawn(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_that_are_no_state_are_refused_by_name(passed, data):
    """Changed, cut, stretched or patched together: either it is a state still, or it is said not to be one."""
    whole = data.draw(st.sampled_from(passed.states[::6]))
    at, upto = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    other = data.draw(st.one_of(st.binary(max_size=40), st.sampled_from([whole[:at], whole[at:upto], whole])))
    mutated = data.draw(st.sampled_from([whole[:at], whole[:at] + other + whole[upto:], whole[:at] + other, other]))
    try:
        state = decode(mutated)
    except StateError as error:
        assert str(error)
    else:
        assert decode(encode(state)).books[0].venue == state.books[0].venue if state.books else True


@given(st.binary(max_size=60))
@example(b"\x91\xdd\xff\xff\xff\xff")
@example(b"\x91" * 100_000)
def test_any_bytes_at_all_are_refused_by_name_or_hold_no_book(noise):
    try:
        assert decode(noise).books == []
    except StateError:
        return


def written(dtype="<f8", shape=(2,), axes=(0,), content=bytes(16)):
    return dtype, list(shape), list(axes), content


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (written(dtype="<f4"), "an array of <f4, not of <f8"),
        (written(content=bytes(15)), "an array of 15 bytes, not of shape"),
        (written(shape=(-2,)), "an array of no shape"),
        (written(axes=(1,)), "an array of no shape"),
        (written()[:3], "not an array"),
        ("array", "not an array"),
        (written(shape=(2**63, 0), axes=(0, 1), content=b""), "."),
    ],
)
def test_an_array_that_is_none_is_refused(passed, array, why):
    plain = msgspec.msgpack.decode(passed.states[-1])
    joint = list(BookState._fields).index("joint")
    plain[0][0][joint][0] = array
    with pytest.raises(StateError, match=why):
        decode(msgspec.msgpack.encode(plain))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("joint", "P"), np.zeros((3, 3)), "joint P of shape"),
        (("board", "ask"), np.zeros(1), "board of shape"),
        (("forwards", "pairs", "bid"), np.zeros(4), "pairs bid of shape"),
        (("climate", "z"), np.zeros(0), "climate of shape"),
        (("scale", "value"), np.zeros(2), "scale of shape"),
        (("rungs",), {}, "rungs of other expiries"),
        (("showcase", "judged"), {1: np.zeros(5)}, "slices that are not the joint's"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(passed, path, value, why):
    (book,) = decode(passed.states[-1]).books
    with pytest.raises(StateError, match=f"deribit BTC: {why}"):
        decode(encode(CalibratorState([put(book, path, value)])))


def test_nothing_but_what_is_typed_can_be_written():
    with pytest.raises(NotImplementedError, match="a state holds no object"):
        encode(CalibratorState([object()]))


def test_the_layout_changes_with_the_version_alone():
    version, _, fingerprint = GOLDEN.read_text("utf-8").strip().partition("-")
    if fingerprint != FINGERPRINT:
        assert str(VERSION) != version, (
            "what a state is made of has changed: bump the version in kvd/calibrator/state.py"
        )
    assert GOLDEN.read_text("utf-8").strip() == LAYOUT, f"write {LAYOUT} to {GOLDEN.name}"


def test_settings_that_a_state_depends_on_are_named():
    settings = settings_of(Settings())
    assert settings["dynamics.gap_factor"] == 2.0 and settings["venues"] == ["deribit"]
    assert settings["deribit.currencies"] == ["BTC", "ETH", "USDC"]
    assert not {name for name in settings if name.startswith(("publish", "log", "audit", "feed", "lock."))}
    assert msgspec.json.decode(msgspec.json.encode(settings)) == settings
    other = settings_of(msgspec.convert({"watch": {"memory": 100.0}, "publish": {"port": 1}}, Settings))
    assert {name for name in settings if settings[name] != other[name]} == {"watch.memory"}


def quotes_of(batch):
    return [event for event in batch.events if isinstance(event, Quote)]


def restart(calibrator, since_us):
    """The first batch of a daemon that goes on: a gap, which is all that its inbox has heard."""
    inbox = Inbox(50_000)
    inbox.put(Gap("deribit", since_us, "restarted"))
    batch = inbox.take()
    assert batch.instant_us - 50_000 < since_us <= batch.instant_us
    (update,) = calibrator.step(batch)
    return update


def test_after_a_restart_every_smile_is_said_at_once_and_why_it_is_wider(passed):
    number = 20
    state = decode(passed.states[number])
    held = state.books[0].showcase.shown
    assert len(held) >= 5
    update = restart(restored(state), passed.batches[number].instant_us)
    assert [smile.expiry_us for smile in update.smiles] == sorted(held)
    for smile in update.smiles:
        lower = held[smile.expiry_us].smile
        if lower.state in ("predicted", "held"):
            assert (smile.state, smile.reason) == (lower.state, lower.reason)
        else:
            assert (smile.state, smile.reason) == ("widened", "restarted")
    assert {"restarted", "settling"} == {smile.reason for smile in update.smiles}
    assert encode(restored(state).state()) == passed.states[number]


def test_after_a_restart_a_held_smile_is_looked_at_again(passed):
    (book,) = decode(passed.states[20]).books
    expiry_us = max(book.showcase.shown)
    book.rungs[expiry_us].enter(1, "held", "not_repairable")
    kept = decode(encode(CalibratorState([book])))
    assert kept.books[0].rungs[expiry_us].state == "held"
    update = restart(restored(kept), passed.batches[20].instant_us)
    assert update.smiles[-1][0:3] == ("deribit", "BTC", expiry_us)
    assert (update.smiles[-1].state, update.smiles[-1].reason) == ("widened", "restarted")


def test_the_time_away_widens_the_posterior_by_the_gap_factor(passed):
    """Just as a gap of the running stream does."""
    number = next(i for i, batch in enumerate(passed.batches) if i > 16 and len(quotes_of(batch)) > 5)
    state = decode(passed.states[number - 1])
    plain, gapped = restored(state), restored(state)
    restart(gapped, passed.batches[number - 1].instant_us)
    found = [c.step(passed.batches[number]) and c.state().books[0].joint for c in (plain, gapped)]
    narrow, wide = (np.sqrt(joint.P.diagonal()).reshape(-1, 5)[:, 0] for joint in found)
    assert (wide > narrow).all()


def test_locks_that_nobody_answers_for_after_a_restart_can_be_released(passed):
    state, instant_us = decode(passed.states[14]), passed.batches[14].instant_us
    assert {"said", "skewed"} <= {lock.id for lock in state.locks}
    calibrator = restored(state)
    assert any(smile.locked[0].id for smile in restart(calibrator, instant_us).smiles if smile.locked)
    released = [Unlock(lock.id, lock.venue, lock.underlying, instant_us) for lock in state.locks]
    (update,) = calibrator.step(Batch(instant_us, tuple(released)))
    assert {lock.expiry_us for lock in state.locks} & set(state.books[0].rungs) <= {s.expiry_us for s in update.smiles}
    assert not any(lock.id for smile in update.smiles for lock in smile.locked)
    assert calibrator.state().locks == []


def test_expiries_that_passed_while_nobody_looked_are_withdrawn(passed):
    state = decode(passed.states[10])
    gone = min(state.books[0].showcase.shown)
    calibrator = restored(state)
    restart(calibrator, passed.batches[10].instant_us)
    (update,) = calibrator.step(passed.batches[-1])
    assert gone in update.withdrawn
    assert gone not in {smile.expiry_us for smile in update.smiles}
    left = calibrator.state().books[0]
    assert gone not in {*left.rungs, *left.young, *left.showcase.shown, *left.board.expiry_us.tolist()}
    assert decode(encode(CalibratorState([left])))
