"""Whether the parts of a book's record go together: the shapes of its arrays, and the expiries they speak of."""

from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from kvd.calibrator.forwards import ForwardsState
from kvd.calibrator.records import BookState
from kvd.core.joint import Joint, M
from kvd.core.measurement import BUCKETS
from kvd.core.residual import KNOTS
from kvd.core.svi import DIM

Shaped = tuple[str, NDArray[Any], tuple[int, ...]]


def misfits(book: BookState) -> Iterator[str]:
    """What does not go together, a phrase each."""
    for name, array, shape in (*_of_the_filter(book), *_of_forwards(book.forwards), *_of_what_is_shown(book)):
        if array.shape != shape:
            yield f"{name} of shape {array.shape}, not {shape}"
    expiries = set(book.joint.expiry_us.tolist())
    if book.rungs.keys() != expiries:
        yield "rungs of other expiries than the joint's"
    if not {*book.young, *book.showcase.shown, *book.showcase.judged, *book.showcase.market} <= expiries:
        yield "slices that are not the joint's"


def _of_the_filter(book: BookState) -> Iterator[Shaped]:
    climate, board = book.climate, book.board
    yield from _of_joint("joint", book.joint)
    n = len(climate.regimes.expiry_us)
    yield "regimes x", climate.regimes.x, (3, n + 1)
    yield "regimes P", climate.regimes.P, (3, n + 1, n + 1)
    yield "regimes mu", climate.regimes.mu, (3,)
    yield from _alike("climate", climate[-3:], climate.spot.shape[:1])
    yield from _alike("scale", book.scale, (BUCKETS,))
    yield from _alike("board", board[1:], (len(board.names),))
    for start in book.young.values():
        yield from _of_joint("young joint", start.joint)
        yield "young joint", start.joint.x, (1, DIM)
        for heard in start.heard:
            yield from _alike("young quotes", heard[1:], heard.k.shape[:1])


def _of_joint(name: str, joint: Joint) -> Iterator[Shaped]:
    slices = len(joint.x)
    shapes = (slices, DIM), (DIM * slices,) * 2, (slices, M), (slices, M, DIM), (slices, M, M), (slices,)
    for part, array, shape in zip(joint._fields, joint, shapes, strict=True):
        yield f"{name} {part}", array, shape


def _of_forwards(forwards: ForwardsState) -> Iterator[Shaped]:
    sources, pairs = forwards.sources, forwards.pairs
    n, rows = len(sources.expiry_us), len(pairs.expiry_us)
    if sources.level is not None:
        yield "level x", sources.level.x, (1 + n,)
        yield "level P", sources.level.P, (1 + n, 1 + n)
        yield from _alike("bias", forwards.bias, (n,))
    yield from _alike("sources", (sources.expiry_us, sources.follows), (n,))
    for name, column in zip(pairs._fields, pairs, strict=True):
        yield f"pairs {name}", column, (rows, 2) if name in {"bid", "ask", "base", "at_us"} else (rows,)


def _of_what_is_shown(book: BookState) -> Iterator[Shaped]:
    shown, market, judged = book.showcase
    yield from _alike("judged", judged.values(), (DIM,))
    for slices in (shown, market):
        yield from _alike("x", [one.x for one in slices.values()], (DIM,))
        yield from _alike("u", [one.u for one in slices.values()], (M,))
    yield from _alike("covariance", [one.smile.covariance for one in shown.values()], (DIM, DIM))
    yield from _alike("vol_root", [one.smile.vol_root for one in shown.values()], (len(KNOTS) * (len(KNOTS) - 1) // 2,))


def _alike(name: str, arrays: Iterable[NDArray[Any]], shape: tuple[int, ...]) -> Iterator[Shaped]:
    yield from ((name, array, shape) for array in arrays)
