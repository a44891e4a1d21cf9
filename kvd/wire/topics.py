"""Topic patterns, as both ends of the stream read them."""

from collections.abc import Set
from itertools import product


def covers(patterns: Set[str], topic: str) -> bool:
    """Whether any of `patterns` is what `topic` is, where ``*`` stands for any one part.

    A topic of n parts can be written in 2**n ways with ``*``, which are looked up, however many patterns there are.
    """
    ways = product(*((part, "*") for part in topic.split(".")))
    return any(".".join(way) in patterns for way in ways)
