"""What a target of the fuzzing is. The table of them is in `fuzzing.py`: one line a target."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from mutation import Mutator

Case = Callable[[bytes], Awaitable[None]]
Subject = Callable[[], AbstractAsyncContextManager[Case]]


class Target(NamedTuple):
    """A door that strangers' bytes come to.

    `mutator` makes the cases of a seed; `subject` stands for the door, made anew every `life` cases: it takes a case
    and raises whatever must not come out of it. `share` is the part of all cases that the target has.
    """

    mutator: Callable[[int], Mutator]
    subject: Subject
    share: float
    life: int = 500


def plain(function: Callable[[bytes], None]) -> Subject:
    """A subject without a state."""

    @asynccontextmanager
    async def subject() -> AsyncIterator[Case]:
        async def case(data: bytes) -> None:
            function(data)

        yield case

    return subject
