"""Every setting with its type, its limits and its default. config/kvd.toml says what each is for."""

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from kvd.core.daycount import Calendar
from kvd.core.dynamics import Dynamics
from kvd.core.forward import ForwardFilter
from kvd.core.measurement import Measurement
from kvd.core.regimes import RegimeSettings
from kvd.core.whiteness import Watch

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Currency = Annotated[str, Meta(pattern="^[A-Z0-9]+$")]
Origin = Annotated[str, Meta(pattern="^https?://[a-z0-9.:-]+$")]


class ConfigError(Exception):
    """A setting that cannot be used. The message names the setting, where it came from and the mend."""


class Deribit(Struct, frozen=True, forbid_unknown_fields=True):
    """[deribit]: which families to follow. A currency is what Deribit settles in; USDC brings every linear family."""

    url: Annotated[str, Meta(pattern="^wss?://.")] = "wss://www.deribit.com/ws/api/v2"
    currencies: Annotated[tuple[Currency, ...], Meta(min_length=1)] = ("BTC", "ETH", "USDC")
    chunk_channels: Annotated[int, Meta(ge=1, le=200)] = 200
    subscribes_per_s: Positive = 3.0


class Feed(Struct, frozen=True, forbid_unknown_fields=True):
    """[feed]: when a stream counts as dead, and how to come back."""

    stale_after_s: Positive = 3.0
    heartbeat_s: Annotated[float, Meta(ge=10)] = 10.0
    reconnect_first_s: Positive = 0.25
    reconnect_cap_s: Positive = 30.0
    settled_after_s: Positive = 10.0


class Calibrator(Struct, frozen=True, forbid_unknown_fields=True):
    """[calibrator]: how the stream is cut into batches, and what is withheld to measure honestly."""

    batch_ms: Count = 50
    predicted_after_s: Positive = 120.0
    widened_above_sd: Positive = 0.05
    residual: bool = True
    hold_out: bool = False
    hold_out_seed: str = "0"


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: how far the published smiles may go, and how fast; 0 sets no limit."""

    atm_vol_low: NotNegative = 0.0
    atm_vol_high: NotNegative = 0.0
    skew_amount: NotNegative = 0.0
    curvature_high: NotNegative = 0.0
    atm_vol_per_min: NotNegative = 0.0
    skew_per_min: NotNegative = 0.0
    curvature_per_min: NotNegative = 0.0


class Publish(Struct, frozen=True, forbid_unknown_fields=True):
    """[publish]: the one port. An address other than loopback needs tokens, or allow_open said out loud.

    `tokens` holds entries ``NAME:SCOPES:TOKEN``, which `kvd.config.tokens` reads; `origins` the browser pages of other
    sites that may connect. The stream is served in TLS where `tls_certificate` and `tls_key` name files.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765
    tokens: tuple[str, ...] = ()
    allow_open: bool = False
    origins: tuple[Origin, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    heartbeat_s: Positive = 5.0
    max_clients: Count = 1000
    max_clients_per_token: Count = 200
    max_subscriptions: Count = 1000
    max_messages_per_s: Positive = 50.0
    max_messages_per_s_per_token: Positive = 200.0
    stalled_after_s: Positive = 5.0
    resume_s: NotNegative = 60.0
    resume_mib: NotNegative = 128.0
    moved_sds: NotNegative = 0.0
    atm_moved_sds: NotNegative = 0.0
    history_h: Annotated[float, Meta(ge=0, le=168)] = 6.0


class Locks(Struct, frozen=True, forbid_unknown_fields=True):
    """[lock]: what a trader may hold the smiles to."""

    longest_h: Positive = 24.0
    most: Count = 100


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """[audit]: the log of every lock and of what was published; without a path there is none, and no lock either."""

    path: str = ""


class Checkpoint(Struct, frozen=True, forbid_unknown_fields=True):
    """[checkpoint]: what a start takes up of the run before it; without a path every start is cold."""

    path: str = ""
    every_s: Positive = 1.0
    oldest_h: Positive = 24.0


class Recording(Struct, frozen=True, forbid_unknown_fields=True):
    """[recorder]: where the tapes of what arrives go, when a new one begins, and how many are kept."""

    folder: Annotated[str, Meta(min_length=1)] = "tapes"
    rotate_mib: Positive = 256.0
    rotate_h: Annotated[float, Meta(ge=0.001)] = 1.0
    keep_gib: NotNegative = 0.0
    queue_mib: Positive = 64.0


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: to standard error, one event a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be configured. `venues` names the exchanges to follow, `record` whether tapes are kept."""

    venues: Annotated[tuple[Literal["deribit"], ...], Meta(min_length=1)] = ("deribit",)
    record: bool = False
    deribit: Deribit = Deribit()
    feed: Feed = Feed()
    calibrator: Calibrator = Calibrator()
    forward: ForwardFilter = ForwardFilter()
    calendar: Calendar = Calendar()
    dynamics: Dynamics = Dynamics()
    regimes: RegimeSettings = RegimeSettings()
    measurement: Measurement = Measurement()
    watch: Watch = Watch()
    limits: Limits = Limits()
    publish: Publish = Publish()
    lock: Locks = Locks()
    audit: Audit = Audit()
    checkpoint: Checkpoint = Checkpoint()
    recorder: Recording = Recording()
    log: Log = Log()


class Key(NamedTuple):
    """One setting: its type with the limits on it, and a value (in `KEYS`, the default)."""

    kind: Any
    value: Any


def keys(struct: Struct, prefix: str = "") -> dict[str, Key]:
    """Every setting below `struct`, by its dotted name (``publish.port``)."""
    found: dict[str, Key] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, Struct):
            found |= keys(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = Key(field.type, value)
    return found


KEYS = keys(Settings())
SECTIONS = frozenset(name.rpartition(".")[0] for name in KEYS if "." in name)
SECRETS = frozenset({"publish.tokens"})
