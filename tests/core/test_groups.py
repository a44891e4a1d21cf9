"""Runs of equal keys against the standard library's."""

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvd.core.groups import begins


@given(st.lists(st.integers(0, 3)).map(sorted))
def test_a_run_begins_where_its_key_is_first_seen(keys):
    runs = [list(run) for _, run in groupby(keys)]
    assert begins(np.array(keys, dtype=np.int64)).tolist() == [i == 0 for run in runs for i in range(len(run))]
