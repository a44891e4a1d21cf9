"""Smiles as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kvd.surface.smile import Smile, delta_points

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows(smiles: Sequence[Smile]) -> list[dict[str, Any]]:
    """One row a smile: who, when, the forward, the five numbers, risk reversals and butterflies, each with its standard
    deviation, how far to trust it, and its times.
    """
    table = []
    for smile, points in zip(smiles, delta_points(smiles), strict=True):
        row: dict[str, Any] = {"venue": smile.venue, "underlying": smile.underlying, "expiry": utc(smile.expiry_us)}
        row |= {"tau": smile.tau, "forward": smile.forward.value, "forward_sd": smile.forward.sd}
        for name, value, sd in zip(smile.parameters._fields, smile.parameters, smile.sd, strict=True):
            row |= {name: value, f"{name}_sd": sd}
        row |= {name: value for name, value in points._asdict().items() if name != "points"}
        row |= {"state": smile.state, "reason": smile.reason, "nis": smile.nis, "nis_dof": smile.nis_dof}
        row |= {"inside": smile.inside, "quotes": smile.quotes, "exchange_time": utc(smile.exchange_us)}
        row |= {"receive_time": utc(smile.receive_us), "publish_time": utc(smile.publish_us)}
        table.append(row)
    return table


def to_pandas(smiles: Sequence[Smile]) -> Any:
    """The rows as a pandas DataFrame, indexed by expiry."""
    try:
        import pandas  # noqa: PLC0415 - whoever makes no tables need not have it
    except ModuleNotFoundError as error:
        raise ImportError("to_pandas needs pandas, which is not installed: pip install 'kvd[pandas]'") from error
    table = pandas.DataFrame.from_records(rows(smiles))
    return table.set_index("expiry") if smiles else table


def utc(us: int) -> datetime:
    """Microseconds since the epoch as a datetime."""
    return _EPOCH + timedelta(microseconds=us)
