"""The report of a tape: its figures against a replay's own, its targets, its page, and the command."""

import gzip
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
import synthetic_tape
from command_line import run
from smiles import DAY, NOON, smile, update

from kvd.app.trial import try_tape
from kvd.config import Settings
from kvd.quality import BUCKETS
from kvd.report.chronicle import Chronicle, Moment
from kvd.report.measures import CONTENDERS, rows
from kvd.report.targets import targets

SCORES = {"inside", "inside_se", "rmse", "median", "n"}
SAMPLED = SCORES | {f"heldout_{name}" for name in SCORES}
PREDICTED = {f"{prefix}predictive_{name}" for prefix in ("", "heldout_") for name in SCORES}
FILTER = {
    "coverage", "coverage_by_tenor", "log_likelihood", "nis_mean", "nis_dof", "nis_by_tenor", "smiles_published",
    "held_ratio", "states",
    "violations", "false_certificates", "diverged", "slice_updates", "update_us_per_slice",
    "step_us_per_slice", "predict_us_per_slice", "same_refit_us_per_slice",
}  # fmt: skip
GOLDEN = {
    "kvd": SAMPLED | PREDICTED | FILTER | {"by_tenor"},
    "backbone": SAMPLED | PREDICTED | FILTER | {"by_tenor"},
    "refit": SAMPLED | PREDICTED | {"by_tenor", "slice_updates", "update_us_per_slice"},
    "mark": SAMPLED | PREDICTED | {"by_tenor"},
    "last_value": PREDICTED | {"by_tenor"},
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The command's report of a synthetic tape: the tape, the JSON, the page and what was said."""
    folder = tmp_path_factory.mktemp("reported")
    tape, as_json, page = folder / "synthetic.ndjson", folder / "report.json", folder / "report.html"
    frames = synthetic_tape.write(tape)
    done = run("report", tape, "--json", as_json, "--html", page, within_s=180, KVD_LOG_LEVEL="warning")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert re.fullmatch(rf"{frames:,} frames, judged in \d+ s\n", done.stderr)
    return tape, json.loads(as_json.read_bytes()), page.read_text("utf-8"), frames


def test_the_report_has_the_keys_it_promises(reported):
    _, report, _, frames = reported
    assert list(report) == ["frames", "bad_frames", "seconds", "underlyings"]
    assert (report["frames"], report["bad_frames"], list(report["underlyings"])) == (frames, 0, ["BTC"])
    own = report["underlyings"]["BTC"]
    rivals = set(CONTENDERS) - {"kvd"}
    assert set(own) - rivals == GOLDEN["kvd"]
    for name in rivals:
        assert set(own[name]) == GOLDEN[name], name
    assert set(own["coverage"]) == {"50", "90", "95"} and set(own["violations"]) == {"butterfly", "calendar"}
    assert set(own["coverage_by_tenor"]) <= set(BUCKETS)
    assert all(set(row) == {"n", "50", "90", "95"} for row in own["coverage_by_tenor"].values())
    assert set(own["by_tenor"]) == set(own["coverage_by_tenor"]) == set(own["nis_by_tenor"])


def test_the_figures_are_sound(reported):
    own = reported[1]["underlyings"]["BTC"]
    for figures in (own, *(own[name] for name in CONTENDERS[1:])):
        shares = [value for name, value in figures.items() if name.endswith("inside")]
        assert shares and all(0.7 <= share <= 1 for share in shares)
        tenors = figures["by_tenor"].values()
        assert sum(row["predictive_n"] for row in tenors) == figures["predictive_n"] > 1000
    assert own["n"] > 200 and own["heldout_n"] > 50 and own["n"] == own["mark"]["n"] == own["backbone"]["n"]
    assert 0.1 < own["heldout_n"] / (own["n"] + own["heldout_n"]) < 0.3
    # only quotes whose last one is unknown have no last value
    assert 0 < own["mark"]["predictive_n"] - own["last_value"]["predictive_n"] < 240
    assert sum(row["n"] for row in own["coverage_by_tenor"].values()) == own["nis_dof"]
    assert own["states"]["live"] > 500 and sum(own["states"].values()) == own["smiles_published"]
    assert own["refit"]["slice_updates"] == 3 * 6 and own["slice_updates"] > 500
    assert 0 < own["update_us_per_slice"] < own["refit"]["update_us_per_slice"] * 10
    assert own["update_us_per_slice"] < own["step_us_per_slice"] and own["same_refit_us_per_slice"] > 0


def test_a_report_agrees_with_a_replay(reported):
    tape, report, _, _ = reported
    replayed = json.loads(run("replay", tape, "--json", KVD_LOG_LEVEL="warning").stdout)["underlyings"]["BTC"]
    own = report["underlyings"]["BTC"]
    for ours, theirs in {"inside": "inside", "rmse": "rmse_vol", "n": "quotes", "heldout_inside": "heldout_inside",
                         "heldout_rmse": "heldout_rmse_vol", "nis_mean": "nis_mean", "diverged": "diverged",
                         "smiles_published": "smiles_published", "held_ratio": "held_ratio"}.items():  # fmt: skip
        assert own[ours] == pytest.approx(replayed[theirs]), ours


class Page(HTMLParser):
    """Headings, cells of tables, and whatever the page would fetch."""

    def __init__(self):
        super().__init__()
        self.headings, self.cells, self.fetched, self.inside = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        self.inside = tag

    def handle_endtag(self, _):
        self.inside = None

    def handle_data(self, data):
        if self.inside in ("h1", "h2", "h3"):
            self.headings.append(data)
        elif self.inside == "td":
            self.cells.append(data)


def test_the_page_stands_alone_and_shows_what_was_found(reported):
    _, report, text, _ = reported
    page = Page()
    page.feed(text)
    assert page.fetched == []
    assert "Plotly.newPlot" in text and "plotly.js v" in text
    chapters = ["Purpose", "Data", "Method", "Results: BTC", "Limits"]
    assert [heading for heading in page.headings if heading in chapters] == chapters
    assert text.count('class="plotly-graph-div"') >= 9
    own = report["underlyings"]["BTC"]
    for line in rows(own):
        assert set(line) - {""} <= set(page.cells), line
    for target in targets(own):
        assert {target.name, target.value, target.bound} - {""} <= set(page.cells)


# Targets, by hand

GOOD = {
    "inside": 0.995, "heldout_inside": 0.95, "heldout_rmse": 0.01, "predictive_inside": 0.98,
    "predictive_median": 0.001,
    "coverage_by_tenor": {"a": {"n": 600, "90": 0.94}, "b": {"n": 499, "90": 0.5}}, "held_ratio": 0.01,
    "violations": {"butterfly": 0, "calendar": 0}, "update_us_per_slice": 300.0,
    "refit": {"heldout_inside": 0.955, "heldout_rmse": 0.01, "update_us_per_slice": 3000.0},
    "backbone": {"predictive_median": 0.0015}, "mark": {"inside": 0.995}, "last_value": {"predictive_inside": 0.98},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"inside": 0.989, "mark": {"inside": 0.98}}, ["inside"]),
        ({"mark": {"inside": 0.996}}, ["inside, against the venue's mark"]),
        ({"heldout_inside": 0.9499}, ["held-out inside, against the refit's less 0.005"]),
        ({"heldout_rmse": 0.0101}, ["held-out RMSE, against the refit's"]),
        ({"predictive_inside": 0.979}, ["predictive inside, against the last value's"]),
        ({"predictive_median": 0.0011}, ["predictive median error, against 0.7 of the backbone's"]),
        ({"coverage_by_tenor": {"a": {"n": 600, "90": 0.951}}}, ["90 % band, farthest tenor of 500 quotes"]),
        ({"coverage_by_tenor": {"a": {"n": 600, "90": 0.849}}}, ["90 % band, farthest tenor of 500 quotes"]),
        ({"violations": {"butterfly": 0, "calendar": 1}}, ["violations of no-arbitrage"]),
        ({"held_ratio": 0.011}, ["share of smiles held"]),
        ({"update_us_per_slice": 301.0}, ["slice update, times faster than the refit"]),
    ],
)
def test_a_target_is_missed_by_its_own_figure_alone(change, missed):
    assert [t.name for t in targets(GOOD | change) if t.met is not True] == missed


