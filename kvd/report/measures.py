"""What a report shows of its figures, for people: which measures, of whom, and how they are written."""

from collections.abc import Mapping
from typing import Any, NamedTuple

CONTENDERS = ("kvd", "backbone", "refit", "mark", "last_value")


class Measure(NamedTuple):
    """A measure: its key in the report, its name, and how it is written."""

    key: str
    name: str
    style: str


MEASURES = (
    Measure("inside", "inside", "share"),
    Measure("rmse", "RMSE, vol points", "vol"),
    Measure("heldout_inside", "held-out inside", "share"),
    Measure("heldout_rmse", "held-out RMSE, vol points", "vol"),
    Measure("predictive_inside", "predictive inside", "share"),
    Measure("predictive_rmse", "predictive RMSE, vol points", "vol"),
    Measure("predictive_median", "predictive median error, vol points", "vol"),
    Measure("update_us_per_slice", "a slice update, microseconds", "whole"),
    Measure("nis_mean", "NIS", "share"),
    Measure("held_ratio", "share held", "share"),
)


def of_contenders(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of each contender by name, kvd's own first."""
    return {name: report if name == "kvd" else report[name] for name in CONTENDERS}


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """One row a measure: its name, and each contender's figure with its standard error where there is one."""
    found = []
    for measure in MEASURES:
        cells = [written(figures, measure) for figures in of_contenders(report).values()]
        if any(cells):
            found.append([measure.name, *cells])
    return found


def written(figures: Mapping[str, Any], measure: Measure) -> str:
    """A figure as text; nothing where there is none."""
    value = figures.get(measure.key)
    if value is None:
        return ""
    if measure.style == "vol":
        return f"{100 * value:.3f}"
    if measure.style == "whole":
        return f"{value:,.0f}"
    se = figures.get(f"{measure.key}_se")
    return f"{value:.4f}" if se is None else f"{value:.4f} ± {se:.4f}"
