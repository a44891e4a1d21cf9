import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drawn_smiles import drawn
from smiles import CHRISTMAS, DAY, smile

from kvd.surface import Surface, frame

ROOT = Path(__file__).resolve().parents[2]
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


def test_a_data_frame_has_a_row_for_each_smile():
    pytest.importorskip("pandas")
    table = SURFACE.to_pandas()
    assert len(table) == 2 and table.index.name == "expiry"
    assert str(table.index.dtype).startswith("datetime64") and table.index.tz is not None
    assert table["atm_vol"].tolist() == [0.5512, 0.5512]
    assert table["rr25"].notna().all() and table["nis"].isna().tolist() == [False, True]
    assert Surface("deribit", "BTC", ()).to_pandas().empty


def test_without_pandas_the_mend_is_said():
    code = "import sys; sys.modules['pandas'] = None; from kvd.surface import Surface; Surface('', '', ()).to_pandas()"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ImportError: to_pandas needs pandas, which is not installed: pip install 'kvd[pandas]'" in run.stderr


def test_a_surface_pulls_in_neither_the_filter_nor_the_metrics():
    code = "import sys, kvd.surface; print(sorted({'filterpy', 'prometheus_client', 'pandas'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_example_of_the_document_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "desk.md").read_text("utf-8"), re.S)
    pair = [drawn(seed, days) for seed, days in ((1, 8.0), (2, 200.0))]
    exec(code, {"surface": Surface("deribit", "BTC", tuple(pair))})
    assert capsys.readouterr().out.count("\n") == 3 + 5 + 1
