from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvd.core.daycount import YEAR_US, year_fraction

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
