"""The commands that ask a running kvd, over its stream or its pages."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import orjson
import typer

from kvd import tables
from kvd.cli.shell import ConfigFile, loaded, mendable, reachable, turn
from kvd.config import ConfigError
from kvd.quotes import LockOf

if TYPE_CHECKING:
    from kvd.client import Stream

REFRESH_S = 0.25
PLAIN_EVERY_S = 2.0

Url = Annotated[
    str | None,
    typer.Option(envvar="KVD_URL", help="Where the stream is; otherwise publish.host and publish.port as configured."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="KVD_TOKEN_FILE", help="A file that holds the token; otherwise KVD_TOKEN, if one is needed."),
]
Venue = Annotated[str, typer.Option(help="Of which venue.")]


class Format(StrEnum):
    """How `kvd surface` prints."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def top(
    underlyings: Annotated[
        list[str] | None, typer.Argument(help="Such as BTC; otherwise all.", metavar="[UNDERLYING...]")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Watch the surfaces of a running kvd. A live table; plain lines where there is no terminal."""
    with mendable():
        from kvd import client  # noqa: PLC0415 numpy and scipy take half a second, which --help should not wait for

        where, token = _target(url, token_file, config)

        async def watch() -> None:
            async with client.connect(where, token=token) as stream:
                await _watch(stream, where, underlyings or [])

        turn(_until_signal(watch()))


def tail(
    topics: Annotated[list[str], typer.Argument(help="Such as surface.deribit.BTC or 'atm.*.*'.", metavar="TOPIC...")],
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Print the messages of topics as they come. NDJSON, one message a line, gaps and snapshots included."""
    with mendable():
        from kvd import client  # noqa: PLC0415

        where, token = _target(url, token_file, config)
        out = sys.stdout.buffer
        with client.connect_sync(where, token=token) as stream, suppress(KeyboardInterrupt):
            try:
                for message in stream.messages(*topics):
                    out.write(orjson.dumps(message) + b"\n")
                    out.flush()
            except BrokenPipeError:  # who read it has had enough; what is left in the buffer has nowhere to go
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def surface(
    underlying: Annotated[str, typer.Argument(help="Such as BTC.", metavar="UNDERLYING")],
    venue: Annotated[str | None, typer.Option(help="Of which venue, where several have it.")] = None,
    at: Annotated[
        str | None, typer.Option(help="As it was then: ISO 8601, UTC unless it says otherwise.", metavar="TIME")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Print a surface once. As it is, or as it was."""
    with mendable():
        from kvd import client, terminal  # noqa: PLC0415
        from kvd.surface.frame import rows  # noqa: PLC0415

        where, token = _target(url, token_file, config)
        page = client.surface_page(client.address(where, token), underlying, venue, _instant(at) if at else None)
        if form is Format.JSON:
            typer.echo(page.body)
        elif form is Format.CSV:
            tables.comma_separated(rows(page.surface.smiles))
        else:
            tables.out.print(terminal.table(terminal.lines(page.surface), tables.out.width))
            if page.at:
                tables.say(f"as it was at {page.at}")


def lock(
    underlying: Annotated[str, typer.Argument(help="Such as BTC.", metavar="UNDERLYING")],
    expiry: Annotated[str, typer.Argument(help="As in topics: 2026-12-25.", metavar="EXPIRY")],
    value: Annotated[float, typer.Option(help="What to hold it to; vols are decimals.")],
    sd: Annotated[float, typer.Option(help="How firmly: the standard deviation of that.")],
    of: Annotated[str | None, typer.Option(help="What to hold: " + ", ".join(get_args(LockOf)[:-1]) + ".")] = None,
    vol_at: Annotated[float | None, typer.Option(help="Or the vol at this strike.", metavar="STRIKE")] = None,
    duration: Annotated[str | None, typer.Option("--for", help="For how long: 90s, 15m, 2h, 1d.")] = None,
    until: Annotated[str | None, typer.Option(help="Or until when: ISO 8601.", metavar="TIME")] = None,
    venue: Venue = "deribit",
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Hold a parameter of a smile, or its vol at a strike. Prints the id of the lock, for kvd unlock."""
    with mendable():
        from kvd import client  # noqa: PLC0415

        if (of is None) == (vol_at is None):
            raise ConfigError("what to hold is either --of a parameter or --vol-at a strike; give one of them")
        if of is not None and of not in get_args(LockOf)[:-1]:
            raise ConfigError(f"--of {of}: there is no such parameter; use one of {', '.join(get_args(LockOf)[:-1])}")
        if (duration is None) == (until is None):
            raise ConfigError("a lock needs its end: give either --for, such as --for 15m, or --until an instant")
        end = _duration(duration) if duration is not None else _instant(until or "")
        where, token = _target(url, token_file, config)
        with client.connect_sync(where, token=token) as stream:
            what: LockOf = of or "vol"  # type: ignore[assignment]
            held = stream.lock(underlying, expiry, what, value, sd, end, strike=vol_at, venue=venue)
        typer.echo(held.id)
        tables.say(f"held until {held.until:%Y-%m-%dT%H:%M:%SZ}; `kvd unlock {held.id}` releases it before")


def unlock(
    id: Annotated[str, typer.Argument(help="As kvd lock has printed it.", metavar="ID")],
    url: Url = None,
    token_file: TokenFile = None,
    config: ConfigFile = None,
) -> None:
    """Release a lock before its time."""
    with mendable():
        from kvd import client  # noqa: PLC0415

        where, token = _target(url, token_file, config)
        with client.connect_sync(where, token=token) as stream:
            stream.unlock(id)


COMMANDS = (top, tail, surface, lock, unlock)


async def _watch(stream: "Stream", url: str, underlyings: list[str]) -> None:
    """Show what the stream brings, and that it brings nothing."""
    from kvd.terminal import Screen  # noqa: PLC0415

    now_s, screen = asyncio.get_running_loop().time, Screen(url)

    async def follow() -> None:
        async for newest in stream.surfaces(*underlyings):
            screen.see(newest, now_s())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        with tables.screen() as show:
            while True:
                await asyncio.sleep(REFRESH_S if tables.out.is_terminal else PLAIN_EVERY_S)
                show(screen.table(now_s(), tables.out.width), screen.connection(stream.statistics()))


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` until a signal: that is how it ends in good order."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _target(url: str | None, token_file: Path | None, config: Path | None) -> tuple[str, str | None]:
    """Where to ask, and with which token. A token is never an argument, which everybody on the machine can read."""
    if not url:
        publish = loaded(config).settings.publish
        if publish.port == 0:
            raise ConfigError("publish.port is 0, which may be any port: name the stream with --url or KVD_URL")
        host = reachable(publish)
        scheme = "wss" if publish.tls_certificate else "ws"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{publish.port}/v1/stream"
    if token_file is None:
        return url, os.environ.get("KVD_TOKEN") or None
    try:
        return url, token_file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the token file {token_file} cannot be read ({error}); name a file that holds it") from None


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not found:
        raise ConfigError(f"--for {text}: write a number and its unit, such as 90s, 15m, 2h or 1d")
    return timedelta(seconds=float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]])


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"{text!r} is no instant; write it as 2026-12-24T12:00Z") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
