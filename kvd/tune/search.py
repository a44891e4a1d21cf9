"""Uphill in many coordinates at once: every step is a handful of points that can be judged side by side.

A round looks a step h_i to both sides in every coordinate. The parabola through three values has its top at

    d_i = -g_i / c_i,   g_i = (f(+h_i) - f(-h_i)) / (2 h_i),   c_i = (f(+h_i) - 2 f + f(-h_i)) / h_i**2

or, where it has none, a step and a half lies uphill. Since coordinates may stand in for each other, the moves are tried
together at full, half and quarter length, the best quarter of them and the best one alone; the best point of all that
were looked at is where the next round begins. Steps shrink where little moved. No derivatives, no chance: what comes
out depends on the function alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Judge = Callable[[Sequence[Floats]], Sequence[float]]

FIRST_STEP = 0.7
SHORTEST_STEP = 0.05
LONGEST_MOVE = 2.0  # steps
FRACTIONS = (1.0, 0.5, 0.25)
SETTLED = 0.05  # a round that gains less, with short steps, is the last


class Place(NamedTuple):
    """Where a round ended: the best point (n,), its score, and the curvatures there (n,), NaN where none is known."""

    point: Floats
    score: float
    curvature: Floats


def climb(start: Floats, limits: Floats, judge: Judge, rounds: int) -> Iterator[Place]:
    """From `start` (n,) within `limits` (2, n), the place after each round: never lower than the one before."""
    point = np.clip(start, *limits)
    (score,) = judge([point])
    step = np.full(len(start), FIRST_STEP)
    for _ in range(rounds):
        up, down = (np.clip(point + sign * step, *limits) - point for sign in (1.0, -1.0))
        star = [point + moved * row for moved in (up, down) for row in np.eye(len(point))]
        around = np.array(judge(star)).reshape(2, -1)
        move, promise, curvature = _moves(up, down, around - score)
        tried = [np.clip(point + part, *limits) for part in _parts(move, promise)]
        scores = [score, *around.ravel().tolist(), *judge(tried)]
        best = int(np.argmax(scores))
        gain, score = scores[best] - score, scores[best]
        reached = [point, *star, *tried][best]
        far = np.abs(reached - point) > 0.5 * step
        was_short = bool((step <= 2 * SHORTEST_STEP).all())
        step = np.where(far, step, np.maximum(0.5 * step, SHORTEST_STEP))
        point = reached
        yield Place(point, score, curvature)
        if gain < SETTLED and was_short:
            return


def _moves(up: Floats, down: Floats, gains: Floats) -> tuple[Floats, Floats, Floats]:
    """The move in each coordinate, what it promises, and the curvature, (n,) each, of gains (2, n) up and down."""
    room = (up > 0) & (down < 0) & np.isfinite(gains).all(axis=0)
    a, b = np.where(room, up, 1.0), np.where(room, down, -1.0)
    ga, gb = np.where(room, gains[0], 0.0), np.where(room, gains[1], 0.0)
    half_curvature = (ga / a - gb / b) / (a - b)  # gain(m) = slope m + half_curvature m**2
    slope = ga / a - half_curvature * a
    humped = room & (half_curvature < 0)
    top = np.clip(-0.5 * slope / np.where(humped, half_curvature, -1.0), LONGEST_MOVE * b, LONGEST_MOVE * a)
    better = np.where(gains[0] >= gains[1], up, down)
    uphill = np.where(gains.max(axis=0) > 0, 0.75 * LONGEST_MOVE * better, 0.0)
    move = np.where(humped, top, uphill)
    promise = np.where(humped, slope * top + half_curvature * top**2, np.maximum(gains.max(axis=0), 0.0))
    return move, promise, np.where(room, 2 * half_curvature, np.nan)


def _parts(move: Floats, promise: Floats) -> list[Floats]:
    order = np.argsort(-promise, kind="stable")
    parts = [fraction * move for fraction in FRACTIONS]
    for kept in sorted({1, max(1, len(move) // 4)}):
        part = np.zeros_like(move)
        part[order[:kept]] = move[order[:kept]]
        parts.append(part)
    return parts
