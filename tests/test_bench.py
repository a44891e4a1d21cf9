"""The bench measures what it says; how fast this machine is, it is free to say."""

import json

import pytest
from command_line import run


def test_bench_prints_one_object_of_positive_figures():
    """It takes two minutes, in which it mostly waits."""
    measured = run("bench", "--json", within_s=300)
    assert (measured.returncode, measured.stderr) == (0, "")
    figures = json.loads(measured.stdout)
    assert {"frame_ratio", "core_share", "refit_ratio", "delivery_ratio", "stalled_p99_ratio"} < figures.keys()
    assert all(figure > 0 for figure in figures.values())
    assert figures["frame_path_us"] / figures["frame_floor_us"] == figures["frame_ratio"] > 1
    assert figures["slice_refit_us"] / figures["slice_update_us"] == pytest.approx(figures["refit_ratio"])
    assert figures["delivery_us"] / figures["delivery_floor_us"] == figures["delivery_ratio"]
    assert figures["stalled_p99_ms"] / figures["delivery_p99_ms"] == figures["stalled_p99_ratio"]
    assert figures["delivery_p50_ms"] < figures["delivery_p99_ms"]
    assert 2_500 < figures["delivery_bytes"] < 4_000
    assert figures["delivery_turn_ms"] < 0.3 * figures["delivery_us"]  # of which a thousand make a millisecond each
