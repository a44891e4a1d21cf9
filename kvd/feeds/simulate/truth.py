"""What is really so: spot, forwards and a true surface, all moving at random and never allowing arbitrage.

* Spot is a geometric Brownian motion with lognormal jumps arriving as a Poisson process. The forward of an inverse
  family is ``spot exp((carry + basis) tau)``: one mean-reverting carry, and a small basis for each expiry. A linear
  family's forward is the index, as on the venue.
* Each expiry's slice (the coordinates of `kvd.core.svi`) wanders with standard deviation ``WANDER (30 d / tau)**0.5``
  per square-root year, correlated across expiries as ``exp(-|ln tau_i/tau_j| / CORRELATION_LENGTH)``, and is drawn
  gently towards `anchor`.
* A move that would take a slice's butterfly margin or its calendar gap to a neighbour below what is required, and below
  what it was, is refused for the slices concerned: the edge of arbitrage acts as a wall.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import arbitrage, svi
from kvd.feeds.simulate.listing import DAY_US, YEAR_US, Family

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

JUMPS_PER_YEAR = 100.0
JUMP_MEAN, JUMP_SD = -0.003, 0.025  # of the log spot
CARRY_MEAN, CARRY_SD, CARRY_DAYS = 0.06, 0.03, 10.0  # per year; sd is the long-run one
BASIS_SD, BASIS_DAYS = 0.004, 0.5

MONTH_Y = 30.0 / 365.0
SHORTEST_TAU_Y = 0.25 / 365.0  # below it slices wander no faster
WANDER = np.array([0.9, 0.5, 4.0, 4.0, 4.0])  # per sqrt(year) at 30 days: ln atm vol, psi, ln kappa, both lambdas
RETURN_DAYS = np.array([8.0, 4.0, 4.0, 1.0, 1.0])  # time constants of the pull towards the anchor
CORRELATION_LENGTH = 2.0  # in units of ln tau

SHORT_PREMIUM, SHORT_DECAY_Y = 0.12, 0.12  # short-dated ATM vols sit this share above the long-dated ones
SKEW_SHORT, SKEW_LONG, SKEW_DECAY_Y = -0.04, -0.1, 0.15
KAPPA, PUT_EXCESS, CALL_EXCESS = 0.3, 0.7, 0.6

G_FLOOR, GAP_FLOOR = 0.02, 0.005  # required margins: Durrleman's g, and (w_later - w)/w0
_NEAR = 6.0 * np.linspace(0.0, 1.0, 21) ** 1.5
_FAR = np.array([8.0, 12.0, 20.0, 50.0, 200.0])  # a slice is straight out there
GRID = np.concatenate([-_FAR[::-1], -_NEAR[:0:-1], _NEAR, _FAR])  # z at which margins are judged


class Truth(NamedTuple):
    """One instant of the market. Arrays are by expiry, ascending: ``basis`` (E,), ``x`` (E, 5)."""

    now_us: int
    spot: float
    carry: float
    expiry_us: Times
    basis: Floats
    x: Floats

    @property
    def tau(self) -> Floats:
        """Times to expiry in years, ACT/365."""
        return np.asarray((self.expiry_us - self.now_us) / YEAR_US)

    @property
    def forwards(self) -> Floats:
        """The true forwards, in the quote currency."""
        return np.asarray(self.spot * np.exp((self.carry + self.basis) * self.tau))

    def vol(self, index: NDArray[np.intp], strike: Floats) -> Floats:
        """True vols at `strike` (N,) of the expiries at `index` (N,)."""
        return svi.vol(self.x, self.tau, index, np.log(strike / self.forwards[index]))


def anchor(family: Family, tau: Floats) -> Floats:
    """The slices that the surface is drawn towards, (E, 5): vols fall gently with tenor, the skew deepens."""
    x = np.empty((len(tau), svi.DIM))
    x[:, svi.LEVEL] = np.log(family.atm_vol * (1 + SHORT_PREMIUM * np.exp(-tau / SHORT_DECAY_Y)))
    x[:, svi.SKEW] = SKEW_LONG + (SKEW_SHORT - SKEW_LONG) * np.exp(-tau / SKEW_DECAY_Y)
    x[:, svi.CURVATURE] = np.log(KAPPA)
    x[:, svi.PUT_WING], x[:, svi.CALL_WING] = PUT_EXCESS, CALL_EXCESS
    return x


def begin(family: Family, now_us: int, expiry_us: list[int]) -> Truth:
    """The market at its first instant, on its anchor."""
    due = np.array(expiry_us, dtype=np.int64)
    carry = CARRY_MEAN if family.inverse else 0.0
    return Truth(now_us, family.spot, carry, due, np.zeros(len(due)), anchor(family, (due - now_us) / YEAR_US))


def advance(truth: Truth, family: Family, dt_us: int, rng: np.random.Generator) -> Truth:
    """The market `dt_us` later; expiries that are due by then leave first."""
    now_us = truth.now_us + dt_us
    alive = truth.expiry_us > now_us
    due, old, basis = truth.expiry_us[alive], truth.x[alive], truth.basis[alive]
    dt, days = dt_us / YEAR_US, dt_us / DAY_US
    jump = np.sum(rng.normal(JUMP_MEAN, JUMP_SD, rng.poisson(JUMPS_PER_YEAR * dt)))
    drift = -0.5 * family.atm_vol**2 * dt
    spot = truth.spot * float(np.exp(drift + family.atm_vol * np.sqrt(dt) * rng.normal() + jump))
    carry = _revert(np.array(truth.carry), CARRY_MEAN, CARRY_SD, days / CARRY_DAYS, rng)
    basis = _revert(basis, 0.0, BASIS_SD, days / BASIS_DAYS, rng)
    tau = (due - now_us) / YEAR_US
    x = old + (1 - np.exp(-days / RETURN_DAYS)) * (anchor(family, tau) - old) + _wander(tau, dt, rng)
    x = _without_arbitrage(old, x, tau)
    if not family.inverse:
        return Truth(now_us, spot, 0.0, due, 0.0 * basis, x)
    return Truth(now_us, spot, float(carry), due, basis, x)


def admit(truth: Truth, family: Family, expiry_us: int) -> Truth:
    """The market with one more expiry, whose slice stands to the anchor as its neighbours' slices do."""
    at = int(np.searchsorted(truth.expiry_us, expiry_us))
    log_tau = np.log((expiry_us - truth.now_us) / YEAR_US)
    away = truth.x - anchor(family, truth.tau)
    between = [np.interp(log_tau, np.log(truth.tau), away[:, j]) if len(away) else 0.0 for j in range(svi.DIM)]
    x = anchor(family, np.exp([log_tau]))[0] + between
    return truth._replace(
        expiry_us=np.insert(truth.expiry_us, at, expiry_us),
        basis=np.insert(truth.basis, at, 0.0),
        x=np.insert(truth.x, at, x, axis=0),
    )


