import io
import json
import logging
import os

import pytest
import structlog

from kvd import logs
from kvd.config import Log


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def written(log, *events, stream=None):
    stream = stream or io.StringIO()
    logs.configure(log, stream)
    for event in events:
        event()
    return stream.getvalue()


def test_events_are_json_lines_when_nobody_watches():
    connected = written(Log(), lambda: structlog.get_logger().info("feed.connected", venue="deribit", attempt=1))
    event = json.loads(connected)
    assert connected.endswith("}\n")
    assert {key: event[key] for key in ("event", "level", "venue", "attempt")} == {
        "event": "feed.connected",
        "level": "info",
        "venue": "deribit",
        "attempt": 1,
    }
    assert event["time"].endswith("Z")


def test_events_are_for_people_on_a_terminal():
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        logs.configure(Log(), terminal)
        structlog.get_logger().info("feed.connected", venue="deribit")
        terminal.flush()
        shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "feed.connected" in shown
    assert not shown.startswith("{")


def test_the_format_can_be_forced():
    assert "feed.connected" in written(Log(format="console"), lambda: structlog.get_logger().info("feed.connected"))
    assert written(Log(format="json"), lambda: structlog.get_logger().info("feed.connected")).startswith("{")


def test_events_below_the_level_are_not_logged():
    quiet = Log(level="warning")
    assert written(quiet, lambda: structlog.get_logger().info("feed.connected")) == ""
    assert "feed.lost" in written(quiet, lambda: structlog.get_logger().warning("feed.lost"))


def test_the_libraries_log_in_the_same_form_and_only_what_went_wrong():
    library = logging.getLogger("websockets.server")
    lines = written(Log(), lambda: library.info("connection open"), lambda: library.error("opening handshake failed"))
    event = json.loads(lines)
    assert (event["event"], event["level"], event["logger"]) == (
        "opening handshake failed",
        "error",
        "websockets.server",
    )


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_never_shows_local_variables(form):
    def fail(token):
        try:
            raise ValueError(f"refused {len(token)} characters")
        except ValueError:
            structlog.get_logger().exception("feed.failed")

    lines = written(Log(format=form), lambda: fail("hush"))
    assert "ValueError: refused 4 characters" in lines
    assert "hush" not in lines
    assert form == "console" or lines.count("\n") == 1
