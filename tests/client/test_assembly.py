"""Surfaces come whole batches at a time, whatever their messages are mixed with."""

from hypothesis import given
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, SECOND, same, smile, update

from kvd.client.assembly import Assembly
from kvd.client.frames import read
from kvd.wire import Encoder

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(4))


def bodies(*smiles, withdrawn=(), encoder=None):
    """The bodies of one batch, as the topic `surface` carries them."""
    made = update(*smiles, withdrawn=withdrawn)
    if not smiles:
        made = made._replace(publish_us=NOON + SECOND)
    encoder = encoder or Encoder("e")
    messages = [message for message in encoder.encode(made) if message.kind == "surface"]
    return [body for message in messages for body in read(message.payload)[1]]


def test_a_batch_is_shown_when_the_next_one_begins():
    assembly = Assembly("deribit", "BTC")
    first, second = bodies(smile(publish_us=NOON), smile(EXPIRIES[1], publish_us=NOON))
    (later,) = bodies(smile(publish_us=NOON + SECOND, reason="later"))
    assembly.put(first)
    assert not assembly.changed
    assembly.put(second)
    assert not assembly.changed
    assembly.put(later)
    assert assembly.changed
    shown = assembly.surface()
    assert (shown.venue, shown.underlying) == ("deribit", "BTC")
    assert [s.expiry_us for s in shown.smiles] == list(EXPIRIES[:2])
    assert [s.reason for s in shown.smiles] == ["", ""]
    assert not assembly.changed
    assembly.settle()
    assert [s.reason for s in assembly.surface().smiles] == ["later", ""]


def test_what_comes_back_is_the_smile_that_was_sent():
    assembly = Assembly("deribit", "BTC")
    assembly.replace(bodies(smile()))
    assembly.settle()
    (shown,) = assembly.surface().smiles
    assert same(shown, smile())


def test_the_withdrawn_leave_and_a_snapshot_replaces():
    encoder, assembly = Encoder("e"), Assembly("deribit", "BTC")
    assembly.replace(bodies(smile(), smile(EXPIRIES[1]), encoder=encoder))
    assembly.settle()
    (withdrawn,) = bodies(withdrawn=(CHRISTMAS,), encoder=encoder)
    assembly.put(withdrawn)
    assembly.settle()
    assert [s.expiry_us for s in assembly.surface().smiles] == [EXPIRIES[1]]
    assembly.replace(bodies(smile(EXPIRIES[2])))
    assembly.settle()
    assert [s.expiry_us for s in assembly.surface().smiles] == [EXPIRIES[2]]
    assembly.replace(())
    assembly.settle()
    assert assembly.changed and assembly.surface().smiles == ()


def test_the_same_again_is_no_change():
    assembly = Assembly("deribit", "BTC")
    assembly.replace(bodies(smile(), smile(EXPIRIES[1])))
    assembly.settle()
    assembly.surface()
    assembly.replace(bodies(smile(), smile(EXPIRIES[1])))
    assembly.settle()
    assert not assembly.changed and assembly.overwrites == 0


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=4, unique_by=lambda part: part[0]), max_size=12
    ),
    st.data(),
)
def test_only_states_between_batches_are_shown_and_the_last_is(batches, data):
    """The oracle: a dictionary that takes a batch at a time."""
    encoder, assembly = Encoder("e"), Assembly("deribit", "BTC")
    model, states, shown = {}, [{}], []
    for number, batch in enumerate(batches):
        present = [EXPIRIES[i] for i, stays in batch if stays]
        gone = tuple(EXPIRIES[i] for i, stays in batch if not stays and EXPIRIES[i] in model)
        at_us = NOON + number * SECOND
        made = update(*(smile(e, publish_us=at_us, reason=f"{number}") for e in present), withdrawn=gone)
        made = made._replace(publish_us=at_us)
        for message in encoder.encode(made):
            if message.kind == "surface":
                assembly.put(read(message.payload)[1][0])
                if data.draw(st.booleans()) and assembly.changed:
                    shown.append({s.expiry_us: s.reason for s in assembly.surface().smiles})
        model = {e: r for e, r in model.items() if e not in gone} | dict.fromkeys(present, f"{number}")
        states.append(model)
    assembly.settle()
    if assembly.changed:
        shown.append({s.expiry_us: s.reason for s in assembly.surface().smiles})
    assert all(state in states for state in shown)
    assert (shown or [{}])[-1] == model
