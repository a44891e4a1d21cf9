import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kvd.latest import Batch, Inbox, Latest
from kvd.quotes import ForwardQuote, Gap, Instrument, Lock, Quote, Unlock

GRID = 50_000
NAMES = ("A", "B", "C")


def quote(name: str, receive_us: int, bid: float = 1.0) -> Quote:
    option = Instrument(name, "deribit", "BTC", 10**15, 50_000.0, "call", True)
    return Quote(option, bid, 2.0, 1.0, 1.0, None, None, None, None, "", receive_us, receive_us)


def gap(since_us: int) -> Gap:
    return Gap("deribit", since_us, "closed")


def drain(inbox: Inbox) -> list[Batch]:
    return list(iter(inbox.take, None))


stamps = st.lists(st.integers(1, 40 * GRID), min_size=1, max_size=60).map(sorted)
tapes = stamps.flatmap(lambda at: st.tuples(*[st.builds(quote, st.sampled_from(NAMES), st.just(us)) for us in at]))


@given(tapes, st.data())
def test_batches_depend_on_stamps_alone(events, data):
    """A reader that seals each cell when its time has passed, at whatever moment, sees what the tape's reader sees."""
    replayed, live = Inbox(GRID), Inbox(GRID)
    from_tape, from_clock = [], []
    for event in events:
        replayed.put(event)
        from_tape += drain(replayed)
        until = live.open_until_us
        if until is not None and event.receive_us > until and data.draw(st.booleans()):
            live.seal()
        live.put(event)
        from_clock += drain(live)
    replayed.seal()
    live.seal()
    assert from_tape + drain(replayed) == from_clock + drain(live)
    assert replayed.overwrites == live.overwrites == 0


@given(tapes)
def test_a_batch_holds_the_newest_of_each_key_and_nothing_later_than_its_instant(events):
    inbox = Inbox(GRID)
    batches = []
    for event in events:
        inbox.put(event)
        batches += drain(inbox)
    inbox.seal()
    batches += drain(inbox)
    kept = [event for batch in batches for event in batch.events]
    assert len(kept) + inbox.conflated == len(events)
    instants = [batch.instant_us for batch in batches]
    assert instants == sorted(set(instants))
    for batch in batches:
        assert batch.instant_us % GRID == 0
        assert all(batch.instant_us - GRID < event.receive_us <= batch.instant_us for event in batch.events)
        names = [event.instrument.name for event in batch.events]
        assert len(names) == len(set(names))
    assert [event for event in kept if event.instrument.name == "A"][-1:] == [
        event for event in events if event.instrument.name == "A"
    ][-1:]


def test_a_late_reader_finds_waiting_cells_merged_and_the_loss_counted():
    inbox = Inbox(GRID)
    for cell in range(1, 5):
        inbox.put(quote("A", cell * GRID, bid=float(cell)))
    inbox.put(quote("B", 4 * GRID))
    inbox.seal()
    (batch,) = drain(inbox)
    assert batch == Batch(4 * GRID, (quote("A", 4 * GRID, bid=4.0), quote("B", 4 * GRID)))
    assert inbox.overwrites == 3
    assert inbox.conflated == 0


def test_a_gap_stands_alone_at_the_instant_of_the_last_cell():
    inbox = Inbox(GRID)
    inbox.put(quote("A", 2 * GRID - 1))
    inbox.put(gap(2 * GRID - 1))
    inbox.put(quote("A", 9 * GRID))
    inbox.seal()
    assert drain(inbox) == [
        Batch(2 * GRID, (quote("A", 2 * GRID - 1),)),
        Batch(2 * GRID, (gap(2 * GRID - 1),)),
        Batch(9 * GRID, (quote("A", 9 * GRID),)),
    ]


@given(st.integers(1, 10**16))
def test_a_gap_before_all_else_stands_in_the_cell_of_its_own_instant(since_us):
    inbox = Inbox(GRID)
    inbox.put(gap(since_us))
    inbox.put(quote("A", since_us + GRID))
    inbox.seal()
    first, second = drain(inbox)
    assert first.events == (gap(since_us),)
    assert first.instant_us % GRID == 0 and first.instant_us - GRID < since_us <= first.instant_us
    assert second.instant_us == first.instant_us + GRID


def test_futures_and_options_of_one_name_do_not_meet():
    inbox = Inbox(GRID)
    inbox.put(ForwardQuote("A", "deribit", "BTC", None, 1.0, 2.0, 5, 5))
    inbox.put(ForwardQuote("A", "other", "BTC", None, 1.0, 2.0, 5, 5))
    inbox.seal()
    (batch,) = drain(inbox)
    assert len(batch.events) == 2


def test_the_newest_word_on_a_lock_wins_and_other_locks_and_quotes_are_left_alone():
    def lock(id_: str, value: float) -> Lock:
        return Lock(id_, "deribit", "BTC", 10**15, "atm_vol", None, value, 0.01, "ann", 10**15, 5)

    inbox = Inbox(GRID)
    quoted, released = quote("1", 5), Unlock("1", "deribit", "BTC", GRID)
    for event in (lock("1", 0.5), lock("2", 0.6), quoted, lock("2", 0.7), released):
        inbox.put(event)
    inbox.seal()
    (batch,) = drain(inbox)
    assert batch == Batch(GRID, (released, lock("2", 0.7), quoted))
    assert inbox.conflated == 2
    inbox.put(lock("1", 0.8))
    inbox.put(msgspec.structs.replace(released, receive_us=3 * GRID))
    inbox.seal()
    (waiting,) = drain(inbox)
    assert waiting.events == (msgspec.structs.replace(released, receive_us=3 * GRID),)


def test_an_event_stamped_earlier_joins_the_open_cell():
    inbox = Inbox(GRID)
    inbox.put(quote("A", 3 * GRID))
    inbox.put(quote("B", GRID))
    inbox.seal()
    (batch,) = drain(inbox)
    assert batch.instant_us == 3 * GRID
    assert len(batch.events) == 2


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers())))
def test_latest_keeps_the_newest_in_the_order_of_writing(writes):
    latest: Latest[str, int] = Latest()
    overwritten = [latest.put(key, value) for key, value in writes]
    assert len(latest) == len(dict(writes))
    taken = latest.take()
    assert taken == dict(writes)
    assert [*taken] == sorted(taken, key=lambda key: max(i for i, (k, _) in enumerate(writes) if k == key))
    assert latest.overwrites == sum(overwritten) == len(writes) - len(dict(writes))
    assert latest.take() == {}