def margins(x: Floats, tau: Floats) -> tuple[Floats, Floats]:
    """Least g of each slice, (E,), and least relative calendar gap of each to the next, (E - 1,), over `GRID`."""
    raw = svi.to_raw(x, tau)
    sd = np.exp(x[:, svi.LEVEL]) * np.sqrt(tau)
    k = GRID * sd[:, None]
    w, slope, bend = arbitrage.total_variance(raw, k)
    g = arbitrage.durrleman(k, w, slope, bend)
    earlier, _, _ = arbitrage.total_variance(raw[:-1], k[1:])
    return g.min(axis=1), ((w[1:] - earlier) / (sd[:-1] ** 2)[:, None]).min(axis=1)


def _revert(value: Floats, mean: float, sd: float, steps: float, rng: np.random.Generator) -> Floats:
    """One exact step of an Ornstein-Uhlenbeck process, `steps` in units of its time constant."""
    keep = np.exp(-steps)
    return np.asarray(mean + keep * (value - mean) + sd * np.sqrt(1 - keep**2) * rng.normal(size=value.shape))


def _wander(tau: Floats, dt: float, rng: np.random.Generator) -> Floats:
    floored = np.maximum(tau, SHORTEST_TAU_Y)
    log_tau = np.log(floored)
    correlation = np.exp(-np.abs(log_tau[:, None] - log_tau) / CORRELATION_LENGTH)
    moves = np.linalg.cholesky(correlation) @ rng.normal(size=(len(tau), svi.DIM))
    return np.asarray(WANDER * np.sqrt(dt * MONTH_Y / floored)[:, None] * moves)


def _without_arbitrage(old: Floats, new: Floats, tau: Floats) -> Floats:
    """`new` with the slices that would break a margin left at `old`; the old slices are always good enough."""
    g_old, gap_old = margins(old, tau)
    g_floor, gap_floor = np.minimum(G_FLOOR, g_old), np.minimum(GAP_FLOOR, gap_old)
    x = new
    for _ in range(len(old)):
        g, gap = margins(x, tau)
        bad = ~(g >= g_floor)
        bad[1:] |= ~(gap >= gap_floor)
        bad[:-1] |= ~(gap >= gap_floor)
        if not bad.any():
            return x
        x = np.where(bad[:, None], old, x)
    return old
