from datetime import UTC, datetime, timedelta
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.core.daycount import YEAR_US, Calendar, VarianceTime, year_fraction

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
instants = st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


@given(instants, st.lists(instants, min_size=1))
def test_a_year_is_365_days_whatever_the_calendar_says(now, expiries):
    expected = [
        float(Fraction((expiry - now) // MICROSECOND, timedelta(days=365) // MICROSECOND)) for expiry in expiries
    ]
    expiry_us = np.array([(expiry - EPOCH) // MICROSECOND for expiry in expiries])
    assert year_fraction((now - EPOCH) // MICROSECOND, expiry_us).tolist() == expected


def test_a_year_and_a_second():
    assert year_fraction(10, np.array([10, 10 + YEAR_US, 10 + 1_000_000])).tolist() == [0.0, 1.0, 1 / 31_536_000]


FRIDAY = datetime(2026, 11, 20, tzinfo=UTC)


def hours(calendar, start, end):
    at = [(instant - EPOCH) // MICROSECOND for instant in (start, end)]
    return float(VarianceTime(calendar).years(at[0], np.array([at[1]]))[0]) * 365 * 24


@pytest.mark.parametrize(("days", "expected_h"), [(1, 24), (2, 36), (3, 48), (4, 72), (10, 192)])
def test_an_hour_of_a_weekend_counts_as_configured(days, expected_h):
    """From a Friday on, weekends counting half."""
    assert hours(Calendar(weekend_weight=0.5), FRIDAY, FRIDAY + timedelta(days=days)) == pytest.approx(expected_h)


def test_an_event_counts_its_weight_for_as_long_as_it_lasts():
    calendar = Calendar(events=("2026-11-20T06:00Z 2 4", "2026-11-20T07:00Z 0.5 3"))
    assert hours(calendar, FRIDAY, FRIDAY + timedelta(hours=6)) == pytest.approx(6)
    assert hours(calendar, FRIDAY, FRIDAY + timedelta(hours=7)) == pytest.approx(7 + 3)
    assert hours(calendar, FRIDAY, FRIDAY + timedelta(hours=12)) == pytest.approx(12 + 6 + 1)
    assert hours(calendar, FRIDAY + timedelta(hours=9), FRIDAY + timedelta(hours=12)) == pytest.approx(3)


@given(instants, instants, st.floats(0.01, 5.0))
def test_variance_time_is_a_sum_over_hours_and_never_stops(one, other, weight):
    start, end = sorted((one, one + (other - one) % timedelta(days=20)))
    calendar = Calendar(weekend_weight=weight)
    middle = start + (end - start) / 2
    whole = hours(calendar, start, end)
    assert whole == pytest.approx(hours(calendar, start, middle) + hours(calendar, middle, end), rel=1e-6, abs=1e-9)
    assert whole >= 0.99 * min(weight, 1.0) * (end - start) / timedelta(hours=1)


def test_without_a_calendar_variance_time_is_time():
    assert hours(Calendar(), FRIDAY, FRIDAY + timedelta(days=40)) == pytest.approx(40 * 24)


@pytest.mark.parametrize("event", ["tomorrow 2 4", "2026-11-20T06:00Z 2", "2026-11-20 2 4", "2026-11-20T06:00Z -1 4"])
def test_an_event_that_says_nothing_is_refused(event):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"events": [event]}, Calendar)
