"""Smiles as the calibrator makes them, from random states, and the same smiles moved or perturbed."""

import numpy as np
from smiles import DAY, NOON, smile

from kvd.calibrator.smiles import shapes
from kvd.core import residual, svi
from kvd.core.arbitrage import Surface as Slice
from kvd.core.svi import DIM
from kvd.surface import Forward, RawSvi, Smile


def drawn(seed: int, days: float = 30.0, vol: float = 0.6, curved: float = 1.0) -> Smile:
    """A smile as the calibrator makes them, from a random state and covariance; `curved` scales its residual curve.

    Its forward is that of no other seed, and it settles `days` days after NOON.
    """
    rng = np.random.default_rng(seed)
    x = np.log([vol, 1.0, 0.13, 1.9, 1.6])[None] + rng.normal(0, [0.2, 0.05, 0.3, 0.2, 0.2], (1, DIM))
    u = curved * rng.normal(size=(1, residual.DIM))
    root = rng.normal(0, 0.1, (DIM + residual.DIM,) * 2) * np.repeat([0.02, 0.1], [DIM, residual.DIM])[:, None]
    tau = np.array([days / 365])
    shape = shapes(Slice(x, u, tau), svi.slices(x), (root @ root.T)[None])[0]
    forward = Forward(rng.uniform(2e4, 8e4), rng.uniform(1.0, 9.0), "SYN")
    return smile(NOON + round(days * DAY), forward=forward, **shape._asdict())


def moved(s: Smile, forward: float, atm_vol: float, tau: float | None = None) -> Smile:
    """The same smile in normalised moneyness about another forward, at another level, at another time to expiry."""
    tau = s.tau if tau is None else tau
    a, b, rho, m, sigma = s.raw
    stretch = atm_vol / s.parameters.atm_vol * (tau / s.tau) ** 0.5
    return s._replace(
        tau=tau,
        forward=s.forward._replace(value=forward),
        parameters=s.parameters._replace(atm_vol=atm_vol),
        raw=RawSvi(a * stretch**2, b * stretch, rho, m * stretch, sigma * stretch),
    )


def perturbed(s: Smile) -> list[tuple[Smile, Smile]]:
    """The smile with each of its uncertainties a standard deviation up and down: the columns of its vols' root, and its
    forward.
    """
    pairs = []
    for column in s.vol_factor().T:
        curve, by = np.array(s.residual), column / s.parameters.atm_vol
        pairs.append(tuple(s._replace(residual=tuple(curve + sign * by)) for sign in (1, -1)))
    by = s.forward.sd
    pairs.append(tuple(s._replace(forward=s.forward._replace(value=s.forward.value + sign * by)) for sign in (1, -1)))
    return pairs
