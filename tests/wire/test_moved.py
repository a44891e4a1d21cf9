"""What is worth sending: numbers that moved by more than a part of their sd since they were sent, at two speeds."""

import json
from math import exp, nan, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, smile, update
from subscriber import Subscriber

from kvd.surface import Forward, Locked, Parameters
from kvd.wire import Encoder, Moved

LOCK = Locked("l1", "skew", None, -0.07, 0.001, "ann", CHRISTMAS, -0.0731)


def kinds(encoder, *smiles):
    return [message.kind for message in encoder.encode(update(*smiles))]


def with_parameter(name, factor):
    plain = smile()
    moved = getattr(plain.parameters, name) + factor * getattr(plain.sd, name)
    return plain._replace(parameters=plain.parameters._replace(**{name: moved}))


def with_forward(factor):
    forward = smile().forward
    return smile(forward=forward._replace(value=forward.value + factor * forward.sd))


def with_knot(at, factor):
    plain = smile()
    rho = list(plain.residual)
    rho[at] += factor * plain.vol_sd[at] / plain.parameters.atm_vol
    return plain._replace(residual=tuple(rho))


MOVES = {
    **{name: lambda factor, name=name: with_parameter(name, factor) for name in Parameters._fields},
    "forward": with_forward,
    **{f"knot {at}": lambda factor, at=at: with_knot(at, factor) for at in (0, 5, 11, 22)},
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_number_counts_once_it_has_moved_by_the_part_of_its_sd(name, sign):
    encoder = Encoder("e", moved=Moved(0.5, 0.5))
    small = name in ("forward", "atm_vol", "skew")
    assert kinds(encoder, smile()) == ["surface", "smile", "atm"]
    assert kinds(encoder, MOVES[name](sign * 0.49)) == []
    assert kinds(encoder, MOVES[name](sign * 0.51)) == ["surface", "smile", *["atm"] * small]
    assert encoder.unmoved == {"smile": 1, "atm": 1 if small else 2}


def test_small_steps_add_up_since_the_last_that_was_sent():
    encoder = Encoder("e", moved=Moved(1.0, 1.0))
    sent = [bool(kinds(encoder, with_forward(0.3 * step))) for step in range(12)]
    assert sent == [True, False, False, False] * 3


def test_they_add_up_at_one_speed_while_the_other_sends_them():
    encoder = Encoder("e", moved=Moved(1.0, 0.0))
    sent = [kinds(encoder, with_forward(0.3 * step)) for step in range(12)]
    assert sent == [["surface", "smile", "atm"], ["atm"], ["atm"], ["atm"]] * 3


@pytest.mark.parametrize(("then_sd", "now_sd"), [(10.0, 1.0), (1.0, 10.0)])
def test_where_certainty_has_changed_the_smaller_sd_measures(then_sd, now_sd):
    encoder = Encoder("e", moved=Moved(1.0, 1.0))
    kinds(encoder, smile(forward=Forward(64_000.0, then_sd, "a")))
    assert kinds(encoder, smile(forward=Forward(64_000.5, now_sd, "a"))) == []
    assert kinds(encoder, smile(forward=Forward(64_005.0, now_sd, "a"))) == ["surface", "smile", "atm"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"state": "held"}, ["surface", "smile", "atm"]),
        ({"reason": "wide"}, ["surface", "smile"]),
        ({"locked": (LOCK._replace(value=-0.071),)}, ["surface", "smile"]),
        ({"locked": ()}, ["surface", "smile"]),
        ({"locked": (LOCK._replace(market=-0.09),)}, []),
        ({"certificate": smile().certificate._replace(method="measured")}, ["surface", "smile"]),
        ({"certificate": smile().certificate._replace(butterfly=0.5)}, []),
        ({"quotes": 41, "nis": 3.0, "age_s": None}, []),
    ],
)
def test_words_count_at_once(change, expected):
    encoder = Encoder("e", moved=Moved(5.0, 5.0))
    change.pop("age_s", None)
    kinds(encoder, smile(locked=(LOCK,)))
    assert kinds(encoder, smile(locked=(LOCK,))._replace(**change)) == expected


def test_two_speeds():
    encoder = Encoder("e", moved=Moved(10.0, 0.0))
    kinds(encoder, smile())
    assert kinds(encoder, with_forward(0.1)) == ["atm"]
    late, whole = (json.loads(encoder.snapshot(f"{kind}.deribit.BTC"))["smiles"][0] for kind in ("atm", "surface"))
    assert late["forward"]["value"] > whole["forward"]["value"] == smile().forward.value
    assert (encoder.seq("atm.deribit.BTC"), encoder.seq("surface.deribit.BTC")) == (2, 1)


def test_what_is_not_finite_is_refused_however_little_else_moved():
    encoder = Encoder("e", moved=Moved(5.0, 5.0))
    kinds(encoder, smile())
    with pytest.raises(ValueError, match=r"forward\.value is nan"):
        kinds(encoder, with_forward(nan))


def numbers(one):
    """Every number of a smile that has an sd, with it: by the strikes of the knots."""
    w0 = one.parameters.atm_vol**2 * one.tau
    z = json.loads(Encoder("e").encode(update(one))[0].payload)["smile"]["residual"]["z"]
    vols = [float(one.vol(one.forward.value * exp(at * sqrt(w0)))) for at in z]
    return [
        (one.forward.value, one.forward.sd),
        *zip(one.parameters, one.sd, strict=True),
        *zip(vols, one.vol_sd, strict=True),
    ]


steps = st.tuples(st.integers(0, 2), st.sampled_from(sorted(MOVES)), st.floats(-3, 3), st.booleans())


@settings(deadline=None)
@given(st.lists(steps, max_size=25), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.5, 2.0]))
def test_who_comes_late_sees_what_all_have_been_sent_and_nothing_that_moved_is_kept_back(acts, whole, small):
    encoder, always, newest, sent = Encoder("e", moved=Moved(whole, small)), Subscriber(), {}, {}
    for day, name, factor, leaves in acts:
        expiry_us = CHRISTMAS + day * DAY
        gone = (expiry_us,) if leaves and expiry_us in newest else ()
        newest[expiry_us] = MOVES[name](factor)._replace(expiry_us=expiry_us)
        for message in encoder.encode(update(*(() if gone else (newest[expiry_us],)), withdrawn=gone)):
            always.hear(message.payload)
            if message.kind == "surface":
                sent[expiry_us] = newest[expiry_us]
        if gone:
            del newest[expiry_us]
    late = Subscriber()
    for topic in encoder.topics():
        late.hear(encoder.snapshot(topic))
    held = {topic: smiles for topic, smiles in always.held.items() if smiles}
    assert late.held == held
    assert late.seq == {topic: always.seq[topic] for topic in held}
    assert encoder.surfaces().get(("deribit", "BTC"), []) == [
        body for _, body in sorted(held.get("surface.deribit.BTC", {}).items())
    ]
    for expiry_us, one in newest.items():
        for (now, _), (then, sd) in zip(numbers(one), numbers(sent[expiry_us]), strict=True):
            assert abs(now - then) <= whole * sd + 1e-9
