"""kvd.toml and the KVD_* environment, merged into typed, frozen settings.

Precedence: environment, then file, then the defaults below. ``KVD_PUBLISH_PORT=9000`` sets ``port`` of ``[publish]``;
lists are comma-separated. Secrets come only from the environment or, as ``KVD_..._FILE``, from the file it names.
``KVD_CONFIG`` names the configuration file; ``KVD_DATA`` is reserved for tests.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from kvd.core.dynamics import Dynamics
from kvd.core.measurement import Measurement

RESERVED = ("KVD_CONFIG", "KVD_DATA")
SECRETS = (("publish", "token"),)


class ConfigError(Exception):
    """A setting that cannot be used. The message names the setting, where it came from and the mend."""


class Deribit(Struct, frozen=True, forbid_unknown_fields=True):
    """[deribit]: which families to follow. A currency is what Deribit settles in; USDC brings every linear family."""

    url: str = "wss://www.deribit.com/ws/api/v2"
    currencies: tuple[str, ...] = ("BTC", "ETH", "USDC")
    chunk_channels: int = 200
    subscribes_per_s: float = 3.0


class Feed(Struct, frozen=True, forbid_unknown_fields=True):
    """[feed]: when a stream counts as dead, and how to come back."""

    stale_after_s: float = 3.0
    heartbeat_s: float = 10.0
    reconnect_first_s: float = 0.25
    reconnect_cap_s: float = 30.0
    settled_after_s: float = 10.0


class Calibrator(Struct, frozen=True, forbid_unknown_fields=True):
    """[calibrator]: how the stream is cut into batches, and what is withheld to measure honestly."""

    batch_ms: int = 50
    hold_out: bool = False
    hold_out_seed: str = "0"


class Publish(Struct, frozen=True, forbid_unknown_fields=True):
    """[publish]: the one port. An address other than loopback needs a token, or allow_open said out loud."""

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    allow_open: bool = False
    heartbeat_s: float = 5.0
    max_clients: int = 1000
    max_subscriptions: int = 1000
    max_messages_per_s: float = 50.0
    stalled_after_s: float = 5.0


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: to standard error, one event a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be configured. `venues` names the exchanges to follow."""

    venues: tuple[Literal["deribit"], ...] = ("deribit",)
    deribit: Deribit = Deribit()
    feed: Feed = Feed()
    calibrator: Calibrator = Calibrator()
    dynamics: Dynamics = Dynamics()
    measurement: Measurement = Measurement()
    publish: Publish = Publish()
    log: Log = Log()
