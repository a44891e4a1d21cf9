import importlib.util
from datetime import UTC, datetime

import pytest
from smiles import CHRISTMAS, DAY, smile

from kvd.surface import Surface, frame

SURFACE = Surface("deribit", "BTC", (smile(), smile(CHRISTMAS + DAY, nis=None, inside=None, reason="feed lost")))


def test_a_row_says_who_when_what_and_how_sure():
    first, second = frame.rows(SURFACE.smiles)
    points = SURFACE.smiles[0].delta_points()
    assert list(first) == list(second)
    assert first["expiry"] == datetime(2026, 12, 25, 8, tzinfo=UTC)
    assert first["publish_time"] == datetime(2026, 7, 2, 12, tzinfo=UTC)
    assert first["exchange_time"].microsecond == 987_655
    assert (first["forward"], first["forward_sd"]) == (64_250.5, 3.25)
    assert (first["atm_vol"], first["skew_sd"], first["call_wing"]) == (0.5512, 0.0008, 0.33)
    assert (first["rr25"], first["rr25_sd"], first["bf10"]) == (points.rr25, points.rr25_sd, points.bf10)
    assert (second["state"], second["reason"], second["nis"]) == ("live", "feed lost", None)


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
def test_a_data_frame_has_a_row_for_each_smile():
    table = SURFACE.to_pandas()
    assert len(table) == 2 and table.index.name == "expiry"
    assert str(table.index.dtype).startswith("datetime64") and table.index.tz is not None
    assert table["atm_vol"].tolist() == [0.5512, 0.5512]
    assert table["rr25"].notna().all() and table["nis"].isna().tolist() == [False, True]


@pytest.mark.skipif(importlib.util.find_spec("pandas") is not None, reason="pandas is installed")
def test_without_pandas_the_mend_is_said():
    with pytest.raises(ImportError, match="pip install pandas"):
        SURFACE.to_pandas()
