"""The page: a model-validation report that stands alone, plotly's script included."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs

from kvd.checker import Violation
from kvd.report import figures, prose
from kvd.report.chronicle import Chronicle, Moment
from kvd.report.measures import CONTENDERS, rows
from kvd.report.targets import WORDS, targets

MOMENTS = 3
SHOWN_VIOLATIONS = 20

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --faint: #6a737d; --line: #d8dee4; --accent: #1f4e79; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); margin: 0 auto; max-width: 1180px;
  padding: 2rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { margin: 2.8rem 0 .6rem; padding-top: .6rem; border-top: 2px solid var(--accent); }
h3 { margin: 1.8rem 0 .4rem; }
h4 { margin: 1.2rem 0 .2rem; color: var(--faint); }
p, li { max-width: 78ch; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0 1.2rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .75rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; border-bottom: 2px solid var(--ink); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.lead td:nth-child(2) { font-weight: 600; }
.met { color: #1a7f37; font-weight: 600; }
.MISSED { color: #cf222e; font-weight: 600; }
.sub { color: var(--faint); margin: 0 0 1.5rem; }
.scroll { overflow-x: auto; }
.caption { color: var(--faint); font-size: .88rem; margin: .1rem 0 1rem; max-width: 90ch; }
.verdict { border-left: 4px solid var(--accent); background: #f4f7fa; padding: .7rem 1rem; margin: 1rem 0; }
"""


def page(
    about: Mapping[str, Any],
    chronicles: Mapping[str, Chronicle],
    violations: Mapping[str, Sequence[tuple[int, Violation]]],
) -> str:
    """The whole page. `about` is the report's JSON with the name of the tape and the version of kvd."""
    reports: Mapping[str, dict[str, Any]] = about["underlyings"]
    chapters = "".join(_chapter(u, report, chronicles[u], violations[u]) for u, report in reports.items())
    title = f"Validation of kvd's smiles: {', '.join(reports) or 'no options'}"
    source = (
        f"tape {about['tape']}, {about['frames']:,} frames, {about['bad_frames']:,} of them bad; kvd {about['version']}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head>"
        f'<body><h1>{escape(title)}</h1><p class="sub">{escape(source)}</p>'
        f"{prose.PURPOSE}{prose.data(about, chronicles)}{prose.METHOD}{chapters}{prose.LIMITS}</body></html>\n"
    )


def _chapter(underlying: str, report: dict[str, Any], course: Chronicle, wrong: Sequence[tuple[int, Violation]]) -> str:
    found = targets(report)
    tenors = "".join(
        f"<h3>{title}, by tenor</h3>{figures.by_tenor(report, CONTENDERS, key, title.lower())}{_caption(text)}"
        for key, title, text in prose.BY_TENOR
    )
    parts = [
        f"<h2>Results: {escape(underlying)}</h2>{prose.verdict(found)}",
        _table(["target", "is", "asked", ""], [[t.name, t.value, t.bound, WORDS[t.met]] for t in found]),
        '<h3>Beside the others</h3><div class="lead">',
        _table(["", *(name.replace("_", " ") for name in CONTENDERS)], rows(report)),
        f"</div>{_caption(prose.counts(report))}",
        tenors,
        f"<h3>Coverage of the predictive bands</h3>{figures.coverage(report)}{_caption(prose.COVERAGE)}",
        f"<h3>Innovations over the day</h3>{figures.innovations(course)}{_caption(prose.INNOVATIONS)}",
        "<h3>Smiles and quotes</h3>",
        *(f"<h4>{prose.instant(m.at_us):%d %b %Y %H:%M} UTC</h4>{figures.smiles(m)}" for m in chosen(course.moments)),
        _caption(prose.SMILES),
        f"<h3>K, the ATM skew, over time</h3>{figures.skews(course)}{_caption(prose.SKEWS)}",
        f"<h3>Level and forward</h3>{figures.levels(course)}",
        f"<h3>States</h3>{figures.states(course)}{_caption(prose.states(report))}",
        f"<h3>Static arbitrage</h3>{_violations(report, wrong)}",
    ]
    return "".join(parts)


def chosen(moments: Sequence[Moment]) -> list[Moment]:
    """A few moments spread over the tape: of each third, the one with the most quotes."""
    parts = min(MOMENTS, len(moments))
    thirds = [moments[len(moments) * i // parts : len(moments) * (i + 1) // parts] for i in range(parts)]
    return [max(third, key=lambda m: m.size) for third in thirds]


def _violations(report: Mapping[str, Any], wrong: Sequence[tuple[int, Violation]]) -> str:
    counts = prose.violations(report)
    lines = [
        [
            f"{prose.instant(at_us):%H:%M:%S}",
            prose.day(v.expiry_us),
            v.kind.replace("_", " "),
            f"{v.value:.3g}",
            f"{v.k:+.4f}",
        ]
        for at_us, v in wrong[:SHOWN_VIOLATIONS]
    ]
    return counts + (_table(["published", "expiry", "what", "value", "at k"], lines) if lines else "")


def _table(headings: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    marked = f' class="{text}"' if text in WORDS.values() else ""
    return f"<td{marked}>{escape(text)}</td>"


def _caption(text: str) -> str:
    return f'<p class="caption">{text}</p>'