def test_what_cannot_be_judged_is_neither_met_nor_missed():
    nothing = {"coverage_by_tenor": {}, "violations": {}, "refit": {}, "backbone": {}, "mark": {}, "last_value": {}}
    assert [t.name for t in targets(nothing) if t.met is not None] == ["violations of no-arbitrage"]


# The chronicle


def test_the_chronicle_notes_each_expiry_once_a_minute():
    chronicle = Chronicle()
    for second in range(0, 150, 10):
        at = NOON + second * 1_000_000
        chronicle.see(update(smile(publish_us=at), smile(NOON + DAY, publish_us=at)))
    assert [len(points) for points in chronicle.points.values()] == [3, 3]
    assert (chronicle.began_us, chronicle.ended_us) == (NOON, NOON + 140_000_000)


def test_the_chronicle_keeps_the_fullest_moment_of_ten_minutes():
    chronicle, minute = Chronicle(), 60_000_000
    tens = NOON // (10 * minute) * 10 * minute
    for i in range(25):
        at = tens + i * minute
        assert chronicle.is_due(at) and (i == 0 or not chronicle.is_due(at - 1))
        chronicle.keep(Moment(at, {}, None))
    assert [(m.at_us - tens) // minute for m in chronicle.moments] == [9, 19, 24]


# The command


def test_without_files_it_prints_tables(tmp_path):
    short = tmp_path / "short.ndjson"
    synthetic_tape.write(short, seconds=70, per_second=5)
    shown = run("report", short, within_s=120, KVD_LOG_LEVEL="warning")
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("BTC") and lines[1].split() == ["kvd", "backbone", "refit", "mark", "last", "value"]
    assert any(line.startswith("predictive median error") for line in lines)
    assert any(line.startswith("violations of no-arbitrage") for line in lines)


def test_files_are_never_overwritten_and_a_failed_report_leaves_none(tmp_path):
    there, new, damaged = tmp_path / "there", tmp_path / "new", tmp_path / "damaged.ndjson.gz"
    there.write_text("precious")
    refused = run("report", "README.md", "--json", there)
    assert refused.returncode == 2 and "exists already" in refused.stderr and there.read_text() == "precious"
    content = gzip.compress(b"2026-07-01T12:00:00Z {}\n" * 50_000)
    damaged.write_bytes(content[:-50] + b"damage" + content[-50:])
    refused = run("report", damaged, "--json", new)
    assert refused.returncode == 2 and "damaged.ndjson.gz" in refused.stderr and refused.stderr.count("\n") == 1
    assert not new.exists()


WITHOUT_PLOTLY = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name == "plotly":
            raise ModuleNotFoundError("No module named 'plotly'", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_without_plotly_a_page_is_refused_with_the_mend(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PLOTLY)
    refused = run("report", "README.md", "--html", tmp_path / "page.html", PYTHONPATH=str(tmp_path))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "needs plotly" in refused.stderr and "pip install 'kvd[report]'" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not (tmp_path / "page.html").exists()


# A real tape


@pytest.mark.data
def test_three_quarters_of_an_hour_of_ether(market_data, tmp_path):
    part = tmp_path / "part.ndjson"
    with gzip.open(market_data / "tapes" / "deribit-eth-2023-04-12.ndjson.gz") as tape, part.open("wb") as out:
        out.writelines(itertools.islice(tape, 4_000))
    verdict = try_tape(part, Settings(), "backbone")
    found = verdict.measures["ETH"]
    assert verdict.statistics.frames == 4_000
    assert found["refit"]["inside"] > 0.97 and found["refit"]["predictive_inside"] > 0.9
    assert found["backbone"]["inside"] > 0.95
