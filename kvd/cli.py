"""The commands, each a few lines over `kvd.app`. Whatever a user can mend is one sentence and exit code 2."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from kvd import __version__, tables
from kvd.config import ConfigError, Loaded, effective, load

app = typer.Typer(
    name="kvd",
    help="Streaming calibration daemon: exchange option quotes in, Kalman-filtered volatility smiles out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file; otherwise KVD_CONFIG.")]
Seconds = Annotated[float | None, typer.Option(min=0.1, help="Stop by itself after so many seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Tape = Annotated[Path, typer.Argument(help="A tape: .ndjson, .ndjson.gz or .ndjson.zst.", metavar="TAPE")]


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
    record: Annotated[Path | None, typer.Option(help="Also write every frame to this new tape.")] = None,
) -> None:
    """Follow the configured venues and publish their surfaces. Live Deribit by default; no key is needed."""
    from kvd import app as wiring  # noqa: PLC0415 scipy takes most of a second, which no other command should wait for

    with mendable():
        settings = _load(config).settings
        _run(wiring.run(settings, record, seconds))


@app.command()
def demo(
    config: ConfigFile = None,
    seconds: Seconds = None,
    seed: Annotated[int, typer.Option(help="Which synthetic market.")] = 1,
) -> None:
    """Show the whole daemon at work on a synthetic exchange: no network, no configuration."""
    from kvd import app as wiring  # noqa: PLC0415

    with mendable():
        settings = _load(config).settings
        with tables.live(settings.publish) as show:
            _run(wiring.demo(settings, seed, seconds, show))


@app.command()
def replay(
    tape: Tape,
    config: ConfigFile = None,
    output: Annotated[Path | None, typer.Option(help="Write every published update to this new file, NDJSON.")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Publish on the stream, so many times as fast as it was.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Withhold a fifth of the instruments and print the measures of quality.")
    ] = False,
) -> None:
    """Put a recorded tape through the same path as the live stream; at once, unless --speed is given."""
    from kvd import app as wiring  # noqa: PLC0415

    with mendable():
        if sum((output is not None, speed is not None, as_json)) > 1:
            raise ConfigError("--output, --speed and --json are three different replays; choose one of them")
        settings = _load(config).settings
        if speed is not None:
            _run(wiring.serve_tape(tape, settings, speed))
            return
        with tables.progress(f"replaying {tape.name}") as progress:
            replayed = wiring.replay(tape, settings, output, as_json, progress)
        if as_json:
            typer.echo(orjson.dumps(replayed.json(), option=orjson.OPT_INDENT_2).decode())
        else:
            tables.show(replayed.smiles)
            tables.say(f"{replayed.statistics.frames:,} frames in {replayed.seconds:.1f} s")


@app.command()
def record(
    path: Annotated[Path, typer.Argument(help="A new tape; .zst and .gz are compressed.", metavar="TAPE")],
    venue: Annotated[str, typer.Option(help="Which venue to record.")] = "deribit",
    config: ConfigFile = None,
    seconds: Seconds = None,
) -> None:
    """Record a venue's stream to a tape, without calibrating it."""
    from kvd import app as wiring  # noqa: PLC0415

    with mendable():
        settings = _load(config).settings
        if venue not in wiring.VENUES:
            raise ConfigError(f"there is no venue {venue!r}; --venue takes one of: {', '.join(wiring.VENUES)}")
        with tables.counting(f"recording {venue}") as progress:
            statistics = _run(wiring.record(venue, settings, path, seconds, progress))
        tables.say(f"{statistics.frames:,} frames written to {path}")


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print the configuration that would be used and where each value comes from; secrets are masked."""
    with mendable():
        rows = effective(_load(config))
        if as_json:
            values = {name: {"value": value, "source": source} for name, value, source in rows}
            typer.echo(orjson.dumps(values, option=orjson.OPT_INDENT_2).decode())
        else:
            tables.settings(rows)


@app.command()
def bench(as_json: AsJson = False) -> None:
    """Measure kvd against bare floors, on loopback, in one run: costs per frame, per core and per slice."""
    from kvd import bench as benchmarks  # noqa: PLC0415

    with mendable():
        with tables.working("measuring; this takes about a minute"):
            measured = asyncio.run(benchmarks.measure())
        if as_json:
            typer.echo(orjson.dumps(measured, option=orjson.OPT_INDENT_2).decode())
        else:
            tables.figures(measured)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8766,
    seed: Annotated[int, typer.Option(help="Which market.")] = 1,
    rate: Annotated[float, typer.Option(min=1.0, help="Option tickers a second.")] = 700.0,
    instruments: Annotated[int, typer.Option(min=50, max=5000, help="Options listed in each family.")] = 900,
    families: Annotated[str, typer.Option(help="Comma-separated: BTC, ETH, XRP_USDC.")] = "BTC",
) -> None:
    """Run the synthetic exchange alone: Deribit's protocol over a loopback websocket. Prints its address."""
    from kvd.app.exchange import serve  # noqa: PLC0415

    with mendable():
        _run(serve(port, seed, rate, instruments, tuple(families.split(",")), typer.echo))


@app.command()
def healthcheck(config: ConfigFile = None) -> None:
    """Ask the running daemon whether it is ready; exit code 0 if it is, 1 with what is missing if not."""
    with mendable():
        publish = _load(config).settings.publish
    host = publish.host if publish.host not in ("0.0.0.0", "::") else "127.0.0.1"
    try:
        connection = HTTPConnection(host, publish.port, timeout=3.0)
        connection.request("GET", "/readyz?verbose")
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, HTTPException) as error:
        typer.echo(f"no kvd answers at {host}:{publish.port}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(text.strip(), err=response.status != 200)
    raise typer.Exit(0 if response.status == 200 else 1)


@contextmanager
def mendable() -> Iterator[None]:
    """Turn what a user can mend into one sentence on standard error and exit code 2."""
    from kvd.app.demo import DemoError  # noqa: PLC0415
    from kvd.feeds.replay import TapeError  # noqa: PLC0415
    from kvd.sinks.record import RecordError  # noqa: PLC0415

    try:
        yield
    except (ConfigError, TapeError, RecordError, DemoError) as error:
        message = str(error)
    except FileExistsError as error:
        message = f"{error.filename} exists already; choose another name or move it away"
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    else:
        return
    typer.echo(f"kvd: {message}", err=True)
    raise typer.Exit(2)


def _load(config: Path | None) -> Loaded:
    from kvd.logs import configure  # noqa: PLC0415

    loaded = load(config, os.environ)
    configure(loaded.settings.log)
    return loaded


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, on uvloop where it is installed; a group of one mendable error is that error."""
    try:
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(main)
        except ExceptionGroup as group:
            if len(group.exceptions) == 1 and isinstance(group.exceptions[0], ConfigError):
                raise group.exceptions[0] from None
            raise
