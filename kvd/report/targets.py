"""The bounds that good smiles keep on any tape, each against a report's own figures."""

from collections.abc import Mapping
from typing import Any, NamedTuple

INSIDE = 0.99
HELD_OUT_SLACK = 0.005
MEDIAN_RATIO = 0.7
COVERAGE_90 = 0.85, 0.95
LEAST_QUOTES = 500
HELD_RATIO = 0.01
FASTER = 10.0
WORDS = {True: "met", False: "MISSED", None: "unjudged"}


class Target(NamedTuple):
    """A measure, what it came to, what was asked, and whether it is met; None where there is nothing to judge by."""

    name: str
    value: str
    bound: str
    met: bool | None


def targets(report: Mapping[str, Any]) -> list[Target]:
    """The targets of one underlying's report."""
    refit, backbone = report["refit"], report["backbone"]
    mark, last = report["mark"], report["last_value"]
    tenors = {t: row["90"] for t, row in report["coverage_by_tenor"].items() if row["n"] >= LEAST_QUOTES}
    off = max(tenors.items(), key=lambda row: abs(row[1] - 0.9), default=None)
    low, high = COVERAGE_90
    violations = sum(report["violations"].values())
    return [
        _least("inside", report.get("inside"), INSIDE),
        _least("inside, against the venue's mark", report.get("inside"), mark.get("inside")),
        _least("held-out inside, against the refit's less 0.005", report.get("heldout_inside"),
               _times(refit.get("heldout_inside"), 1.0, -HELD_OUT_SLACK)),
        _most("held-out RMSE, against the refit's", report.get("heldout_rmse"), refit.get("heldout_rmse"), 5),
        _least("predictive inside, against the last value's",
               report.get("predictive_inside"), last.get("predictive_inside")),
        _most("predictive median error, against 0.7 of the backbone's",
              report.get("predictive_median"), _times(backbone.get("predictive_median"), MEDIAN_RATIO), 5),
        Target("90 % band, farthest tenor of 500 quotes", f"{off[1]:.3f} ({off[0]})" if off else "",
               f"{low} to {high}", low <= off[1] <= high if off else None),
        Target("violations of no-arbitrage", str(violations), "0", violations == 0),
        _most("share of smiles held", report.get("held_ratio"), HELD_RATIO),
        _least("slice update, times faster than the refit",
               _ratio(refit.get("update_us_per_slice"), report.get("update_us_per_slice")), FASTER, 1),
    ]  # fmt: skip


def _least(name: str, value: float | None, bound: float | None, digits: int = 4) -> Target:
    if value is None or bound is None:
        return Target(name, "", "", None)
    return Target(name, f"{value:.{digits}f}", f">= {bound:.{digits}f}", value >= bound)


def _most(name: str, value: float | None, bound: float | None, digits: int = 4) -> Target:
    if value is None or bound is None:
        return Target(name, "", "", None)
    return Target(name, f"{value:.{digits}f}", f"<= {bound:.{digits}f}", value <= bound)


def _times(value: float | None, factor: float, plus: float = 0.0) -> float | None:
    return None if value is None else value * factor + plus


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value and by else None
