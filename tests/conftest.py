import os
import subprocess
import sys
from pathlib import Path

import pytest

# as kvd does at its own entry, before anything imports numpy: two BLAS threads stall small matrices for 100 ms
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
BESIDE_THE_REPOSITORY = ROOT.parent / "shared" / "data"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With REQUIRE_ALL=1, as in CI, a test that skips for want of market data, of promtool or of Node.js has failed."""
    report = yield
    if (
        report.skipped
        and os.environ.get("REQUIRE_ALL") == "1"
        and any(map(item.get_closest_marker, ("data", "promtool", "node")))
    ):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL=1, yet skipped: {call.excinfo.value}"
    return report


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data; the test skips where it is absent. Mark such a test with `data`."""
    folder = Path(os.environ.get("KVD_DATA") or BESIDE_THE_REPOSITORY)
    if not (folder / "tapes").is_dir():
        pytest.skip(
            f"real market data not found in {folder}; set KVD_DATA to the folder that holds tapes/ and messages/"
        )
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("kvd-*.whl"))
