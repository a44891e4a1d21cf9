"""What the fault bench says: one row a figure, against its limit."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One figure of one promise (R1 to R13): what was looked at, what it came to (unit, n), its limit."""

    promise: str
    what: str
    measured: str
    limit: str
    passed: bool


class Scale(NamedTuple):
    """How much is done: all of it, or the short form that `make test` runs. `of` chooses a count of either."""

    short: bool
    seed: int
    say: Callable[[str], object] = lambda _: None  # progress, a line each

    def of(self, whole: int, short: int) -> int:
        """`whole`, or `short` in the short form."""
        return short if self.short else whole


Trial = Callable[[Scale], Awaitable[Sequence[Row]]]


def table(rows: Sequence[Row]) -> str:
    """The rows in columns, a line each."""
    cells = [("promise", "what", "measured", "limit", "pass")]
    cells += [(*row[:4], "pass" if row.passed else "FAIL") for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
