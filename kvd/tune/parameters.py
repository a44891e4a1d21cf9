"""The settings that are learnt: names, limits, and between coordinates, settings and TOML.

A coordinate is the natural logarithm of a setting. Values are rounded to four digits before anything is computed with
them, so that the fragment says exactly what was judged.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kvd.config import KEYS, ConfigError, Settings

Floats = NDArray[np.float64]

NAMES = (
    *("level_sd", "skew_sd", "curvature_sd", "wing_sd", "tenor_power", "correlation_length"),
    *("wing_reversion_h", "residual_h", "residual_sd"),
    *("calm", "active", "shock", "calm_h", "active_h", "shock_h"),
    *("half_spread_factor", "floor_vol", "persistent_share", "student_nu"),
)
TUNABLE = tuple(
    f"{section}.{name}" for name in NAMES for section in ("dynamics", "regimes", "measurement")
    if f"{section}.{name}" in KEYS
)  # fmt: skip
FURTHEST = 30.0  # times or part of the default that a setting may come to
LIMITS = {
    "dynamics.tenor_power": (0.05, 1.5),
    "measurement.persistent_share": (0.01, 0.98),
    "measurement.student_nu": (2.2, 50.0),
}
DIGITS = 4


def chosen(only: Iterable[str]) -> tuple[str, ...]:
    """The settings named in `only`, in their own order, or all that can be learnt. Raises ConfigError."""
    wanted = set(only)
    for name in sorted(wanted.difference(TUNABLE)):
        raise ConfigError(f"{name} is nothing that kvd tune learns; --only takes of: {', '.join(TUNABLE)}")
    return tuple(name for name in TUNABLE if not wanted or name in wanted)


def values(settings: Settings, names: Sequence[str]) -> tuple[float, ...]:
    """The values of `names`."""
    found: list[Any] = [attrgetter(name)(settings) for name in names]
    return tuple(map(float, found))


def coordinates(of: Iterable[float]) -> Floats:
    """Values as coordinates, (n,)."""
    return np.asarray(np.log(np.array(tuple(of))))


def defaults(names: Sequence[str]) -> Floats:
    """kvd's own values as coordinates, (n,)."""
    return coordinates(KEYS[name].value for name in names)


def limits(names: Sequence[str]) -> Floats:
    """The least and the greatest coordinate of each, (2, n)."""
    own = [(KEYS[name].value / FURTHEST, KEYS[name].value * FURTHEST) for name in names]
    return np.asarray(np.log(np.array([LIMITS.get(name, pair) for name, pair in zip(names, own, strict=True)]).T))


def rounded(point: Floats) -> tuple[float, ...]:
    """The values at coordinates `point` (n,), to four digits."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in np.exp(point).tolist())


def replaced(settings: Settings, named: Mapping[str, Any]) -> Settings:
    """The settings with other values; `named` is by dotted name."""
    for name, value in named.items():
        section, _, key = name.partition(".")
        changed = msgspec.structs.replace(getattr(settings, section), **{key: value})
        settings = msgspec.structs.replace(settings, **{section: changed})
    return settings


def fragment(learnt: Mapping[str, float], remarks: Iterable[str] = ()) -> str:
    """A configuration file of `learnt`, by dotted name, headed by `remarks`."""
    lines = [f"# {remark}" for remark in remarks]
    section = ""
    for name, value in learnt.items():
        of, _, key = name.partition(".")
        lines += [*([""] if lines else []), f"[{of}]"] * (of != section) + [f"{key} = {value}"]
        section = of
    return "\n".join(lines) + "\n"
