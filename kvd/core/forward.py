"""The forwards of one underlying's expiries: a common spot that carries them all, and what parity says of each.

Two things are estimated. The *level* is what the venue would say of every expiry now; it moves at spot's speed and is
a Kalman filter over

    x = (s, c_1 .. c_n),   s = ln index,   c_i = ln(venue's price of expiry i / index)

in which s is a random walk, so that one expiry's quote carries every other expiry's forward along, and a basis c moves
slowly: as a carry rate does, times tau, and by the jitter of a future's own book. An observation is s + c_i or s alone.

The *bias* d_i = ln(F_i / venue's price) is what the venue does not know: nothing much where it quotes a future of that
expiry, the carry to that expiry where all it has is the index. For a call and a put of one strike K, undiscounted
(Stoll 1969),

    linear   C - P = F - K           inverse   C - P = 1 - K/F      (prices in the coin)

so bids and asks of a pair bound ln F. Over the pairs of an expiry a weighted median finds the centre and a Student-t
mean around it the value; the venue's own word is a prior that is wrong now and then, so that neither is trusted
alone (`bias`). Where the venue has the index alone, the prior's mean is the carry of the other expiries, a Gaussian
process over ln tau (`carry`).

Times are seconds, tau years; logarithms of prices throughout, so that deviations are relative.
"""

from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from kvd.core.daycount import YEAR_US
from kvd.core.groups import begins

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

YEAR_S = YEAR_US / 1e6
INDEX = -1  # where an observation is of the index itself
UNKNOWN_SD = 1.0  # of ln index before anything is heard


class ForwardFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """[forward]: how spot and bases move, and how far each source is believed. Standard deviations are relative."""

    spot_sd: float = 0.8
    carry_move_sd: float = 0.15
    jitter_sd: float = 0.02
    price_sd: float = 5e-4
    tick_sd: float = 1e-5
    carry_sd: float = 0.15
    carry_length: float = 3.0
    future_sd: float = 5e-5
    synthetic_sd: float = 1e-4
    index_sd: float = 1e-4
    parity_width_factor: float = 0.2
    parity_sd: float = 1e-4
    parity_memory_s: float = 600.0
    pair_apart_s: float = 5.0
    student_nu: float = 4.0
    gate_sd: float = 6.0
    wrong_share: float = 0.01
    wrong_sd: float = 0.01
    doubt_s: float = 3.0
    rebase_s: float = 30.0


class Level(NamedTuple):
    """Mean (1 + n,) and covariance (1 + n, 1 + n) of (ln index, bases)."""

    x: Floats
    P: Floats


class Heard(NamedTuple):
    """Innovation of each observation against the prior and its standard deviation, (N,), and which of them the gate
    kept out.
    """

    innovation: Floats
    sd: Floats
    gated: NDArray[np.bool_]


class Bias(NamedTuple):
    """Of ln(F / venue's price), (n,) each: mean, variance, and the share of its precision that parity gave."""

    mean: Floats
    variance: Floats
    parity_share: Floats


def begin(ln_index: float) -> Level:
    """A level of no expiries, near `ln_index`."""
    return Level(np.array([ln_index]), np.array([[UNKNOWN_SD**2]]))


def extend(level: Level, mean: float, variance: float) -> Level:
    """Append one basis, independent of what is known."""
    n = len(level.x)
    P = np.zeros((n + 1, n + 1))
    P[:n, :n] = level.P
    P[n, n] = variance
    return Level(np.append(level.x, mean), P)


def drop(level: Level, place: int) -> Level:
    """Forget the basis at `place`."""
    keep = np.arange(len(level.x)) != place + 1
    return Level(level.x[keep], level.P[np.ix_(keep, keep)])


def rebase(level: Level, place: int, mean: float, variance: float) -> Level:
    """Replace the basis at `place` by a new one, independent of what is known."""
    x, P = level.x.copy(), level.P.copy()
    x[place + 1] = mean
    P[place + 1, :] = P[:, place + 1] = 0.0
    P[place + 1, place + 1] = variance
    return Level(x, P)


