"""Defaults, then the file, then the environment: merged, checked, and remembered where each value came from."""

import ipaddress
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import inspect

from kvd.config import tokens
from kvd.config.settings import KEYS, SECRETS, SECTIONS, ConfigError, Settings, keys
from kvd.config.wording import allowed, nearest, text

RESERVED = frozenset({"KVD_CONFIG", "KVD_DATA", "KVD_TOKEN", "KVD_TOKEN_FILE", "KVD_URL"})
VARIABLES = {f"KVD_{name.replace('.', '_').upper()}": name for name in KEYS}
SECRET_FILES = {f"{variable}_FILE": variable for variable, name in VARIABLES.items() if name in SECRETS}
MASK = "********"


class Loaded(NamedTuple):
    """The settings in force and, by dotted name, where each value came from.

    A source reads ``default``, ``file PATH:LINE`` (or ``file PATH``) or ``environment NAME``.
    """

    settings: Settings
    sources: dict[str, str]


class Found(NamedTuple):
    """One checked value of a source."""

    name: str
    value: Any
    source: str


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Merge the defaults, the file (`path`, else ``KVD_CONFIG``, else none) and the environment.

    Raises ConfigError at the first setting that cannot be used.
    """
    path = path or (Path(environ["KVD_CONFIG"]) if environ.get("KVD_CONFIG") else None)
    values = {name: key.value for name, key in KEYS.items()}
    sources = dict.fromkeys(KEYS, "default")
    for found in [*(_from_file(path) if path else ()), *_from_environment(environ)]:
        values[found.name], sources[found.name] = found.value, found.source
    settings = msgspec.convert(_nested(values), Settings)
    tokens.parse(settings.publish.tokens, sources["publish.tokens"])
    _check_together(settings)
    return Loaded(settings, sources)


def effective(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Every setting as (dotted name, value as kvd.toml writes it, source); secrets are masked."""
    return [(name, value, loaded.sources[name]) for name, value in shown(loaded.settings).items()]


def shown(settings: Settings) -> dict[str, str]:
    """Every setting by its dotted name, as kvd.toml writes it; secrets are masked."""
    return {name: MASK if name in SECRETS and key.value else text(key.value) for name, key in keys(settings).items()}


