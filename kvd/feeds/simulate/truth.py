"""What is really so: spot, forwards and a true surface, all moving at random and never allowing arbitrage.

* Spot is a geometric Brownian motion with lognormal jumps arriving as a Poisson process. The forward of an inverse
  family is ``spot exp((carry + basis) tau)``: one mean-reverting carry, and a small basis for each expiry. A linear
  family's forward is the index, as on the venue.
* Level, skew and curvature of each expiry's slice (the coordinates of `kvd.core.svi`) wander with standard deviation
  ``wander WANDER (30 d / tau)**0.5`` per square-root year, correlated across expiries as
  ``exp(-|ln tau_i/tau_j| / CORRELATION_LENGTH)``, and are drawn gently towards `anchor`. The wings are
  Ornstein-Uhlenbeck processes about it, and on top lies a residual curve (`kvd.core.residual`) that comes and goes.
* A move that would take a slice's butterfly margin or its calendar gap to a neighbour below what is required, and below
  what it was, is refused for the slices concerned: the edge of arbitrage acts as a wall.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import arbitrage, residual, smile, svi
from kvd.feeds.simulate.listing import DAY_US, YEAR_US, Family

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

JUMPS_PER_YEAR = 100.0
JUMP_MEAN, JUMP_SD = -0.003, 0.025  # of the log spot
CARRY_MEAN, CARRY_SD, CARRY_DAYS = 0.06, 0.03, 10.0  # per year; sd is the long-run one
BASIS_SD, BASIS_DAYS = 0.004, 0.5

YEAR_D = 365.0
MONTH_Y = 30.0 / YEAR_D
SHORTEST_TAU_Y = 0.25 / 365.0  # below it slices wander no faster
WANDER = np.array([0.73, 0.47, 2.3])  # per sqrt(year) at 30 days: ln atm vol, psi, ln kappa
RETURN_DAYS = np.array([8.0, 4.0, 4.0])  # time constants of their pull towards the anchor
WING_SD, WING_DAYS = 0.1, 0.125  # of lambda_p and lambda_c about the anchor in the long run, and their time constant
RESIDUAL_DAYS = 0.25  # time constant of the residual curve
CORRELATION_LENGTH = 2.0  # in units of ln tau
DRAWS = 16  # how often a first residual curve that would allow arbitrage is drawn anew

SHORT_PREMIUM, SHORT_DECAY_Y = 0.12, 0.12  # short-dated ATM vols sit this share above the long-dated ones
SKEW_SHORT, SKEW_LONG, SKEW_DECAY_Y = -0.04, -0.1, 0.15
KAPPA, PUT_EXCESS, CALL_EXCESS = 0.3, 0.95, 0.5

G_FLOOR, GAP_FLOOR = 0.02, 0.005  # required margins: Durrleman's g, and (w_later - w)/w0
_NEAR = 6.0 * np.linspace(0.0, 1.0, 41) ** 1.5
_FAR = np.array([8.0, 12.0, 20.0, 50.0, 200.0])  # a slice is straight out there
GRID = np.concatenate([-_FAR[::-1], -_NEAR[:0:-1], _NEAR, _FAR])  # z at which margins are judged


class Truth(NamedTuple):
    """One instant of the market. Arrays are by expiry, ascending: ``basis`` (E,), ``x`` (E, 5), ``u`` (E, M)."""

    now_us: int
    spot: float
    carry: float
    expiry_us: Times
    basis: Floats
    x: Floats
    u: Floats

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
        return smile.vol(self.x, self.u, self.tau, index, np.log(strike / self.forwards[index]))


def anchor(family: Family, tau: Floats) -> Floats:
    """The slices that the surface is drawn towards, (E, 5): vols fall gently with tenor, the skew deepens."""
    x = np.empty((len(tau), svi.DIM))
    x[:, svi.LEVEL] = np.log(family.atm_vol * (1 + SHORT_PREMIUM * np.exp(-tau / SHORT_DECAY_Y)))
    x[:, svi.SKEW] = SKEW_LONG + (SKEW_SHORT - SKEW_LONG) * np.exp(-tau / SKEW_DECAY_Y)
    x[:, svi.CURVATURE] = np.log(KAPPA)
    x[:, svi.PUT_WING], x[:, svi.CALL_WING] = PUT_EXCESS, CALL_EXCESS
    return x


def begin(family: Family, now_us: int, expiry_us: list[int], rng: np.random.Generator) -> Truth:
    """The market at its first instant: backbones on their anchor, each residual curve drawn at random."""
    due = np.array(expiry_us, dtype=np.int64)
    carry = CARRY_MEAN if family.inverse else 0.0
    tau = (due - now_us) / YEAR_US
    surface = arbitrage.Surface(anchor(family, tau), np.zeros((len(due), residual.DIM)), tau)
    for _ in range(DRAWS):
        u = np.where(surface.u == 0, rng.normal(size=surface.u.shape), surface.u)
        surface = _without_arbitrage(surface, surface._replace(u=u))
    return Truth(now_us, family.spot, carry, due, np.zeros(len(due)), surface.x, surface.u)


def advance(truth: Truth, family: Family, dt_us: int, rng: np.random.Generator) -> Truth:
    """The market `dt_us` later; expiries that are due by then leave first."""
    now_us = truth.now_us + dt_us
    alive = truth.expiry_us > now_us
    due, basis = truth.expiry_us[alive], truth.basis[alive]
    dt, days = dt_us / YEAR_US, dt_us / DAY_US
    jump = np.sum(rng.normal(JUMP_MEAN, JUMP_SD, rng.poisson(JUMPS_PER_YEAR * dt)))
    drift = -0.5 * family.atm_vol**2 * dt
    spot = truth.spot * float(np.exp(drift + family.atm_vol * np.sqrt(dt) * rng.normal() + jump))
    carry = _revert(np.array(truth.carry), CARRY_MEAN, CARRY_SD, days / CARRY_DAYS, rng)
    basis = _revert(basis, 0.0, BASIS_SD, days / BASIS_DAYS, rng)
    old = arbitrage.Surface(truth.x[alive], truth.u[alive], (due - now_us) / YEAR_US)
    x, u, _ = _without_arbitrage(old, _wandered(old, anchor(family, old.tau), dt, family.wander, rng))
    if not family.inverse:
        return Truth(now_us, spot, 0.0, due, 0.0 * basis, x, u)
    return Truth(now_us, spot, float(carry), due, basis, x, u)


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
        u=np.insert(truth.u, at, np.zeros(residual.DIM), axis=0),
    )


def margins(surface: arbitrage.Surface) -> tuple[Floats, Floats]:
    """Least g of each slice, (E,), and least relative calendar gap of each to the next, (E - 1,), over `GRID`."""
    g, f, gap = arbitrage.margins(surface, GRID * np.sqrt(surface.w0)[:, None])
    return np.where(f > 0, g, -1.0).min(axis=1), gap.min(axis=1, initial=np.inf)


def _wandered(
    old: arbitrage.Surface, towards: Floats, dt_y: float, wander: float, rng: np.random.Generator
) -> arbitrage.Surface:
    """Every slice `dt_y` years later, arbitrage or not."""
    tau, days = old.tau, dt_y * YEAR_D
    floored = np.maximum(tau, SHORTEST_TAU_Y)
    log_tau = np.log(floored)
    root = np.linalg.cholesky(np.exp(-np.abs(log_tau[:, None] - log_tau) / CORRELATION_LENGTH))
    x = old.x.copy()
    body, wings = slice(svi.LEVEL, svi.PUT_WING), slice(svi.PUT_WING, svi.DIM)
    pull = (1 - np.exp(-days / RETURN_DAYS)) * (towards - x)[:, body]
    x[:, body] += pull + wander * WANDER * np.sqrt(dt_y * MONTH_Y / floored)[:, None] * (
        root @ rng.normal(size=x[:, body].shape)
    )
    keep = np.exp(-days / WING_DAYS)
    moves = WING_SD * np.sqrt(1 - keep**2) * (root @ rng.normal(size=x[:, wings].shape))
    x[:, wings] = towards[:, wings] + keep * (x - towards)[:, wings] + moves
    return arbitrage.Surface(x, _revert(old.u, 0.0, 1.0, days / RESIDUAL_DAYS, rng), tau)


def _revert(value: Floats, mean: float, sd: float, steps: float, rng: np.random.Generator) -> Floats:
    """One exact step of an Ornstein-Uhlenbeck process, `steps` in units of its time constant."""
    keep = np.exp(-steps)
    return np.asarray(mean + keep * (value - mean) + sd * np.sqrt(1 - keep**2) * rng.normal(size=value.shape))


def _without_arbitrage(old: arbitrage.Surface, new: arbitrage.Surface) -> arbitrage.Surface:
    """`new` with the slices that would break a margin left at `old`; the old slices are always good enough."""
    g_old, gap_old = margins(old)
    g_floor, gap_floor = np.minimum(G_FLOOR, g_old), np.minimum(GAP_FLOOR, gap_old)
    surface = new
    for _ in range(len(old.x)):
        g, gap = margins(surface)
        bad = ~(g >= g_floor)
        bad[1:] |= ~(gap >= gap_floor)
        bad[:-1] |= ~(gap >= gap_floor)
        if not bad.any():
            return surface
        x, u = np.where(bad[:, None], old.x, surface.x), np.where(bad[:, None], old.u, surface.u)
        surface = arbitrage.Surface(x, u, old.tau)
    return old
