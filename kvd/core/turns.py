"""Long work in turns: a generator that yields wherever others may have one, and returns what came of it.

Where it yields follows from the work alone, never from a clock, and whoever drives it decides what happens in between:
so the result is the same in one go (`finish`) and spread over an event loop. What it works on must stay as it is until
it is done.
"""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Turns: TypeAlias = Generator[None, None, T]


def finish(turns: Turns[T]) -> T:
    """All turns that are left, in one go."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            result: T = end.value
            return result
