"""What a book says of itself, and of the venue's mark beside it."""

from itertools import chain as joined

import msgspec
import numpy as np
import pytest
from option_chain import DAY, NOW, SECOND, quote
from option_chain import chain as listed

from kvd.calibrator.book import Book
from kvd.config import Settings

NEAR, FAR, BESIDE = NOW + 8 * DAY, NOW + 40 * DAY, [NOW + days * DAY for days in (10, 12, 14, 16, 18)]
ALARM_S = Settings().watch.mark_alarm_s


def book():
    return Book("deribit", "BTC", Settings())


def chain(expiry_us, at_us, **how):
    """The same nine instruments at any time."""
    return [quote(q.instrument, at_us, **how) for q in listed(expiry_us, NOW)]


def marked(quotes, by):
    return [msgspec.structs.replace(q, mark_vol=q.mark_vol + by) for q in quotes]


def alarms(marks, every_s=1):
    """The alarms after each batch of a chain whose marks stand apart from the truth by `marks` (one for each batch)."""
    b, told = book(), []
    for n, by in enumerate(marks):
        at_us = NOW + n * every_s * SECOND
        told.append(b.step(at_us, [*marked(chain(NEAR, at_us), by), *chain(FAR, at_us)]).facts.mark_alarms)
    return told


def test_marks_outside_the_band_for_long_enough_are_an_alarm_and_so_is_its_end():
    told = alarms([0.0] * 20 + [0.03] * 60 + [0.0] * 60)
    began, ended = told.index((NEAR,)), len(told) - told[::-1].index((NEAR,))
    assert 20 + ALARM_S <= began <= 20 + ALARM_S + 10
    assert 80 + ALARM_S <= ended <= 80 + ALARM_S + 10
    assert told == [()] * began + [(NEAR,)] * (ended - began) + [()] * (len(told) - ended)


@pytest.mark.parametrize(
    ("marks", "every_s"),
    [([0.0, 0.03] * 40, 5), ([0.03] * 25 + [0.0] * 10 + [0.03] * 25, 1), ([0.008] * 80, 1)],
    ids=["now and then", "not for long", "within the spread"],
)
def test_marks_that_do_not_stay_outside_are_no_alarm(marks, every_s):
    assert set(alarms(marks, every_s)) == {()}


def test_two_marks_or_a_minority_of_them_prove_nothing():
    b, few = book(), book()
    for n in range(60):
        at_us = NOW + n * SECOND
        quotes = chain(NEAR, at_us)
        some = b.step(at_us, [*marked(quotes[:4], 0.1), *quotes[4:]]).facts.mark_alarms
        two = few.step(at_us, [*marked(quotes[:2], 0.1), *chain(FAR, at_us)]).facts.mark_alarms
        assert some == two == ()


def test_time_in_which_nothing_was_heard_is_not_time_outside():
    assert alarms([0.03, 0.03], every_s=100) == [(), ()]


def test_an_alarm_leaves_with_its_expiry():
    soon = NOW + 3600 * SECOND
    b = book()
    for n in range(60):
        at_us = NOW + n * SECOND
        facts = b.step(at_us, [*marked(chain(soon, at_us), 0.05), *chain(FAR, at_us)]).facts
    assert facts.mark_alarms == (soon,)
    over = b.step(soon, chain(FAR, soon))
    assert over.withdrawn == (soon,) and over.facts.mark_alarms == ()


def test_marks_never_enter_the_estimate():
    def shown(by):
        b = book()
        steps = (b.step(at, marked(chain(NEAR, at), by)).smiles for at in range(NOW, NOW + 60 * SECOND, SECOND))
        return [(s.parameters, s.sd, s.residual, s.state) for s in joined.from_iterable(steps)]

    assert shown(0.0) == shown(0.2)


def followed(noise, minutes=40):
    """All smiles after each minute of NEAR, whose quotes stray by `noise` vols, among calm expiries of its tenor."""
    b, rng = book(), np.random.default_rng(4)
    for n in range(minutes):
        at_us = NOW + n * 60 * SECOND
        calm = [q for e in BESIDE for q in chain(e, at_us, lift=0.001 * rng.normal())]
        near = [chain(NEAR, at_us, lift=noise * rng.normal())[i] for i in range(9)]
        yield {s.expiry_us: s for s in b.step(at_us, [*calm, *near]).smiles}


def test_a_smile_whose_quotes_are_noisier_than_they_say_is_widened_and_its_neighbours_are_not():
    *_, last = followed(0.04)
    near, other = last[NEAR], last[BESIDE[2]]
    assert (near.state, near.reason) == ("widened", "nis") and near.record.widened_by > 1.4
    assert other.state == "live" and other.record.widened_by == 1
    assert near.sd.atm_vol > 1.2 * other.sd.atm_vol


def test_a_calm_smile_knows_that_it_is():
    *_, last = followed(0.002)
    assert {s.state for s in last.values()} == {"live"}
    assert all(s.record.quotes > 100 and s.record.coverage[1] > 0.8 for s in last.values())