def rebase_index(level: Level, follows: NDArray[np.bool_], by: float) -> Level:
    """Move ln index alone: prices that do not follow it stay where they are."""
    x = level.x + by
    x[1:] = level.x[1:] - np.where(follows, 0.0, by)
    return Level(x, level.P)


def loosen(level: Level) -> Level:
    """Forget where spot is, but not the bases."""
    P = level.P.copy()
    P[0, 0] += UNKNOWN_SD**2
    return Level(level.x, P)


def predict(level: Level, tau: Floats, follows: NDArray[np.bool_], dt_s: float, f: ForwardFilter) -> Level:
    """Let spot and the bases at `tau` (n,) move for `dt_s`; a basis that `follows` the index (n,) stays as it is."""
    if dt_s <= 0:
        return level
    P = level.P.copy()
    dt = dt_s / YEAR_S
    P[0, 0] += f.spot_sd**2 * dt
    P.flat[len(P) + 1 :: len(P) + 1] += ((f.carry_move_sd * tau) ** 2 + f.jitter_sd**2) * (dt * ~follows)
    return Level(level.x, P)


def observe(level: Level, place: Index, y: Floats, R: Floats, f: ForwardFilter) -> tuple[Level, Heard]:
    """Condition `level` on y (N,) with variances R: of s + c at `place`, or of s where place is INDEX.

    A move that more than half of several observations share, in sign and beyond the gate, is spot's own: the variance
    of s grows by its square. What lies beyond the gate after that is kept out.
    """
    P, of = level.P, place + 1  # the row and column of each basis; that of s itself for the index
    dated = place != INDEX
    innovation = y - level.x[0] - dated * level.x[of]
    PH = P[:, :1] + dated * P[:, of]
    S = PH[:1] + dated[:, None] * PH[of]
    sd = np.sqrt(S.diagonal() + R)
    far = np.abs(innovation) > f.gate_sd * sd
    if far.any() and _shared(innovation[far], len(y)):
        middle = float(np.median(innovation))
        P, PH = P.copy(), PH.copy()
        P[0, 0] += middle**2
        PH[0] += middle**2
        S = S + middle**2
        far = np.abs(innovation - middle) > f.gate_sd * sd
    heard = Heard(innovation, sd, far)
    S = S + np.diag(R)
    if far.any():
        used = np.flatnonzero(~far)
        if not len(used):
            return level, heard
        PH, S, innovation = PH[:, used], S[used][:, used], innovation[used]
    K = np.linalg.solve(S, PH.T).T
    P = P - K @ PH.T
    return Level(level.x + K @ innovation, 0.5 * (P + P.T)), heard


def _shared(far: Floats, n: int) -> bool:
    """Whether more than half of n > 1 innovations are among `far` and of one sign."""
    return n > 1 and 2 * int(max(np.count_nonzero(far > 0), np.count_nonzero(far < 0))) > n


def prices(level: Level) -> tuple[Floats, Floats]:
    """ln of the venue's price for each expiry, s + c, and its variance, (n,) each."""
    x, P = level
    return x[0] + x[1:], np.maximum(P[0, 0] + 2 * P[0, 1:] + P.diagonal()[1:], 0.0)


def carry(level: Level, tau: Floats, follows: NDArray[np.bool_], f: ForwardFilter) -> tuple[Floats, Floats]:
    """Mean and variance (n,) of the basis ln(F / index) that the other expiries' carry implies at `tau`.

    Carry rates are a Gaussian process over ln tau, mean zero, correlation exp(-|ln(tau_i / tau_j)| / carry_length),
    seen at the expiries that do not follow the index.
    """
    apart = np.abs(np.log(tau[:, None] / tau))
    prior = f.carry_sd**2 * np.exp(-apart / f.carry_length)
    seen = np.flatnonzero(~follows)
    if not len(seen):
        return np.zeros(len(tau)), np.diag(prior) * tau**2
    noise = level.P[1:, 1:][np.ix_(seen, seen)] / np.outer(tau[seen], tau[seen])
    noise[np.diag_indices_from(noise)] += (f.future_sd / tau[seen]) ** 2
    gain = np.linalg.solve(prior[np.ix_(seen, seen)] + noise, prior[seen]).T
    mean = gain @ (level.x[1:][seen] / tau[seen])
    variance = np.diag(prior) - np.einsum("ij,ji->i", gain, prior[seen])
    return mean * tau, np.maximum(variance, 0.0) * tau**2


