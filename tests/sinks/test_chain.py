"""The chain of the audit log: whatever is done to its lines shows, but for an end that is cut off."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.sinks import chain

contents = st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=9) | st.none(), max_size=3)
acts = st.lists(st.tuples(st.sampled_from(["lock", "unlock", "published"]), contents), min_size=1, max_size=8)


def log_of(acts, head=chain.BEGINNING):
    """The lines of a log, with their line breaks, and the head they end in."""
    lines = []
    for kind, content in acts:
        line, head = chain.link(head, "2026-07-02T12:00:00.000000Z", kind, content)
        lines.append(line + b"\n")
    return lines, head


def verify(data, digest=None):
    """As of a file: lines end at line breaks alone."""
    parts = data.split(b"\n")
    return chain.verify([part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else []), digest)


SAMPLE, HEAD = log_of([("started", {"version": "1"}), ("lock", {"id": "a"}), ("unlock", {"id": "a"}), ("stopped", {})])


@given(acts)
def test_what_was_written_is_whole(acts):
    lines, head = log_of(acts)
    assert chain.verify(lines) == chain.Verdict(head, (), None, None)
    assert chain.verify(lines, head.digest).found == head.number == len(acts)
    previous = b"0" * 64
    for number, (line, (kind, content)) in enumerate(zip(lines, acts, strict=True), 1):
        fields = json.loads(line)
        assert list(fields) == ["number", "time", "prev", "kind", "content", "digest"]
        assert (fields["number"], fields["kind"], fields["content"]) == (number, kind, content)
        assert fields["prev"].encode() == previous
        assert fields["digest"] == sha256(line[: line.rindex(b',"digest":')]).hexdigest()
        previous = sha256(line[:-1]).hexdigest().encode()
    assert head.digest.encode() == previous


@given(acts, st.data())
def test_a_byte_that_is_changed_inserted_or_removed_shows(acts, data):
    whole = b"".join(log_of(acts)[0])
    at, value = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    do = data.draw(st.sampled_from(["change", "insert", "remove"]))
    changed = whole[:at] + (b"" if do == "remove" else bytes([value])) + whole[at + (do != "insert") :]
    verdict = verify(changed)
    if changed == whole:
        assert verdict.change is None
    else:
        assert 1 <= verdict.change.line <= changed.count(b"\n") + 1
        assert verdict.change.line >= whole[:at].count(b"\n")  # what stands before it is said to be whole


@given(acts, st.data())
def test_lines_that_are_removed_doubled_or_moved_show(acts, data):
    lines, head = log_of(acts)
    at, to = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines)))
    do = data.draw(st.sampled_from(["remove", "double", "move", "insert"]))
    changed = lines[:at] + (lines[at + 1 :] if do in ("remove", "move") else lines[at:])
    if do != "remove":
        foreign, _ = chain.link(chain.BEGINNING, "", "lock", {"id": "foreign"})
        changed.insert(to, lines[at] if do in ("double", "move") else foreign + b"\n")
    verdict = chain.verify(changed, head.digest)
    assert (verdict.change is None) == (changed == lines)


@given(acts, st.data())
def test_an_end_that_is_cut_off_shows_only_against_a_head_kept_elsewhere(acts, data):
    lines, head = log_of(acts)
    left = data.draw(st.integers(1, len(lines)))
    assert chain.verify(lines[:left]).change is None
    assert (chain.verify(lines[:left], head.digest).change is None) == (left == len(lines))


@given(acts, acts)
def test_a_log_that_has_grown_still_holds_an_older_head(older, newer):
    lines, head = log_of(older)
    more, _ = log_of(newer, head)
    verdict = chain.verify(lines + more, head.digest)
    assert (verdict.change, verdict.found) == (None, len(older))


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        ([], 1, "is not there: the file is empty"),
        (SAMPLE[1:], 1, "has the number 2 where 1 belongs"),
        (SAMPLE[:1] + SAMPLE[2:], 2, "has the number 3 where 2 belongs: lines were removed"),
        ([SAMPLE[0], SAMPLE[2], SAMPLE[1], SAMPLE[3]], 2, "has the number 3 where 2 belongs"),
        ([SAMPLE[0], SAMPLE[1].replace(b'"a"', b'"b"'), *SAMPLE[2:]], 2, "was changed: its own digest"),
        ([SAMPLE[0], b"# a remark\n", *SAMPLE[1:]], 2, "is no line of the log"),
        ([SAMPLE[0], b"\n", *SAMPLE[1:]], 2, "is no line of the log"),
        ([*SAMPLE[:2], SAMPLE[2][:70]], 3, "is torn"),
        ([*SAMPLE[:3], SAMPLE[3][:-1]], 4, "has no line break"),
        ([log_of([("started", {"version": "2"})])[0][0], *SAMPLE[1:]], 2, "does not follow the line before it"),
        ([b"{}\n"], 1, "was changed"),
        ([b"\xff\x00\n"], 1, "is torn"),
        ([b"[" * 100_000], 1, "is torn"),
    ],
)
def test_a_change_is_named_by_its_line(lines, line, says):
    verdict = chain.verify(lines)
    assert verdict.change.line == line
    assert says in verdict.change.why


# Torn lines, which only `repaired` accounts for


def repaired(rest, head):
    line, after = chain.link(head, "2026-07-02T12:00:00.000000Z", chain.REPAIRED, chain.torn(rest))
    return line + b"\n", after


@given(st.integers(1, len(SAMPLE[2]) - 2), st.data())
def test_a_torn_line_is_accounted_for_and_then_cannot_be_changed_either(length, data):
    before, head = SAMPLE[:2], chain.Head(2, sha256(SAMPLE[1][:-1]).hexdigest())
    rest = SAMPLE[2][:length] + b"\n"
    note, after = repaired(rest, head)
    whole = b"".join([*before, rest, note])
    assert verify(whole) == chain.Verdict(after, (3,), None, None)
    at, value = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = whole[:at] + bytes([value]) + whole[at + 1 :]
    assert (verify(changed).change is None) == (changed == whole)
    assert verify(whole.replace(rest, b"")).change is not None


def test_a_crash_in_the_midst_of_a_repair_is_accounted_for_like_any_other():
    head = chain.Head(2, sha256(SAMPLE[1][:-1]).hexdigest())
    first = SAMPLE[2][:30] + b"\n"
    half = repaired(first, head)[0][:50]
    note, after = repaired(first + half + b"\n", head)
    assert verify(b"".join([*SAMPLE[:2], first, half, b"\n", note])) == chain.Verdict(after, (3, 4), None, None)
