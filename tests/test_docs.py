"""What the documents say must be so: links lead somewhere, names exist, rooms are the rooms there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.config.sources import RESERVED, SECRET_FILES, VARIABLES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TEXTS = sorted(
    path
    for folder in (".ci", "config", "deploy", "docs", "kvd", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in {".pyc", ".png", ".gz", ".zst"}
) + [path for path in sorted(ROOT.iterdir()) if path.is_file()]

BINDING = """
venue, frame, quote, instrument, underlying, expiry, tau, forward, log-moneyness, implied vol, total variance,
smile, slice, surface, ATM vol, skew, curvature, put wing, call wing, prior, posterior, innovation, gain, NIS,
gate, gap, stale, conflate, tape, checkpoint
"""


def named(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document):
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)", document.read_text("utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_variable_and_make_target_exists(document):
    text = document.read_text("utf-8")
    known = {*VARIABLES, *SECRET_FILES, *RESERVED, "KVD_PORT"}  # the last is Kubernetes' own
    assert set(re.findall(r"\bKVD_[A-Z_]+\b", text)) <= known
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE)) <= targets


def test_the_glossary_defines_every_binding_word_once():
    rows = re.findall(r"^\| ([^|]+?) \|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)
    words = [row.split(",")[0] for row in rows]
    missing = {word.strip() for word in BINDING.split(",")} - set(words)
    assert missing == set()
    assert sorted({word for word in words if words.count(word) > 1} - {"word", "---"}) == []


def test_the_architecture_lists_the_rooms_there_are():
    rows = re.findall(r"^\| \d \| `(\w+)/?` \|", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE)
    entries = {
        path.stem for path in (ROOT / "kvd").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(rows) == sorted(entries - {"__init__", "__main__"})


def test_decisions_are_numbered_and_titled():
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    assert [
        path.name for path in decisions if not path.read_text("utf-8").startswith(f"# {int(path.name[:4])}. ")
    ] == []


def test_the_changelog_opens_with_what_is_unreleased():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert [
        heading for heading in headings[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    ] == []


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_no_file_speaks_of_the_machine_it_was_written_on(path):
    text = path.read_bytes().decode("utf-8", "replace")
    assert re.findall(r"(?:^|[^a-z.\w])/(?:root|home|work|tmp)/[a-z.][^\s'\"]*", text) == []


def test_the_picture_is_drawn_by_its_script(tmp_path):
    script = [sys.executable, ROOT / "docs" / "draw_smile.py", tmp_path / "smile.svg"]
    subprocess.run(script, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "smile.svg").read_text("utf-8").count("<path") > 20
