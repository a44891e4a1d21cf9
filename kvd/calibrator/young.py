"""Slices that have just come: conditioned on all of their quotes anew whenever there are more.

An expiry starts from its neighbours, and far from its quotes the smile is not linear in its coordinates. Quotes that
come a few at a time are then linearised each about another wrong slice, and what the first said of the wings is lost
when the next move level and curvature. So at first a slice remembers its start and its quotes, and with every batch,
though not more often than every `REST_S`, the posterior of them all is found from that start; quotes heard age seconds
ago have their variance raised by

    (vol s_level(tau))^2 age

s_level being the process noise of ln ATM vol. A start so uncertain believes whatever it hears first, so quotes that are
far from what all of them come to together are discounted by what is left of them, and the posterior is found again.
Until it has grown up a slice is independent of the others, as it was when it came (`joint.admit`).
"""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from kvd.core import dynamics, estimate, joint, kalman, smile
from kvd.core.daycount import YEAR_US
from kvd.core.dynamics import Dynamics
from kvd.core.estimate import Vols
from kvd.core.joint import Joint
from kvd.core.measurement import Measurement, student_weight
from kvd.core.svi import DIM

Floats = NDArray[np.float64]

YOUNG_S = 150.0
SECOND_THOUGHTS, NO_NEWS = 8, 0.1
WILD = 0.1  # a weight below: about seven standard deviations away
SCEPTIC = Measurement(student_nu=4.0)  # of what is left, which is smaller than what comes as a surprise
REST_S = 0.25  # between two looks at all quotes together; what comes meanwhile is taken as it comes
MANY = 60  # quotes, after which a slice is young no longer: what a start costs is bounded


class Heard(NamedTuple):
    """Quotes of one slice, (n,) each as in `kvd.core.estimate.Vols`, and when they came."""

    at_us: int
    k: Floats
    vol: Floats
    R: Floats
    repetition: Floats


class Start(Struct):
    """A slice as it came: a joint of itself alone, when that was, and what it has `heard` since: how many `quotes`,
    and when it was last found from all of them.
    """

    joint: Joint
    at_us: int
    heard: list[Heard] = []
    quotes: int = 0
    found_us: int = 0

    def has_grown(self, now_us: int) -> bool:
        """Whether it is young no longer."""
        return now_us - self.at_us > YOUNG_S * 1e6 or self.quotes >= MANY

    def hear(self, heard: Heard) -> bool:
        """Take its quotes of a batch; whether it is time to look at all of them together again."""
        self.heard.append(heard)
        self.quotes += len(heard.k)
        if len(self.heard) < 2 or (heard.at_us - self.found_us < REST_S * 1e6 and self.quotes < MANY):
            return False
        self.found_us = heard.at_us
        return True


class Young:
    """The slices that came less than `YOUNG_S` and `MANY` quotes ago."""

    def __init__(self) -> None:
        self._starts: dict[int, Start] = {}

    def begin(self, whole: Joint, expiry_us: int, now_us: int) -> None:
        """Remember how a slice starts that `whole` has just let in."""
        at = [int(np.searchsorted(whole.expiry_us, expiry_us))]
        x, u, A, V = (column[at] for column in (whole.x, whole.u, whole.A, whole.V))
        own = Joint(x, joint.marginals(whole.P, np.array(at))[0], u, A, V, whole.expiry_us[at])
        self._starts[expiry_us] = Start(own, now_us)

    def settle(
        self, whole: Joint, tau: Floats, vols: Vols, now_us: int, settings: tuple[Measurement, Dynamics]
    ) -> Joint:
        """`whole`, which has seen `vols`, with every young slice among them found anew from all it has heard."""
        for expiry_us in [e for e, start in self._starts.items() if start.has_grown(now_us)]:
            del self._starts[expiry_us]
        for i in set(vols.place.tolist()):
            start = self._starts.get(int(whole.expiry_us[i]))
            if start is None:
                continue
            if start.hear(Heard(now_us, *(np.asarray(column)[vols.place == i] for column in vols[1:]))):
                with suppress(kalman.NotPositiveDefiniteError):  # then what was found quote by quote stays
                    whole = _with(whole, i, _found(start, tau[[i]], now_us, *settings))
        return whole

    def state(self) -> dict[int, Start]:
        """How each of them started, by expiry."""
        return {expiry_us: replace(start, heard=start.heard.copy()) for expiry_us, start in self._starts.items()}

    def restore(self, state: dict[int, Start]) -> None:
        """Go on with those there were then."""
        self._starts = state

    def forget(self, expiry_us: int) -> None:
        """Drop an expiry."""
        self._starts.pop(expiry_us, None)

    def interrupted(self) -> None:
        """The stream was lost: nobody knows how far anything has gone from its start."""
        self._starts.clear()


def _found(start: Start, tau: Floats, now_us: int, m: Measurement, d: Dynamics) -> Joint:
    """The slice given everything heard since its start."""
    k, vol, R, repetition = (np.concatenate(column) for column in zip(*(h[1:] for h in start.heard), strict=True))
    age_us = np.concatenate([np.full(len(heard.k), now_us - heard.at_us) for heard in start.heard])
    aged = R + vol**2 * dynamics.level_noise(tau, 1.0, d)[0, 0] * age_us / YEAR_US
    quotes = Vols(np.zeros(len(k), dtype=np.intp), k, vol, aged, repetition)
    found, _ = estimate.update(start.joint, tau, quotes, m)
    trust = np.ones(len(k))
    for _ in range(SECOND_THOUGHTS):
        left = vol - smile.vol(found.x, found.u, tau, quotes.place, k)
        weight = student_weight(left, aged, SCEPTIC)
        before, trust = trust, np.where(weight < WILD, weight, 1.0)
        if np.abs(trust - before).max() < NO_NEWS:
            break
        found, _ = estimate.update(start.joint, tau, quotes._replace(repetition=repetition / trust), m)
    return found


def _with(whole: Joint, i: int, own: Joint) -> Joint:
    """`whole` with slice i replaced by `own`, independent of the others."""
    columns = {name: getattr(whole, name).copy() for name in ("x", "P", "u", "A", "V")}
    for name in ("x", "u", "A", "V"):
        columns[name][i] = getattr(own, name)[0]
    rows = slice(DIM * i, DIM * i + DIM)
    columns["P"][rows], columns["P"][:, rows] = 0.0, 0.0
    columns["P"][rows, rows] = own.P
    return whole._replace(**columns)