def is_loopback(host: str | None) -> bool:
    """Whether `host`, a name or an address, is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _from_file(path: Path) -> Iterator[Found]:
    try:
        content = path.read_text("utf-8")
        table = tomllib.loads(content)
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read ({error.strerror}); "
            "name another with --config or KVD_CONFIG, or leave both out to run on the defaults"
        ) from None
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML, which say where; or brackets without end
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from None
    lines = _lines(content)
    for name, value in _flat(table):
        where = f"{path}:{lines[name]}" if name in lines else str(path)
        if name in SECRETS:
            variable = f"KVD_{name.replace('.', '_').upper()}"
            raise ConfigError(
                f"{name} ({where}) is a secret and may not stand in the configuration file; "
                f"delete it there and set {variable}, or {variable}_FILE to a file that holds it"
            )
        if name not in KEYS:
            mend = f"write [{name}] and its settings below" if name in SECTIONS else nearest(name, [*KEYS, *SECTIONS])
            raise ConfigError(f"{name} ({where}) is not a setting; {mend}")
        yield Found(name, _checked(name, value, where, strict=True), f"file {where}")


def _from_environment(environ: Mapping[str, str]) -> Iterator[Found]:
    for variable in sorted(environ):
        if not variable.startswith("KVD_") or variable in RESERVED:
            continue
        if variable in SECRET_FILES:
            name, content = VARIABLES[SECRET_FILES[variable]], _secret(variable, environ)
        elif variable in VARIABLES:
            name, content = VARIABLES[variable], environ[variable]
        else:
            raise ConfigError(f"{variable} (environment) is not a setting; {nearest(variable, VARIABLES)}")
        if not _is_utf8(content):
            raise ConfigError(f"{variable} (environment) is not UTF-8 text; set it anew or unset it")
        is_list = isinstance(KEYS[name].value, tuple)
        value = [part.strip() for part in re.split("[,\n]", content) if part.strip()] if is_list else content
        source = f"environment {variable}"
        yield Found(name, _checked(name, value, source, strict=False), source)


def _secret(variable: str, environ: Mapping[str, str]) -> str:
    if SECRET_FILES[variable] in environ:
        raise ConfigError(f"{SECRET_FILES[variable]} and {variable} are both set; unset one of them")
    named = f"the file {environ[variable]}, named by {variable},"
    try:
        content = Path(environ[variable]).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{named} cannot be read ({error}); name a file that holds the secret") from None
    if not content:
        raise ConfigError(f"{named} is empty; put the secret into it")
    return content


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and name in SECTIONS:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *sections, key = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[key] = value
    return tree


def _lines(content: str) -> dict[str, int]:
    """The line on which each name is set, where it is written plainly (tomllib does not say)."""
    lines: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(content.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            prefix = f"{header[1]}."
            lines.setdefault(header[1], number)
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            lines.setdefault(prefix + key[1], number)
    return lines


def _checked(name: str, value: Any, where: str, *, strict: bool) -> Any:
    try:
        checked = msgspec.convert(value, KEYS[name].kind, strict=strict)
        numbers = [x for x in (checked if isinstance(checked, tuple) else [checked]) if isinstance(x, float)]
        if all(map(math.isfinite, numbers)):
            return checked
    except msgspec.ValidationError:
        pass
    raise ConfigError(
        f"{name} = {MASK if name in SECRETS else text(value)} ({where}) cannot be used; "
        f"it must be {allowed(inspect.type_info(KEYS[name].kind))}, and is {text(KEYS[name].value)} by default"
    )


def _check_together(settings: Settings) -> None:
    publish, feed, url = settings.publish, settings.feed, settings.deribit.url
    if not _is_address(url):
        raise ConfigError(f"deribit.url = {text(url)} is not an address to connect to; write it as wss://host/path")
    if not (publish.tokens or publish.allow_open or is_loopback(publish.host)):
        raise ConfigError(
            f"publish.host = {text(publish.host)} is open to the network without a token; set KVD_PUBLISH_TOKENS, "
            "or publish.allow_open = true where something else guards the port, or keep to 127.0.0.1"
        )
    if bool(publish.tls_certificate) != bool(publish.tls_key):
        named, other = ("tls_certificate", "tls_key") if publish.tls_certificate else ("tls_key", "tls_certificate")
        raise ConfigError(f"publish.{named} is set and publish.{other} is not; TLS takes both: set it, or unset both")
    if feed.reconnect_first_s > feed.reconnect_cap_s:
        raise ConfigError(
            f"feed.reconnect_first_s = {feed.reconnect_first_s} is above feed.reconnect_cap_s = "
            f"{feed.reconnect_cap_s}; lower the first or raise the cap"
        )
    recorder = settings.recorder
    if 0 < recorder.keep_gib * 1024 < recorder.rotate_mib:
        raise ConfigError(
            f"recorder.keep_gib = {recorder.keep_gib} is less than one tape of recorder.rotate_mib = "
            f"{recorder.rotate_mib}; raise the first, to 0 to keep every tape, or lower the other"
        )
    low, high = settings.limits.atm_vol_low, settings.limits.atm_vol_high
    if 0 < high < low:
        raise ConfigError(
            f"limits.atm_vol_low = {low} is above limits.atm_vol_high = {high}; lower the first or raise the other"
        )


def _is_address(url: str) -> bool:
    """Whether a URL names a host, perhaps a port, and no fragment."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        return False


def _is_utf8(content: str) -> bool:
    """False where Python smuggled undecodable bytes of the environment in as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in content)
