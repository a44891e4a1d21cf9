"""The calibrator in turns: what comes of it is the same, and no turn is long, whatever a desk asks for."""

import warnings

import numpy as np
from option_chain import DAY, NOW, SECOND, F, chain
from smiles import same

from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.core import project
from kvd.latest import Batch
from kvd.quotes import Lock

EXPIRIES = [NOW + days * DAY for days in (1, 2, 3, 7, 14, 30, 60, 90)]


def batches():
    """A market that settles, then claims that no surface satisfies, then the market again."""
    for i in range(6):
        at_us = NOW + 20 * i * SECOND
        quotes = [q for e in EXPIRIES for q in chain(e, at_us)]
        yield Batch(at_us, (*quotes, *(impossible(at_us) if i == 4 else ())))


def impossible(at_us):
    of = [("skew", None, 1.5), ("vol", 0.8 * F, 2.0)]
    return [
        Lock(f"{i}", "deribit", "BTC", e, *of[i % 2][:1], of[i % 2][1], of[i % 2][2], 1e-3, "ann", 2**60, at_us)
        for i, e in enumerate(EXPIRIES)
    ]


def test_in_turns_the_updates_are_the_same():
    whole, turned = Calibrator(Settings()), Calibrator(Settings())
    for batch in batches():
        (theirs,) = whole.step(batch)
        (ours,) = (update for update in turned.steps(batch) if update is not None)
        assert len(ours.smiles) == len(theirs.smiles) == len(EXPIRIES)
        assert all(map(same, ours.smiles, theirs.smiles)) and ours.facts == theirs.facts


def test_the_impossible_takes_many_turns_and_not_for_ever():
    calibrator, turns = Calibrator(Settings()), []
    for batch in batches():
        turns.append(sum(update is None for update in calibrator.steps(batch)))
    assert turns[0] < 5 and turns[3] < 5
    assert 20 < turns[4] < 2000


def test_between_turns_numpy_warns_as_ever():
    calibrator = Calibrator(Settings())
    *_, last, claims, _ = batches()
    calibrator.step(last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what stands here is which errors are heard of, not how
        before = np.geterr()
        assert all(np.geterr() == before for _ in calibrator.steps(claims))


def test_a_program_that_cannot_be_had_is_given_up():
    """More bounds than can be met at once, all of them soft in the end: hundreds of iterations, not thousands."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=(1000, 300))
    assert project._solve(A, np.full(1000, 50.0), np.zeros(300), 4.0) is None
    assert project._solve(A[:5], np.full(5, 0.1), np.zeros(300), 4.0) is not None