def parity_bounds(strike: Floats, call: Floats, put: Floats, inverse: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Bounds (low, high) on ln F of each pair, (N,); `call` and `put` hold bids and asks, shape (2, N), NaN where
    absent.

    NaN where a pair lacks one of four prices; -inf and inf where they bound nothing. Low exceeds high only if the pair
    itself is crossed.
    """
    value = call - put[::-1]  # C - P at least and at most
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(inverse, 1 - np.minimum(value, 1.0), np.maximum(1 + value / strike, 0.0))
        low, high = np.log(strike) + np.where(inverse, -1.0, 1.0) * np.log(ratio)
    return low, high


def parity(place: Index, n: int, y: Floats, R: Floats, f: ForwardFilter) -> tuple[Floats, Floats]:
    """Mean and variance (n,) of what pairs at y (N,) with variances R say of the bias of expiry `place` (N,).

    Variance is inf where there is no pair. The order of the pairs does not matter.
    """
    order = np.lexsort((R, y, place))
    place, y, precision = place[order], y[order], 1 / R[order]
    centre = _medians(place, n, y, precision)
    z2 = (y - centre[place]) ** 2 * precision
    precision = precision * np.minimum(1.0, (f.student_nu + 1) / (f.student_nu + z2))
    J = np.bincount(place, precision, n)
    h = np.bincount(place, precision * (y - centre[place]), n)
    heard = J > 0
    J = np.where(heard, J, 1.0)
    return centre + h / J, np.where(heard, 1 / J + f.parity_sd**2, np.inf)


def _medians(place: Index, n: int, y: Floats, weight: Floats) -> Floats:
    """Weighted medians (n,) of groups `place` of y (N,), sorted by place and y; zero where there is nothing."""
    total = np.bincount(place, weight, n)
    below = np.cumsum(weight) - (np.cumsum(total) - total)[place]
    half = np.flatnonzero(below >= 0.5 * total[place])
    first = half[begins(place[half])]
    medians = np.zeros(n)
    medians[place[first]] = y[first]
    return medians


def bias(mean: Floats, variance: Floats, said: Floats, said_variance: Floats, f: ForwardFilter) -> Bias:
    """The venue's word (mean and variance of the bias, (n,)) and parity's together.

    With probability `wrong_share` the venue is wrong, by `wrong_sd`: what parity says decides how probable that is, and
    the two cases are mixed, mean and variance.
    """
    odds = np.array([1 - f.wrong_share, f.wrong_share])[:, None]
    prior = np.array([variance, variance + f.wrong_sd**2])
    S = prior + said_variance
    off = said - mean
    with np.errstate(invalid="ignore"):  # inf / inf, where parity says nothing
        likelihood = np.log(odds) - 0.5 * (off**2 / S + np.log(S / S[0]))
    odds = np.where(np.isfinite(said_variance), np.exp(likelihood - likelihood.max(axis=0)), odds)
    odds = odds / odds.sum(axis=0)
    share = prior / S
    means, variances = share * off, prior / (1 + prior / said_variance)
    mixed = (odds * means).sum(axis=0)
    spread = (odds * (variances + (means - mixed) ** 2)).sum(axis=0)
    heard = np.isfinite(said_variance)
    return Bias(mean + mixed, np.where(heard, spread, variance), (odds * share).sum(axis=0))
