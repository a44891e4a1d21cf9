"""What waits for a slow iterator: the newest of each thing, never a queue, and never a silent loss."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

from kvd.client.chain import Chain
from kvd.client.frames import read
from kvd.client.weirs import Messages, Newest, Surfaces
from kvd.wire import Encoder

EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(3))


def say(weir, message):
    frame, bodies = read(message)
    weir.hear(frame, bodies, message)


def batch(encoder, number, *expiries, kind="surface", withdrawn=()):
    """The messages of one batch in the topics of one kind."""
    made = update(
        *(smile(e, publish_us=NOON + number * SECOND, reason=str(number)) for e in expiries), withdrawn=withdrawn
    )
    return [m.payload for m in encoder.encode(made) if m.kind == kind]


def popped(weir):
    found = []
    while (thing := weir.pop()) is not None:
        found.append(thing)
    return found


def gap(topic="surface.deribit.BTC", **fields):
    return json.dumps({"type": "gap", "topic": topic, "epoch": "e", **fields}).encode()


# Surfaces


def test_each_surface_that_changed_is_given_once_and_all_get_their_turn():
    weir, encoder = Surfaces(), Encoder("e")
    for underlying in ("BTC", "ETH"):
        for message in encoder.encode(update(smile(underlying=underlying))):
            if message.kind == "surface":
                say(weir, message.payload)
    assert weir.pop() is None
    weir.settle()
    assert [surface.underlying for surface in popped(weir)] == ["BTC", "ETH"]
    for number in (1, 2, 3):
        for message in batch(encoder, number, CHRISTMAS):
            say(weir, message)
    weir.settle()
    (surface,) = popped(weir)
    assert surface.smiles[0].reason == "3"
    assert weir.overwrites == 2


def test_a_surface_that_is_forgotten_is_empty_unless_a_snapshot_follows():
    weir, encoder = Surfaces(), Encoder("e")
    for message in batch(encoder, 0, *EXPIRIES):
        say(weir, message)
    weir.settle()
    assert len(popped(weir)[0].smiles) == 3
    weir.forget("surface.deribit.BTC")
    say(weir, encoder.snapshot("surface.deribit.BTC"))
    weir.settle()
    assert popped(weir) == []
    weir.forget("surface.deribit.BTC")
    weir.settle()
    assert [surface.smiles for surface in popped(weir)] == [()]
    weir.forget("surface.deribit.DOGE")


@pytest.mark.parametrize(("reason", "left"), [("slow", 3), ("too_old", 0), ("new_epoch", 0), ("unknown_seq", 0)])
def test_a_gap_before_a_snapshot_ends_what_was_held(reason, left):
    weir = Surfaces()
    for message in batch(Encoder("e"), 0, *EXPIRIES):
        say(weir, message)
    say(weir, gap(from_seq=4, to_seq=9, reason=reason))
    weir.settle()
    assert sum(len(surface.smiles) for surface in popped(weir)) == left


# Smiles


def test_the_newest_of_each_smile_and_nothing_twice():
    weir, encoder = Newest(lambda body: (body.smile.expiry_us, body.smile.reason)), Encoder("e")
    for number in range(3):
        for message in batch(encoder, number, *EXPIRIES[: 3 - number], kind="smile"):
            say(weir, message)
    assert popped(weir) == [(EXPIRIES[2], "0"), (EXPIRIES[1], "1"), (EXPIRIES[0], "2")]
    assert weir.overwrites == 3
    say(weir, encoder.snapshot("smile.deribit.BTC.2026-12-25"))
    assert popped(weir) == []
    for message in batch(encoder, 3, withdrawn=EXPIRIES[:1], kind="smile"):
        say(weir, message)
    assert popped(weir) == []


# Messages


def test_few_messages_come_as_they_were_sent():
    weir, encoder = Messages(), Encoder("e")
    sent = [message for number in range(20) for message in batch(encoder, number, *EXPIRIES)]
    for message in sent:
        say(weir, message)
    assert popped(weir) == [json.loads(message) for message in sent]
    assert weir.overwrites == 0


@given(st.lists(st.tuples(st.sampled_from(EXPIRIES), st.integers(0, 3)), min_size=1, max_size=40), st.integers(0, 5))
def test_beyond_the_limit_the_chain_still_holds_and_the_newest_of_each_smile_arrives(steps, limit):
    weir, encoder, last, heard = Messages(limit), Encoder("e"), {}, []
    for number, (expiry_us, pops) in enumerate(steps):
        for message in batch(encoder, number, expiry_us):
            say(weir, message)
            last[json.loads(message)["smile"]["expiry"]] = str(number)
        assert len(weir) <= limit + len(EXPIRIES)
        heard += [weir.pop() for _ in range(pops)]
    heard = [message for message in heard + popped(weir) if message]
    seq = heard[0]["prev_seq"]
    for message in heard:
        if message["type"] == "gap":
            assert (message["from_seq"], message["reason"]) == (seq + 1, "slow")
            seq = message["to_seq"]
        else:
            assert message["prev_seq"] == seq
            seq = message["seq"]
    assert seq == len(steps)
    assert {m["smile"]["expiry"]: m["smile"]["reason"] for m in heard if "smile" in m} == last
    assert len(steps) - weir.overwrites == sum("smile" in m for m in heard)


# The chain


def test_the_chain_names_what_is_missing():
    chain, encoder = Chain(), Encoder("e")
    first, second, third, fourth = (read(m)[0] for n in range(4) for m in batch(encoder, n, CHRISTMAS))
    assert chain.missing(second) is None  # the first that is heard begins it
    chain.hear(second)
    assert chain.missing(third) is None
    assert chain.missing(fourth) == (3, 3)
    said = read(gap(from_seq=3, to_seq=3, reason="slow"))[0]
    assert chain.missing(said) is None
    chain.hear(said)
    assert chain.missing(fourth) is None
    chain.hear(fourth)
    assert (chain.epoch, chain.seqs()) == ("e", {"surface.deribit.BTC": 4})
    assert chain.missing(read(gap(from_seq=7, to_seq=9, reason="slow"))[0]) == (5, 6)
    assert chain.missing(read(encoder.snapshot("surface.deribit.BTC"))[0]) is None
    anew = read(batch(Encoder("f"), 0, CHRISTMAS)[0])[0]
    assert chain.missing(anew) is None
    chain.hear(anew)
    assert (chain.epoch, chain.seqs()) == ("f", {"surface.deribit.BTC": 1})
    before_a_snapshot = read(gap(from_seq=2, to_seq=9, reason="too_old"))[0]
    assert chain.missing(before_a_snapshot) is None
    chain.hear(before_a_snapshot)
    assert chain.seqs() == {}
    assert chain.missing(first) is None
