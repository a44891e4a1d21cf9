"""What the hand makes of the market's surface: touched slices, and their neighbours as far as these must give way."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kvd.calibrator import smiles
from kvd.calibrator.hand import Hand, Touched
from kvd.calibrator.repair import Repaired, Roots, Slices, narrow, repair, repair_as_far, with_neighbours
from kvd.calibrator.scene import Clock
from kvd.core.arbitrage import Surface
from kvd.core.condition import Slice
from kvd.core.turns import Turns
from kvd.surface import Smile

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Flags = NDArray[np.bool_]
T = TypeVar("T")


class Market(NamedTuple):
    """What the market alone would show of the candidates (T,), which of them are to be shown (`judged`), the roots of
    their covariances, by how much what is published of some is wider, and their forwards.
    """

    slices: Slices
    judged: Flags
    roots: Roots
    widened_by: Callable[[Index], Floats]
    forward: Sequence[float]

    def row(self, row: int) -> Slice:
        """One candidate, as well known as will be published."""
        x, u, tau = self.slices.surface
        chosen = np.array([row])
        root = self.roots(chosen)[0] * self.widened_by(chosen)[0]
        return Slice(x[row], u[row], root, float(tau[row]))


class Overlay(NamedTuple):
    """The candidates with the hand's changes, what may be published of them, and what was touched, by row."""

    slices: Slices
    repaired: Repaired
    touched: Mapping[int, Touched]


def overlay(
    hand: Hand, market: Market, claimed: Flags, shown: Slices, last: Mapping[int, Smile], clock: Clock
) -> Turns[Overlay]:
    """Lay the hand on what the market alone would show, where something is `claimed` (T,), beside what is `shown`:
    `last` of each expiry.

    Claims that leave no surface free of arbitrage, or are left little of their pull in one, are moved back until there
    is one.
    """
    expiries = market.slices.expiry_us.tolist()

    def touch(row: int) -> Touched:
        e = expiries[row]
        return hand.touch(market.row(row), e, market.forward[row], last.get(e), clock.publish_us)

    hand.begin(clock.now_us)
    touched = {row: touch(row) for row in np.flatnonzero(claimed).tolist()}
    while True:
        slices = _changed(market.slices, touched)
        repaired = yield from _quietly(repair(slices, market.judged, shown, _roots(market, touched)))
        back = [row for row in _short(touched, slices, repaired) if hand.moved_back(expiries[row], clock.now_us)]
        if not back:
            if (repaired.free & narrow(repaired, slices)).any():  # of slices beside them
                far = repair_as_far(slices, market.judged, shown, _roots(market, touched))
                slices, repaired = yield from _quietly(far)
            return Overlay(slices, repaired, touched)
        touched |= {row: touch(row) for row in back}


def _quietly(turns: Turns[T]) -> Turns[T]:
    """A projection may try on its way from an impossible claim what is no slice at all: such a step fails, silently."""
    while True:
        with np.errstate(all="ignore"):  # around each turn alone: it would hold for whoever comes in between, too
            try:
                next(turns)
            except StopIteration as end:
                result: T = end.value
                return result
        yield


def _changed(slices: Slices, touched: Mapping[int, Touched]) -> Slices:
    """The slices with those `touched` in place, certified as far as either form of them asks."""
    x, u, tau = slices.surface
    x, u = x.copy(), u.copy()
    for row, one in touched.items():
        x[row], u[row] = one.slice.x, one.slice.u
    surface = Surface(x, u, tau)
    reach = smiles.reach(surface)
    return slices._replace(surface=surface, low=np.minimum(slices.low, -reach), high=np.maximum(slices.high, reach))


def _roots(market: Market, touched: Mapping[int, Touched]) -> Roots:
    def roots(chosen: Index) -> Floats:
        every = market.roots(chosen)
        for place, row in enumerate(chosen.tolist()):
            if row in touched:
                every[place] = touched[row].slice.root
        return every

    return roots


def _short(touched: Mapping[int, Touched], slices: Slices, repaired: Repaired) -> list[int]:
    """The rows whose claims ask for too much: what is shown leaves them too little, or a slice there or next to it
    cannot be shown.
    """
    surface = repaired.surface
    failed = repaired.held | (repaired.free & narrow(repaired, slices))
    beside = with_neighbours(failed)
    return [
        row
        for row, one in touched.items()
        if beside[row] or (repaired.free[row] and one.is_short(surface.x[row], surface.u[row]))
    ]
