"""What the commands show on a terminal: smiles, settings, figures, progress. Plain lines where there is none."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kvd.config import Publish
from kvd.surface import Smile, SurfaceUpdate

REFRESH_PER_S = 4.0
PLAIN_WIDTH = 150
PLAIN_EVERY_US = 5_000_000

out = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
err = Console(stderr=True)



def smiles_table(smiles: Iterable[Smile]) -> Table:
    """One row an expiry; vols in percent, for people."""
    table = Table(box=None, pad_edge=False)
    table.add_column("surface", no_wrap=True)
    for heading in ("expiry", "forward", "ATM %", "K (skew)", "+/- sd", "curvature", "put wing", "call wing", "inside"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state")
    for s in smiles:
        p = s.parameters
        table.add_row(
            f"{s.venue}.{s.underlying}",
            datetime.fromtimestamp(s.expiry_us / 1e6, UTC).strftime("%Y-%m-%d"),
            f"{s.forward.value:,.2f}",
            f"{100 * p.atm_vol:.2f}",
            f"{p.skew:+.4f}",
            f"{s.sd.skew:.4f}",
            f"{p.curvature:.3f}",
            f"{p.put_wing:.3f}",
            f"{p.call_wing:.3f}",
            "" if s.inside is None else f"{s.inside:.0%}",
            f"{s.state} {s.reason}".strip(),
        )
    return table


def show(smiles: Iterable[Smile]) -> None:
    """Print a table of smiles."""
    out.print(smiles_table(smiles))


def say(line: str) -> None:
    """A remark, on standard error, so that standard output stays the result alone."""
    err.print(line, highlight=False)


@contextmanager
def live(publish: Publish) -> Iterator[Callable[[SurfaceUpdate], None]]:
    """A table that follows the updates it is given: redrawn in place on a terminal, printed now and then elsewhere."""
    say(f"stream: ws://{publish.host}:{publish.port}/v1/stream   pages: http://{publish.host}:{publish.port}/metrics")
    newest: dict[tuple[str, str, int], Smile] = {}
    if out.is_terminal:
        with Live(console=out, refresh_per_second=REFRESH_PER_S) as view:
            yield lambda update: view.update(smiles_table(_newest(newest, update)))
        return
    due_us = 0
    printed = 0

    def follow(update: SurfaceUpdate) -> None:
        nonlocal due_us, printed
        smiles = _newest(newest, update)
        if smiles and (update.publish_us >= due_us or len(smiles) > printed):
            due_us, printed = update.publish_us + PLAIN_EVERY_US, len(smiles)
            show(smiles)
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


def _newest(newest: dict[tuple[str, str, int], Smile], update: SurfaceUpdate) -> list[Smile]:
    for smile in update.smiles:
        newest[smile.venue, smile.underlying, smile.expiry_us] = smile
    for expiry_us in update.withdrawn:
        newest.pop((update.venue, update.underlying, expiry_us), None)
    return [newest[key] for key in sorted(newest)]
