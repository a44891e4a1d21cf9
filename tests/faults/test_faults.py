"""The short form of the fault bench: the trials of `make faults`, each cut to seconds."""

import asyncio

import pytest
from trials import TRIALS
from verdicts import Scale, table


@pytest.mark.parametrize("promises", TRIALS)
def test_the_promises_hold_in_the_short_form(promises):
    rows = asyncio.run(TRIALS[promises](Scale(short=True, seed=1)))
    assert rows and all(row.passed for row in rows), "\n" + table(rows)
