"""Batches through a real calibrator, drained in turns and left in the middle."""

import asyncio

import pytest
from option_chain import DAY, NOW, SECOND, chain
from smiles import same

from kvd.app.batches import Batches
from kvd.calibrator import Calibrator
from kvd.config import Settings
from kvd.latest import Inbox

EXPIRIES = [NOW + days * DAY for days in (5, 20, 60)]


def put_batch(inbox, i):
    for expiry_us in EXPIRIES:
        for quote in chain(expiry_us, NOW + 20 * i * SECOND):
            inbox.put(quote)
    inbox.seal()


def drained(leave_after=None):
    """What four batches come to; leaving the first drain after so many turns."""
    published, turns, done = [], [], []

    async def run():
        inbox = Inbox(50_000)
        batches = Batches(inbox, Calibrator(Settings()), lambda *update: published.append(update), turns.append,
                          lambda: done.append(len(published)))  # fmt: skip
        for i in range(4):
            put_batch(inbox, i)
            task = asyncio.create_task(batches.drain())
            if i == 0 and leave_after is not None:
                for _ in range(leave_after):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert done == []
                continue
            await task

    asyncio.run(run())
    return published, turns, done


@pytest.mark.parametrize("leave_after", [1, 2, 3])
def test_a_batch_that_was_left_is_finished_before_the_next(leave_after):
    whole, _, done = drained()
    left, _, _ = drained(leave_after)
    assert len(whole) == len(left) == 4 and done == [1, 2, 3, 4]
    for (ours, _), (theirs, _) in zip(left, whole, strict=True):
        assert all(map(same, ours.smiles, theirs.smiles)) and ours.facts == theirs.facts


def test_others_have_the_loop_between_learning_showing_and_publishing():
    _, turns, _ = drained()
    published, _, _ = drained()
    assert len(turns) >= 2 * len(published)
    assert sum(turns) == pytest.approx(sum(seconds for _, seconds in drained()[0]), rel=10)
