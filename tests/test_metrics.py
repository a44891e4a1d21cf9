import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from smiles import CHRISTMAS, DAY, FACTS, NOON, SECOND, smile, update

from kvd import __version__
from kvd.latest import Inbox
from kvd.metrics import Metrics

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
GOLDEN = Path(__file__).parent / "golden" / "metrics.txt"


class Feed(NamedTuple):
    frames: int
    bytes: int
    bad_frames: int
    refusals: dict[str, int]
    gaps: int
    reconnects: int
    handovers: int
    connected: bool
    last_data_age_s: float | None
    channels_wanted: int
    channels_acked: int
    channels_silent: int
    clock_skew_s: float | None


class Use(NamedTuple):
    clients: int
    messages: int
    refused: dict[str, int]


class Hand(NamedTuple):
    standing: int
    acts: dict[str, int]


class Life(NamedTuple):
    ready: bool
    troubles: dict[str, bool]
    stalls: int
    collections: dict[str, int]
    longest_collection_s: dict[str, float]
    frozen: int


class Audit(NamedTuple):
    lines: int
    failures: int
    failing: bool
    lost: int


class Recorded(NamedTuple):
    frames: int
    bytes: int
    dropped: dict[str, int]
    failures: int
    why: str
    queue_bytes: int
    tape_bytes: int


class Sent(NamedTuple):
    clients: int
    subscriptions: int
    sent: dict[str, int]
    sent_bytes: int
    buffered_bytes: int
    held_bytes: int
    overwrites: int
    cut: dict[str, int]
    errors: dict[str, int]
    tokens: dict[str, Use]
    gaps: dict[str, int]
    resumed: int
    unmoved: dict[str, int]
    ring_bytes: int
    ring_s: float


FEED = Feed(1000, 400_000, 1, {"combo": 3, "after expiry": 2}, 1, 2, 1, True, 0.25, 930, 929, 3, 0.015)
SENT = Sent(
    3, 5, {"smile": 10, "atm": 20, "gap": 1}, 30_000, 128, 300_000, 4, {"stalled": 1}, {"bad_json": 2},
    {"desk": Use(2, 40, {"too_many_messages": 3}), "dashboard": Use(1, 7, {})},
    {"slow": 1}, 6, {"smile": 7, "atm": 2}, 4096, 59.5,
)  # fmt: skip


class Restart(NamedTuple):
    start: str
    reason: str
    taken_us: int | None
    bytes: int | None
    seconds: float | None
    writes: int
    failures: int
    failing: bool


RESTART = Restart("warm", "previous", NOON + SECOND // 4, 290_645, 0.0125, 40, 2, False)
HAND, AUDIT = Hand(1, {"lock": 3, "unlock": 1, "released": 1, "refused": 2}), Audit(42, 2, True, 1)


LIFE = Life(False, {"deribit": True, "held": False}, 1, {"0": 90, "1": 8}, {"0": 0.0004, "1": 0.0012}, 95_000)


def observed():
    metrics = Metrics(lambda: NOON + SECOND)
    metrics.observe_update(update(smile(), smile(CHRISTMAS + DAY)), 0.004)
    metrics.observe_update(
        update(smile(state="held", nis=None, inside=None, record=None), facts=FACTS._replace(mark_alarms=())), 0.02
    )
    metrics.observe_update(update(smile(underlying="ETH")), 7.0)
    metrics.observe_feed("deribit", FEED)
    metrics.observe_feed("okx", FEED._replace(connected=False, last_data_age_s=None, refusals={}))
    metrics.observe_inbox(Inbox(50_000))
    metrics.observe_tasks(9)
    metrics.observe_publisher(SENT)
    metrics.observe_hand(HAND, AUDIT)
    metrics.observe_restart(RESTART)
    metrics.watch_recorder(
        "okx", lambda: Recorded(1000, 50_000, {"slow": 700, "failing": 70}, 3, "No space left", 900, 0)
    )
    metrics.watch_recorder("deribit", lambda: Recorded(2000, 90_000, {}, 0, "", 100, 90_000))
    metrics.observe_loop_lag(0.0004)
    metrics.observe_loop_lag(0.03)
    metrics.observe_turn(0.002)
    metrics.observe_life(LIFE)
    return metrics


def own(page):
    """The page without the process's own figures."""
    lines = page.decode().replace(f'"{__version__}"', '"VERSION"').splitlines(keepends=True)
    return "".join(line for line in lines if "process_" not in line)


def test_the_page_is_as_before():
    assert own(observed().render()) == GOLDEN.read_text()


def test_the_documentation_lists_every_name():
    """Where this fails, `rows` is what docs/metrics.md must hold."""
    words = [line.split(" ", 3) for line in own(observed().render()).splitlines() if line.startswith("# ")]
    helps = {name: text for _, key, name, text in words if key == "HELP"}
    rows = [f"| `{name}` | {kind} | {helps[name]} |" for _, key, name, kind in words if key == "TYPE"]
    assert [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")] == rows


def test_the_process_says_what_it_uses():
    assert b"\nprocess_resident_memory_bytes " in observed().render()


def test_the_page_before_anything_happened_has_no_series_of_an_expiry():
    page = own(Metrics(lambda: NOON).render())
    assert "kvd_batch_duration_seconds_count 0.0" in page
    assert "expiry=" not in page


def test_series_leave_with_their_expiry_and_counts_stay():
    metrics = observed()
    metrics.observe_update(update(withdrawn=(CHRISTMAS, CHRISTMAS + DAY)), 0.001)
    lines = own(metrics.render()).splitlines()
    assert not [line for line in lines if "expiry=" in line and 'underlying="BTC"' in line]
    assert [line for line in lines if "expiry=" in line and 'underlying="ETH"' in line]
    assert 'kvd_smiles_published_total{state="live",underlying="BTC",venue="deribit"} 2.0' in lines


def test_the_age_goes_on_when_nothing_is_published_any_more():
    now_us = NOON
    metrics = Metrics(lambda: now_us)
    metrics.observe_update(update(smile(receive_us=NOON)), 0.001)
    now_us += 90 * SECOND
    labels = '{expiry="2026-12-25T08:00Z",underlying="BTC",venue="deribit"}'
    assert f"kvd_smile_age_seconds{labels} 90.0" in own(metrics.render())


def test_a_histogram_counts_at_and_below_its_bounds():
    metrics = Metrics(lambda: NOON)
    for seconds in (0.0005, 0.00051, 2.0):
        metrics.observe_update(update(), seconds)
    lines = own(metrics.render()).splitlines()
    counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("kvd_batch_duration_seconds_bucket")]
    assert counts == ["1.0"] + ["2.0"] * 10 + ["3.0"]
    assert "kvd_batch_duration_seconds_sum 2.00101" in lines


def test_no_label_holds_an_instrument():
    labels = {part.split("=")[0] for line in own(observed().render()).splitlines() for part in _labels(line)}
    assert labels == {
        "venue",
        "underlying",
        "expiry",
        "reason",
        "kind",
        "state",
        "le",
        "version",
        "tenor",
        "start",
        "band",
        "token",
        "act",
        "name",
        "generation",
    }


def _labels(line):
    return line.partition("{")[2].partition("}")[0].split(",") if "{" in line and line[0] != "#" else []


@pytest.mark.promtool
def test_promtool_finds_nothing_to_say():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool not found: apt-get install --no-install-recommends prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=observed().render(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
