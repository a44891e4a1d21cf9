"""kvd.toml and the KVD_* environment, merged into typed, frozen settings.

Precedence: environment, then file, then the defaults. ``KVD_PUBLISH_PORT=9000`` sets ``port`` of ``[publish]``;
lists are comma-separated. Secrets come only from the environment or, as ``KVD_..._FILE``, from the file it names.
``KVD_CONFIG`` names the configuration file; ``KVD_URL``, ``KVD_TOKEN`` and ``KVD_TOKEN_FILE`` are for the commands that
ask a running kvd; ``KVD_DATA`` is reserved for tests.
"""

from kvd.config.settings import (
    KEYS,
    Audit,
    Calibrator,
    Checkpoint,
    ConfigError,
    Deribit,
    Feed,
    Limits,
    Locks,
    Log,
    Publish,
    Recording,
    Settings,
)
from kvd.config.sources import Loaded, effective, is_loopback, load, shown
from kvd.config.tokens import Token

__all__ = [
    "KEYS",
    "Audit",
    "Calibrator",
    "Checkpoint",
    "ConfigError",
    "Deribit",
    "Feed",
    "Limits",
    "Loaded",
    "Locks",
    "Log",
    "Publish",
    "Recording",
    "Settings",
    "Token",
    "effective",
    "is_loopback",
    "load",
    "shown",
]
