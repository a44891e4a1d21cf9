"""What the commands show on a terminal: smiles, settings, figures, progress. Plain lines where there is none."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kvd.report.measures import CONTENDERS, rows
from kvd.report.targets import WORDS, targets
from kvd.surface import Smile, SurfaceUpdate

REFRESH_PER_S = 4.0
PLAIN_WIDTH = 150
WIDE = 115  # columns of a terminal that has room for every detail
PLAIN_EVERY_US = 2_000_000

out = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, markup=False, emoji=False, highlight=False)
err = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)


class Column(NamedTuple):
    """A column of a table, and its text for a row; a `detail` is left out where the terminal is narrow."""

    heading: str
    text: Callable[[Any], str]
    detail: bool = False


COLUMNS = (
    Column("surface", lambda s: f"{s.venue}.{s.underlying}"),
    Column("expiry", lambda s: datetime.fromtimestamp(s.expiry_us / 1e6, UTC).strftime("%Y-%m-%d")),
    Column("forward", lambda s: f"{s.forward.value:,.2f}"),
    Column("ATM %", lambda s: f"{100 * s.parameters.atm_vol:.2f}"),
    Column("K (skew)", lambda s: f"{s.parameters.skew:+.4f}"),
    Column("+/- sd", lambda s: f"{s.sd.skew:.4f}"),
    Column("curvature", lambda s: f"{s.parameters.curvature:.3f}", detail=True),
    Column("put wing", lambda s: f"{s.parameters.put_wing:.3f}", detail=True),
    Column("call wing", lambda s: f"{s.parameters.call_wing:.3f}", detail=True),
    Column("inside", lambda s: "" if s.inside is None else f"{s.inside:.0%}"),
    Column("state", lambda s: f"{s.state} {s.reason}".strip()),
)


def table(columns: Sequence[Column], rows: Iterable[Any], with_details: bool) -> Table:
    """The first and the last column hold words, the others numbers."""
    shown = [column for column in columns if with_details or not column.detail]
    made = Table(box=None, pad_edge=False)
    for column in shown:
        is_text = column in (columns[0], columns[-1])
        made.add_column(column.heading, justify="left" if is_text else "right", no_wrap=column is not columns[-1])
    for row in rows:
        made.add_row(*(column.text(row) for column in shown))
    return made


def smiles_table(smiles: Iterable[Smile]) -> Table:
    """One row an expiry; vols in percent, for people."""
    return table(COLUMNS, smiles, out.width >= WIDE)


def show(smiles: Iterable[Smile]) -> None:
    """Print a table of smiles."""
    out.print(smiles_table(smiles))


def comma_separated(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows of the same names as CSV, a heading above them."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow(f"{v:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(v, datetime) else v for v in row.values())


def say(line: str) -> None:
    """A remark, on standard error, so that standard output stays the result alone."""
    err.print(line)


def torn(torn_bytes: int) -> str:
    """The end of a remark on tapes of which so many bytes are of something that was cut off in the middle."""
    return f"; torn: the last {torn_bytes:,} bytes are not whole, and were read up to there" if torn_bytes else ""


def served(url: str) -> None:
    """Say where the stream is."""
    say(f"stream: {url}")


@contextmanager
def live() -> Iterator[Callable[[SurfaceUpdate], None]]:
    """A table that follows the updates it is given: redrawn in place on a terminal, printed now and then elsewhere."""
    newest: dict[tuple[str, str, int], Smile] = {}
    if out.is_terminal:
        with Live(console=out, refresh_per_second=REFRESH_PER_S) as view:
            yield lambda update: view.update(smiles_table(_newest(newest, update)))
        return
    due_us = 0

    def follow(update: SurfaceUpdate) -> None:
        nonlocal due_us
        smiles = _newest(newest, update)
        if smiles and update.publish_us >= due_us:
            due_us = update.publish_us + PLAIN_EVERY_US
            show(smiles)
            sys.stdout.flush()

    yield follow


@contextmanager
def screen() -> Iterator[Callable[[Table, str], None]]:
    """A table above a line: redrawn in place on a terminal, printed anew elsewhere."""
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as view:
            yield lambda table, line: view.update(Group(table, line), refresh=True)
        return

    def follow(table: Table, line: str) -> None:
        out.print(*([table] if table.row_count else ()), line)
        sys.stdout.flush()

    yield follow


@contextmanager
def progress(label: str) -> Iterator[Callable[[Any], object]]:
    """A bar by the share of a tape that was read; nothing where there is no terminal."""
    if not err.is_terminal:
        yield lambda _: None
        return
    columns = TextColumn(label), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda s: bar.update(task, completed=s.bytes_read, total=s.bytes_total)


@contextmanager
def steps(label: str) -> Iterator[Callable[[int, int], object]]:
    """A bar by steps done, of so many at most; nothing where there is no terminal."""
    if not err.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn(label),
        BarColumn(),
        TextColumn("{task.completed} of at most {task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def counting(label: str) -> Iterator[Callable[[Any], object]]:
    """A count of frames with no end in sight; nothing where there is no terminal."""
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status(label) as status:
        yield lambda s: status.update(f"{label}: {s.frames:,} frames, {s.bytes / 1e6:,.1f} MB")


@contextmanager
def working(label: str) -> Iterator[None]:
    """A sign of life on a terminal."""
    with err.status(label):
        yield


def settings(rows: Iterable[tuple[str, str, str]]) -> None:
    """Print settings with their sources."""
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def figures(measured: Mapping[str, Any]) -> None:
    """Print figures by name."""
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in measured.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    out.print(table)


def contest(underlyings: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the measures of every contender, and the targets, of each underlying."""
    for underlying, report in underlyings.items():
        out.print(f"{underlying}, share of quotes with standard errors")
        _print_rows(["", *(name.replace("_", " ") for name in CONTENDERS)], rows(report))
        verdicts = [[t.name, t.value, t.bound, WORDS[t.met]] for t in targets(report)]
        _print_rows(["target", "is", "asked", ""], verdicts)


