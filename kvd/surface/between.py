"""What lies between listed expiries, as curves.

At an instant T between two expiries, with share = (T - T1)/(T2 - T1) and every smile's vol held at equal k since its
own instant,

    w(k) = (1 - share) w1(k) + share w2(k),   ln F = (1 - share) ln F1 + share ln F2

so that total variance never falls in time where it does not from one expiry to the next. Before the first expiry total
variance grows from zero now, which is the first one's vol at equal k and is free of butterfly arbitrage where that is
(g is concave in the share and (1 - k w'/2w)^2 at zero); the forward is the first one's.

The vols of two expiries count as independent; their forwards as wrong by the same cause, the index: their relative
standard deviations add.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvd.core.daycount import YEAR_US, year_fraction
from kvd.surface.curves import Curves
from kvd.surface.smile import Smile, curves

Floats = NDArray[np.float64]


def instant_us(smiles: Sequence[Smile]) -> int:
    """The instant from which all times to expiry count: that of the newest of the smiles."""
    return max(round(smile.expiry_us - smile.tau * YEAR_US) for smile in smiles)


def between(smiles: Sequence[Smile], expiry_us: Sequence[int]) -> Curves:
    """The curves to the instants `expiry_us` (C,), each after `instant_us` and not after the last of the smiles, which
    are in ascending expiry: two smiles each, (C, 2).
    """
    now_us, wanted = instant_us(smiles), np.array(expiry_us, dtype=np.int64)
    smiles = [smile for smile in smiles if smile.expiry_us > now_us]
    listed = np.array([smile.expiry_us for smile in smiles], dtype=np.int64)
    right = np.searchsorted(listed, wanted)
    left = np.maximum(right - 1, 0)
    start = np.where(right > 0, listed[left], now_us)
    share = (wanted - start) / (listed[right] - start)
    c = curves(smiles)
    age = year_fraction(now_us, listed) / c.tau  # what is left of each smile's total variance
    earlier = np.where(right > 0, 1 - share, 0.0) * age[left]
    lean = np.where(right > 0, share, 1.0)
    forward = np.exp((1 - lean) * np.log(c.forward[left]) + lean * np.log(c.forward[right]))
    relative_sd = c.forward_sd / c.forward
    pair = np.stack((left, right), axis=1).ravel()
    return Curves(
        year_fraction(now_us, wanted),
        forward,
        forward * ((1 - lean) * relative_sd[left] + lean * relative_sd[right]),
        np.stack((earlier, share * age[right]), axis=1),
        c.shapes.take(pair),
        c.factor[pair],
    )
