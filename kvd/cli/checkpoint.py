"""``kvd checkpoint``."""

from pathlib import Path
from typing import Annotated

import typer

from kvd.cli.shell import mendable, print_json
from kvd.feeds.clock import ArrivalClock


def checkpoint(
    file: Annotated[
        Path, typer.Argument(help="The file that checkpoint.path names, or one beside it.", metavar="FILE")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a checkpoint holds. Exit code 0 if it is whole, 1 with what is wrong if not."""
    with mendable():
        from kvd.sinks.checkpoint.account import account  # noqa: PLC0415

        found = account(file, ArrivalClock().now_us())
        if as_json:
            print_json(found.json())
        else:
            typer.echo(found.words(), err=not found.whole)
    raise typer.Exit(0 if found.whole else 1)
