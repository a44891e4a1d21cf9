"""The commands, each a few lines over `kvd.app`. Whatever a user can mend is one sentence and exit code 2."""

import ssl
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Annotated

import typer

from kvd import __version__, tables
from kvd.cli import subscriber
from kvd.cli.checkpoint import checkpoint
from kvd.cli.shell import ConfigFile, loaded, mendable, print_json, reachable, turn
from kvd.config import ConfigError, Log, Publish, effective
from kvd.logs import configure

app = typer.Typer(
    name="kvd",
    help="Streaming calibration daemon: exchange option quotes in, Kalman-filtered volatility smiles out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

audit = typer.Typer(
    help="The audit log of locks and of what was published.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(audit, name="audit")

Seconds = Annotated[float | None, typer.Option(min=0.1, help="Stop by itself after so many seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Tape = Annotated[
    Path, typer.Argument(help="A tape: .ndjson, .ndjson.gz, .ndjson.zst, or a folder of kvd's.", metavar="TAPE")
]


class Document(StrEnum):
    """What `kvd schema` can print."""

    ASYNCAPI = "asyncapi"
    OPENAPI = "openapi"


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Streaming calibration daemon: exchange option quotes in, Kalman-filtered volatility smiles out."""
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(
    config: ConfigFile = None,
    seconds: Seconds = None,
    record: Annotated[Path | None, typer.Option(help="Also write every frame to this new tape or folder.")] = None,
) -> None:
    """Follow the venues and publish their smiles. Live Deribit unless configured otherwise; no key is needed."""
    with mendable():
        from kvd import app as wiring  # noqa: PLC0415 scipy takes most of a second, which no other command should wait for

        turn(wiring.run(loaded(config).settings, record, seconds))


@app.command()
def demo(
    config: ConfigFile = None,
    seconds: Seconds = None,
    seed: Annotated[int, typer.Option(min=0, help="Which synthetic market.")] = 1,
) -> None:
    """Show it all on a synthetic exchange. The whole daemon at work, without network or configuration."""
    with mendable(), tables.live() as show:
        from kvd import app as wiring  # noqa: PLC0415

        turn(wiring.demo(loaded(config).settings, seed, seconds, tables.served, show))


@app.command()
def replay(
    tapes: Annotated[
        list[Path],
        typer.Argument(help="Tapes in order: .ndjson, .ndjson.gz, .ndjson.zst, or folders.", metavar="TAPE..."),
    ],
    config: ConfigFile = None,
    output: Annotated[Path | None, typer.Option(help="Write every published update to this new file, NDJSON.")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Publish on the stream, so many times as fast as it was.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Withhold a fifth of the instruments and print the measures of quality.")
    ] = False,
) -> None:
    """Put recorded tapes through the filter. The path is that of the live stream; at once, unless --speed is given."""
    with mendable():
        from kvd import app as wiring  # noqa: PLC0415

        if sum((output is not None, speed is not None, as_json)) > 1:
            raise ConfigError("--output, --speed and --json are three different replays; choose one of them")
        settings = loaded(config).settings
        if speed is not None:
            turn(wiring.serve_tape(tapes[0], settings, speed, tables.served, tapes[1:]))
            return
        with tables.progress(f"replaying {', '.join(tape.name for tape in tapes)}") as progress:
            replayed = wiring.replay(tapes[0], settings, output, as_json, progress, tapes[1:])
        if as_json:
            print_json(replayed.json())
        else:
            tables.show(replayed.smiles)
        s = replayed.statistics
        tables.say(
            f"{s.frames:,} frames, {s.bad_frames:,} of them bad, in {replayed.seconds:.1f} s{tables.torn(s.torn_bytes)}"
        )


@app.command()
def report(
    tape: Tape,
    config: ConfigFile = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the measures to this new file.")] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a page that stands alone; needs plotly.")
    ] = None,
) -> None:
    """Judge the smiles of a recorded tape. They stand beside a cold refit, the venue's mark and the last value."""
    with mendable():
        from kvd import app as wiring  # noqa: PLC0415

        settings = loaded(config).settings
        with tables.progress(f"judging {tape.name}") as progress:
            reported = wiring.report(tape, settings, json_file, html_file, progress)
        if json_file is None and html_file is None:
            tables.contest(reported.underlyings)
        s = reported.statistics
        tables.say(f"{s.frames:,} frames, judged in {reported.seconds:.0f} s{tables.torn(s.torn_bytes)}")


@app.command()
def tune(
    tapes: Annotated[list[Path], typer.Argument(help="Tapes to learn from.", metavar="TAPE...")],
    config: ConfigFile = None,
    judges: Annotated[
        list[Path] | None, typer.Option("--judge", help="Judge what was learnt on this tape, too; repeatable.")
    ] = None,
    toml: Annotated[Path | None, typer.Option(help="Write what was learnt to this new configuration file.")] = None,
    as_json: AsJson = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the search, at most.")] = 4,
    only: Annotated[
        list[str] | None, typer.Option(help="Learn this setting alone, such as dynamics.level_sd; repeatable.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; otherwise one a core.")] = None,
) -> None:
    """Learn noise scales and regimes from tapes. By predictive likelihood; Ctrl-C keeps the best so far."""
    with mendable():
        from kvd import app as wiring  # noqa: PLC0415

        settings = loaded(config).settings
        names = wiring.chosen(only or ())
        task = wiring.Task(settings, names, tuple(tapes), tuple(judges or ()), rounds)
        with tables.steps("tuning") as progress:
            tuned = wiring.tune(task, toml, workers, progress)
        if as_json:
            print_json(tuned.json())
        else:
            tables.learnt(tuned.json())
            if toml is None:
                typer.echo(tuned.toml, nl=False)
        tables.say(f"{tuned.evaluations} candidates judged in {tuned.seconds:.0f} s")
        if tuned.stopped:
            tables.say("interrupted: this is the best so far, and nothing was judged elsewhere")
            raise typer.Exit(130)


@app.command()
def record(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A new tape (.ndjson, .gz, .zst), or a folder of them; otherwise the folder of [recorder].",
            metavar="[TAPE|FOLDER]",
        ),
    ] = None,
    venue: Annotated[str, typer.Option(help="Which venue to record.")] = "deribit",
    config: ConfigFile = None,
    seconds: Seconds = None,
) -> None:
    """Record a venue's stream to a tape, or to a folder of them. Nothing is calibrated."""
    with mendable():
        from kvd import app as wiring  # noqa: PLC0415

        settings = loaded(config).settings
        if venue not in wiring.VENUES:
            raise ConfigError(f"there is no venue {venue!r}; --venue takes one of: {', '.join(wiring.VENUES)}")
        with tables.counting(f"recording {venue}") as progress:
            recorded = turn(wiring.record(venue, settings, path, seconds, progress))
        lost = sum(recorded.recorder.dropped.values())
        tables.say(
            f"{recorded.recorder.frames:,} frames written to {recorded.place}"
            + (f"; {lost:,} are on no tape, for the disk did not take them" if lost else "")
        )


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting in force. It says where each value comes from; secrets are masked."""
    with mendable():
        rows = effective(loaded(config))
        if as_json:
            print_json({name: {"value": value, "source": source} for name, value, source in rows})
        else:
            tables.settings(rows)


@app.command()
def schema(
    document: Annotated[Document, typer.Argument(help="asyncapi: the stream; openapi: the pages.")] = Document.ASYNCAPI,
) -> None:
    """Print the document of the stream, or of the pages. AsyncAPI 3 and OpenAPI 3.1, as JSON."""
    from kvd.wire.schema import asyncapi, openapi  # noqa: PLC0415

    print_json(asyncapi() if document is Document.ASYNCAPI else openapi())


@app.command()
def bench(as_json: AsJson = False) -> None:
    """Measure what a frame, a fit and a delivery cost. Each beside a bare floor, on loopback, in one run."""
    with mendable():
        from kvd import bench as benchmarks  # noqa: PLC0415

        configure(Log(level="warning"))
        with tables.working("measuring; this takes about two minutes"):
            measured = turn(benchmarks.measure())
        if as_json:
            print_json(measured)
        else:
            tables.figures(measured)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8766,
    seed: Annotated[int, typer.Option(min=0, help="Which market.")] = 1,
    rate: Annotated[float, typer.Option(min=1.0, help="Option tickers a second.")] = 700.0,
    instruments: Annotated[int, typer.Option(min=50, max=5000, help="Options listed in each family.")] = 900,
    families: Annotated[str, typer.Option(help="Comma-separated: BTC, ETH, XRP_USDC.")] = "BTC",
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="Also end when standard input does, as when the program at it is gone.")
    ] = False,
) -> None:
    """Run the synthetic exchange alone. Deribit's protocol over a loopback websocket; prints its address."""
    with mendable():
        from kvd.app.exchange import serve  # noqa: PLC0415

        names = tuple(name.strip() for name in families.split(","))
        turn(serve(port, seed, rate, instruments, names, until_eof, typer.echo))


@audit.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An audit log, the file that audit.path names.", metavar="FILE")],
    head: Annotated[
        str | None, typer.Option(help="A digest of its newest line that was kept elsewhere.", metavar="DIGEST")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look for any change in an audit log. Exit code 0 if there is none, 1 with the line and what is wrong."""
    with mendable():
        from kvd.sinks.verdict import verdict  # noqa: PLC0415

        found = verdict(file, head)
        if as_json:
            print_json(found.json())
        else:
            typer.echo(found.words(), err=not found.whole)
    raise typer.Exit(0 if found.whole else 1)


@app.command()
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running daemon if it is ready. Exit code 0 if it is, 1 with what is missing if not."""
    with mendable():
        publish = loaded(config).settings.publish
    host = reachable(publish)
    try:
        connection = _connection(host, publish)
        connection.request("GET", "/readyz?verbose")
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        typer.echo(f"no kvd answers at {host}:{publish.port}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(text.strip(), err=response.status != 200)
    raise typer.Exit(0 if response.status == 200 else 1)


def _connection(host: str, publish: Publish) -> HTTPConnection:
    """To the daemon, in TLS where it serves so. Unverified: no secret is sent, and no certificate names loopback."""
    if not publish.tls_certificate:
        return HTTPConnection(host, publish.port, timeout=3.0)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, publish.port, timeout=3.0, context=trusting)


for command in (checkpoint, *subscriber.COMMANDS):
    app.command()(command)
