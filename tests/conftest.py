import os
from pathlib import Path

import pytest

BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data; the test skips where it is absent. Mark such a test with `data`."""
    folder = Path(os.environ.get("KVD_DATA") or BESIDE_THE_REPOSITORY)
    if not (folder / "tapes").is_dir():
        pytest.skip(
            f"real market data not found in {folder}; set KVD_DATA to the folder that holds tapes/ and messages/"
        )
    return folder
