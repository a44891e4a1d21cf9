import pytest

from kvd.calibrator.ladder import Rung
from kvd.config import Calibrator

C = Calibrator(predicted_after_s=120.0, widened_above_sd=0.05)
T = 1_700_000_000_000_000
S = 1_000_000


def rung(applied_us=None, gap="", doubt=""):
    r = Rung(T)
    if applied_us is not None:
        r.applied(applied_us)
    r.gap_reason, r.doubt = gap, doubt
    return r


@pytest.mark.parametrize(
    ("stands", "now_us", "level_sd", "settling", "expected"),
    [
        (rung(), T, 0.01, False, ("widened", "new")),
        (rung(T), T, 0.01, False, ("live", "")),
        (rung(T), T, 0.06, False, ("widened", "uncertain")),
        (rung(T), T, 0.05, False, ("live", "")),
        (rung(T, "closed"), T, 0.01, False, ("widened", "closed")),
        (rung(T, doubt="nis"), T, 0.01, False, ("widened", "nis")),
        (rung(T, doubt="nis"), T, 0.06, False, ("widened", "uncertain")),
        (rung(T, "closed", "nis"), T, 0.01, False, ("widened", "closed")),
        (rung(T, doubt="nis"), T + 121 * S, 0.01, False, ("predicted", "no_quotes")),
        (rung(T), T + 120 * S, 0.01, False, ("live", "")),
        (rung(T), T + 120 * S + 1, 0.01, False, ("predicted", "no_quotes")),
        (rung(T, "closed"), T + 121 * S, 0.9, False, ("predicted", "no_quotes")),
        (rung(T), T, 0.01, True, ("predicted", "settling")),
        (rung(), T, 0.01, True, ("predicted", "settling")),
        (rung(gap="closed"), T, 0.01, False, ("widened", "new")),
    ],
)
def test_the_rung_that_fits_what_is_known(stands, now_us, level_sd, settling, expected):
    assert stands.judge(now_us, level_sd, settling, C) == expected


def test_quotes_end_a_gap():
    r = rung(T, "closed")
    r.applied(T + S)
    assert r.judge(T + S, 0.01, False, C) == ("live", "")


def test_since_when_is_the_first_of_equal_rungs():
    r = Rung(T)
    assert (r.state, r.reason, r.since_us) == ("widened", "new", T)
    for at_us, state, reason, since_us in [
        (T + 1, "widened", "new", T),
        (T + 2, "live", "", T + 2),
        (T + 3, "live", "", T + 2),
        (T + 4, "widened", "uncertain", T + 4),
        (T + 5, "widened", "closed", T + 5),
        (T + 6, "held", "variance_not_positive", T + 6),
    ]:
        r.enter(at_us, state, reason)
        assert (r.state, r.reason, r.since_us) == (state, reason, since_us)