def learnt(tuned: Mapping[str, Any]) -> None:
    """Print what was learnt, and the measures before and after on each tape it was judged on."""
    lines = [[n, f"{of['before']:g}", f"{of['after']:g}", _number(of["sd"], 2)] for n, of in tuned["learnt"].items()]
    _print_rows(["setting", "before", "after", "sd of ln"], lines)
    on = tuned["log_likelihood"]
    out.print(f"log likelihood per quote, of {on['quotes']:,}: {on['before']:.4f} before, {on['after']:.4f} after")
    for tape, underlyings in tuned["judged"].items():
        for underlying, both in underlyings.items():
            out.print(f"\n{underlying} of {tape}, not learnt from")
            _print_rows(["", "before", "after"], _compared(both["before"], both["after"]))


JUDGED = (
    "log_likelihood", "inside", "heldout_inside", "heldout_rmse", "predictive_inside", "predictive_median", "nis_mean",
    "held_ratio",
)  # fmt: skip


def _compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[list[str]]:
    both = before, after
    yield from ([name.replace("_", " "), *(_number(m.get(name), 5) for m in both)] for name in JUDGED)
    for tenor in before["coverage_by_tenor"]:
        of = [m["coverage_by_tenor"].get(tenor, {}) for m in both]
        yield [f"90 % coverage, {tenor}", *(_number(coverage.get("90"), 3) for coverage in of)]
    yield ["violations", *(str(sum(m["violations"].values())) for m in both)]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _print_rows(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left")
    for line in lines:
        table.add_row(*line)
    out.print(table)
    out.print()


def _newest(newest: dict[tuple[str, str, int], Smile], update: SurfaceUpdate) -> list[Smile]:
    for smile in update.smiles:
        newest[smile.venue, smile.underlying, smile.expiry_us] = smile
    for expiry_us in update.withdrawn:
        newest.pop((update.venue, update.underlying, expiry_us), None)
    return [newest[key] for key in sorted(newest)]
