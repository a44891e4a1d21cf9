"""Days of other kinds than those on the tapes: what is promised of the smiles holds at other vols and after silence."""

import msgspec
import pytest
import synthetic_tape
from synthetic_tape import Day

from kvd.app.trial import try_tape
from kvd.config import Settings
from kvd.feeds.simulate import BTC
from kvd.report.targets import COVERAGE_90, HELD_OUT_SLACK, HELD_RATIO, INSIDE, LEAST_QUOTES

SETTINGS = msgspec.convert({"calibrator": {"hold_out": True}}, Settings)
DAYS = {
    "four chains, dailies on the index": Day(BTC._replace(synthetics=False), instruments=420, expiries=13),
    "calm, four chains": Day(BTC._replace(atm_vol=0.25), instruments=400, expiries=11, seed=3),
}


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_the_bounds_hold_on_days_that_nobody_tuned_on(day, tmp_path):
    tape = tmp_path / "day.ndjson"
    synthetic_tape.write_day(tape, day)
    kvd = try_tape(tape, SETTINGS, "kvd").measures["BTC"]["kvd"]
    refit = try_tape(tape, SETTINGS, "backbone").measures["BTC"]["refit"]
    assert kvd["n"] > 1_000 and kvd["inside"] >= INSIDE
    assert kvd["heldout_inside"] >= refit["heldout_inside"] - HELD_OUT_SLACK
    assert kvd["violations"] == {"butterfly": 0, "calendar": 0} and kvd["held_ratio"] <= HELD_RATIO
    low, high = COVERAGE_90
    assert kvd["coverage"]["90"] >= low
    judged = [row["90"] for row in kvd["coverage_by_tenor"].values() if row["n"] >= LEAST_QUOTES]
    assert all(low <= share <= high for share in judged)
