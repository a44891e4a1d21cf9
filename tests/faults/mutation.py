"""Bytes that are nearly right: messages of a protocol bent by a seed, some as trees, some as bytes.

Case `number` of a seed is the same whatever came before it, so one command makes it again.
"""

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

import msgspec

Shape = Literal["json", "msgpack", "bytes"]

NUMBERS = (
    0, -0.0, 1, -1, 0.5, 1e308, -1e308, 1e-320, 5e-324, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63),
    10**30, float("nan"), float("inf"), float("-inf"), 999, 1e15, 253402300800000,
)  # fmt: skip
TEXTS = (
    "", "*", ".", "NaN", "null", "1e999", "0", "-1", "\x00", "\ud800", "\udfff", "é", "𝒳", "a" * 65, "A" * 5000,
    "../..", "'\"\\", "\r\n", "2026-12-25T08:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999+23:59",
    "%", "{}",
)  # fmt: skip
LITERALS = (
    b"NaN", b"1e999", b"-0", b"1e-400", b"9" * 40, b"1." + b"0" * 400 + b"1", b'"', b"\\u", b"\\ud800",
    b"\xff\xfe", b"\x00", b"{}", b"[]", b"null", b'"":', b",", b"\r\n", b"1e308", b"-1e308", b"1e-320",
    b"9223372036854775808", b"true",
)  # fmt: skip
DEEP = 3000
DIGITS = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
MOST_BYTES = 60_000  # a server cuts clients' frames at 64 KiB; the zoo sends greater ones


class Mutator:
    """Cases made of a `corpus` of right messages and the `words` of their protocol.

    What is `json` or `msgpack` is bent as a tree more often than as bytes.
    """

    def __init__(self, seed: int, corpus: Sequence[bytes], words: Sequence[str] = (), shape: Shape = "json") -> None:
        self._seed = seed
        self.corpus = corpus
        self.words = tuple(words)
        self._shape = shape
        self._rng = Random()
        decode = {"json": json.loads, "msgpack": msgspec.msgpack.decode}.get(shape)
        trees = [decode(message) for message in corpus] if decode else []
        self._trees = [(tree, tuple(_paths(tree))) for tree in trees]
        self._values: tuple[Any, ...] = (None, True, False, [], {}, *NUMBERS, *TEXTS, *words)
        if shape == "msgpack":
            self._values = tuple(value for value in self._values if _packs(value))
        self._literals = (*LITERALS, *(word.encode() for word in words), *_deep(shape))

    def case(self, number: int) -> bytes:
        """Case `number`."""
        rng = self._rng
        rng.seed(self._seed * 1_000_003 + number)
        bent = self._bent_tree(rng) if self._trees and rng.random() < 0.6 else rng.choice(self.corpus)
        turns = rng.choice((0, 0, 0, 1)) if bent is None or self._trees else rng.choice((0, 1, 1, 2, 4))
        for _ in range(turns):
            bent = self._bent_bytes(rng, bent)
        return bent[:MOST_BYTES]

    def _bent_tree(self, rng: Random) -> bytes:
        tree, paths = rng.choice(self._trees)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            tree = self._bend(rng, tree, rng.choice(paths))
        if self._shape == "json":
            return json.dumps(tree, separators=(",", ":")).encode()
        return msgspec.msgpack.encode(tree)

    def _bend(self, rng: Random, tree: Any, path: tuple[Any, ...]) -> Any:
        """A copy of `tree` in which what is at `path`, if it still is there, is another."""
        if not path:
            turn = rng.random()
            if isinstance(tree, dict) and turn < 0.2:
                return {**tree, rng.choice((*self.words, "", "a" * 200)): self._value(rng)}
            if isinstance(tree, list) and turn < 0.3 and tree:
                return tree * rng.choice((2, 50))
            if turn < 0.1:
                return [tree] if turn < 0.05 else {"": tree}
            if isinstance(tree, int | float) and turn < 0.4 and not isinstance(tree, bool):
                return str(tree) if turn < 0.2 else -tree if turn < 0.3 else tree * 1e6
            return self._value(rng)
        first, rest = path[0], path[1:]
        if isinstance(tree, dict) and first in tree:
            if not rest and rng.random() < 0.2:
                return {key: value for key, value in tree.items() if key != first}
            return {**tree, first: self._bend(rng, tree[first], rest)}
        if isinstance(tree, list) and isinstance(first, int) and first < len(tree):
            return [*tree[:first], self._bend(rng, tree[first], rest), *tree[first + 1 :]]
        return tree

    def _value(self, rng: Random) -> Any:
        if rng.random() < 0.1:
            other, paths = rng.choice(self._trees)
            return _at(other, rng.choice(paths))
        return rng.choice(self._values)

    def _bent_bytes(self, rng: Random, message: bytes) -> bytes:
        at, turn = rng.randrange(len(message) + 1), rng.randrange(10)
        end = min(at + rng.choice((1, 1, 4, 30)), len(message))
        if turn == 0 and at < len(message):
            return message[:at] + bytes((message[at] ^ 1 << rng.randrange(8),)) + message[at + 1 :]
        if turn == 1:
            return message[:at] + rng.randbytes(end - at) + message[end:]
        if turn == 2:
            return message[:at] + message[end:]
        if turn == 3:
            return message[:end] + message[at:]
        if turn == 4:
            return message[:at]
        if turn == 5:
            other = rng.choice(self.corpus)
            return message[:at] + other[rng.randrange(len(other) + 1) :]
        if turn == 6 and (numbers := [*DIGITS.finditer(message[at : at + 200])]):
            found = rng.choice(numbers)
            literal = rng.choice((b"-" + found[0], found[0] * 9, rng.choice(LITERALS), found[0] + b"e300"))
            return message[: at + found.start()] + literal + message[at + found.end() :]
        return message[:at] + rng.choice(self._literals) + message[at if turn < 9 else end :]


def _deep(shape: Shape) -> tuple[bytes, ...]:
    """What nests deeper than any stack, alone and whole."""
    if shape == "msgpack":
        return (
            b"\x91" * DEEP,
            b"\x81\xa1a" * DEEP,
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
        )
    return b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP


def _packs(value: Any) -> bool:
    """Whether MessagePack has room for it."""
    try:
        msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeError):
        return False
    return True


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield from _paths(child, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree
