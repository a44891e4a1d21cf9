"""The smile of one expiry with its uncertainty."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import residual
from kvd.core.smile import LEAST_F
from kvd.core.svi import MIN_OMEGA
from kvd.quotes import OptionType
from kvd.surface import greeks, points
from kvd.surface.curves import Curves, factors, shapes
from kvd.surface.greeks import Convention, Greeks, Stickiness
from kvd.surface.points import DeltaConvention, DeltaPoints
from kvd.surface.records import (
    Certificate,
    Forward,
    JumpWings,
    Locked,
    Parameters,
    RawSvi,
    Regime,
    State,
    TrackRecord,
)

Floats = NDArray[np.float64]
RESIDUAL_KNOTS: tuple[float, ...] = tuple(residual.KNOTS.tolist())


class Smile(NamedTuple):
    """The published smile of one expiry.

    ``residual`` holds the residual curve at the knots `RESIDUAL_KNOTS` of ``z = k / sqrt(w0)``, relative to the ATM vol
    (`kvd.core.residual`): ``vol(k) = atm_vol (sqrt(w_svi(k) / w0) + rho(z))`` with ``w_svi`` the raw SVI slice.
    ``vol_sd`` holds the standard deviation of the vol there, backbone and residual together, and ``vol_root`` how they
    go together: below its diagonal, row by row, the lower triangular L with rows of length one for which ``vol_sd_i
    vol_sd_j (L L')_ij`` is their covariance (`vol_factor`), (KNOTS (KNOTS - 1)/2,).
    ``covariance`` is the 5 x 5 posterior covariance of the filter's state ``(ln atm_vol, skew, ln curvature, lambda_p,
    lambda_c)``; ``sd`` holds the standard deviations of `parameters`. ``nis`` and ``nis_dof`` are the normalised
    innovation squared of the newest batch and its degrees of freedom; ``inside`` is the share of this expiry's newest
    quotes whose bid and ask enclose the smile, or None before there are any. ``quoted_low`` and ``quoted_high`` bound
    the log-moneynesses quoted lately. ``record`` says how well the smile has predicted its quotes lately
    (`kvd.core.whiteness`), or None before any; ``sd``, ``vol_sd`` and ``covariance`` are as much wider than the
    filter's own as it says. ``regime`` is that of the whole underlying. ``locked`` is what a trader or a limit holds it
    to. ``state`` says how far to trust it, ``reason`` why, ``since_us`` since when.
    """

    venue: str
    underlying: str
    expiry_us: int
    tau: float
    forward: Forward
    parameters: Parameters
    sd: Parameters
    raw: RawSvi
    jump_wings: JumpWings
    residual: tuple[float, ...]
    vol_sd: tuple[float, ...]
    vol_root: Floats
    covariance: Floats
    quoted_low: float | None
    quoted_high: float | None
    certificate: Certificate
    nis: float | None
    nis_dof: int
    inside: float | None
    quotes: int
    record: TrackRecord | None
    regime: Regime
    locked: tuple[Locked, ...]
    state: State
    reason: str
    since_us: int
    exchange_us: int
    receive_us: int
    publish_us: int

    def total_variance(self, k: Floats | float) -> Floats:
        """Total variance at log-moneyness `k` (any shape), the residual curve included.

        It is never below `LEAST_F`**2 times that at the money: far beyond the certificate's range a slice may dip.
        """
        a, b, rho, m, sigma = self.raw
        w0 = self.parameters.atm_vol**2 * self.tau
        at = np.asarray(k, dtype=np.float64)
        backbone = a + b * (rho * (at - m) + np.sqrt((at - m) ** 2 + sigma * sigma))
        curve = residual.from_knots(np.array(self.residual), at / np.sqrt(w0))
        relative = np.sqrt(np.maximum(backbone / w0, MIN_OMEGA)) + curve
        return np.asarray(w0 * np.maximum(relative, LEAST_F) ** 2)

    def vol(self, strike: Floats | float) -> Floats:
        """Implied vol at `strike` (any shape, quote currency), a decimal."""
        k = np.log(np.asarray(strike, dtype=np.float64) / self.forward.value)
        return np.asarray(np.sqrt(self.total_variance(k) / self.tau))

    def sd_of_vol(self, strike: Floats | float) -> Floats:
        """Standard deviation of `vol` at `strike` (any shape), interpolated between the knots and constant beyond."""
        z = np.log(np.asarray(strike) / self.forward.value) / (self.parameters.atm_vol * np.sqrt(self.tau))
        return np.asarray(np.interp(z, RESIDUAL_KNOTS, self.vol_sd))

    def vol_factor(self) -> Floats:
        """A root of the covariance of the vols at the knots, (KNOTS, KNOTS): a standard normal vector e moves them by
        ``vol_factor() @ e``.
        """
        return np.asarray(factors(np.array([self.vol_sd]), np.array([self.vol_root]))[0])

    def greeks(
        self,
        strike: Floats | float,
        option_type: OptionType,
        convention: Convention = "quote",
        ssr: float | None = None,
    ) -> Greeks:
        """Value and greeks at `strike` (any shape) with the smile moving along: total derivatives.

        When the forward moves, the ATM vol follows it by the skew stickiness ratio `ssr` and the smile keeps its shape
        in normalised moneyness: 0 is sticky moneyness; None is this smile's own ``regime.ssr``. Vega, vanna and volga
        are with respect to the ATM vol (`kvd.surface.greeks` has the formulas).
        """
        along = Stickiness(self.regime.ssr, self.regime.ssr_sd) if ssr is None else Stickiness(ssr)
        return greeks.greeks(curves((self,)), np.asarray(strike, dtype=np.float64), option_type, convention, along)

    def black_greeks(self, strike: Floats | float, option_type: OptionType, convention: Convention = "quote") -> Greeks:
        """Value and greeks at `strike` (any shape) with the strike's own vol held: as venues print them."""
        return greeks.greeks(curves((self,)), np.asarray(strike, dtype=np.float64), option_type, convention, None)

    def delta_points(self, convention: DeltaConvention = "forward") -> DeltaPoints:
        """The strikes of 10 and 25 delta and at the money, risk reversals and butterflies. ``premium_adjusted`` is the
        delta of an inverse contract, net of the premium paid in coin.
        """
        return delta_points((self,), convention)[0]


def delta_points(smiles: Sequence[Smile], convention: DeltaConvention = "forward") -> list[DeltaPoints]:
    """`Smile.delta_points` of many smiles in one pass."""
    return points.delta_points(curves(smiles), convention) if smiles else []


def curves(smiles: Sequence[Smile]) -> Curves:
    """Published smiles as arrays."""
    with np.errstate(all="ignore"):
        tau, atm_vol, forward, forward_sd = np.array(
            [(s.tau, s.parameters.atm_vol, s.forward.value, s.forward.sd) for s in smiles]
        ).T
        return Curves(
            tau,
            forward,
            forward_sd,
            np.ones((len(smiles), 1)),
            shapes(atm_vol, tau, np.array([s.raw for s in smiles]), np.array([s.residual for s in smiles])),
            factors(np.array([s.vol_sd for s in smiles]), np.array([s.vol_root for s in smiles])),
        )
