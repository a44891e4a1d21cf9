"""What the commands have in common: settings, an event loop, and the one sentence for whatever a user can mend."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from kvd.config import ConfigError, Loaded, Publish, load
from kvd.logs import configure

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file; otherwise KVD_CONFIG.")]


@contextmanager
def mendable() -> Iterator[None]:
    """Turn what a user can mend into one sentence on standard error and exit code 2; Ctrl-C is exit code 130."""
    try:
        yield
        return
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ConfigError as error:
        message = str(error)
    except Exception as error:
        cause = error
        while isinstance(cause, ExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        if not _is_mendable(cause):
            raise
        message = str(cause)
    typer.echo(f"kvd: {message}", err=True)
    raise typer.Exit(2)


def _is_mendable(error: Exception) -> bool:
    from kvd.client import ClientError  # noqa: PLC0415 what no command needs before something has gone wrong

    if isinstance(error, ClientError):
        return True
    from kvd.app import MENDABLE  # noqa: PLC0415

    return isinstance(error, MENDABLE)


def loaded(config: Path | None) -> Loaded:
    """The settings in force, with logging as they say."""
    found = load(config, os.environ)
    configure(found.settings.log)
    return found


def reachable(publish: Publish) -> str:
    """The host at which a daemon with these settings is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(publish.host, publish.host)


def turn(main: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, on uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def print_json(value: Any) -> None:
    """Print one JSON object for people to read and programs to parse."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
