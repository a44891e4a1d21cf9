"""What importing the client brings along, and what `kvd` itself offers."""

import subprocess
import sys

import pytest

import kvd
import kvd.client
import kvd.surface

LEFT_OUT = (
    "filterpy", "prometheus_client", "daqp", "structlog", "typer", "rich", "kvd.calibrator", "kvd.app", "kvd.sinks",
    "kvd.feeds", "kvd.venues", "kvd.config", "kvd.core.kalman",
)  # fmt: skip


@pytest.mark.parametrize("wanted", ["kvd.client", "kvd; kvd.connect", "kvd; kvd.Surface"])
def test_a_subscriber_imports_nothing_of_the_daemon(wanted):
    code = f"import {wanted}; import sys; print(sorted(set({LEFT_OUT!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_importing_kvd_alone_imports_next_to_nothing():
    code = "import kvd, sys; print(sorted({'numpy', 'asyncio', 'msgspec', 'kvd.surface'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_kvd_offers_what_a_subscriber_uses():
    assert kvd.connect is kvd.client.connect
    assert kvd.connect_sync is kvd.client.connect_sync
    assert kvd.Surface is kvd.surface.Surface
    assert kvd.Smile is kvd.surface.Smile
    assert all(hasattr(kvd, name) for name in kvd.__all__)
    with pytest.raises(AttributeError, match="module 'kvd' has no attribute 'colour'"):
        kvd.colour  # noqa: B018
