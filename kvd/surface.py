"""The result: smiles with their uncertainty, as immutable records a subscriber can use without the filter.

Conventions: log-moneyness ``k = ln(strike / forward)`` with kvd's own forward of that expiry; vols are decimals;
``tau`` is ACT/365 in seconds; total variance ``w = vol**2 * tau``; times are microseconds since the epoch, UTC.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvd.core import residual, whiteness
from kvd.core.smile import LEAST_F
from kvd.core.svi import MIN_OMEGA

Floats = NDArray[np.float64]
RESIDUAL_KNOTS: tuple[float, ...] = tuple(residual.KNOTS.tolist())
TrackRecord = whiteness.TrackRecord
State = Literal["live", "widened", "predicted", "held", "withdrawn"]


class Forward(NamedTuple):
    """The forward of one expiry in the quote currency, its standard deviation and the name of what it came from."""

    value: float
    sd: float
    source: str


class RawSvi(NamedTuple):
    """Gatheral's raw SVI: ``w(k) = a + b (rho (k - m) + sqrt((k - m)**2 + sigma**2))``."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float


class JumpWings(NamedTuple):
    """SVI-JW (Gatheral & Jacquier 2014, section 3.3): ATM variance, ATM skew, wing slopes, minimum variance."""

    v: float
    psi: float
    p: float
    c: float
    v_min: float


class Parameters(NamedTuple):
    """The five numbers a trader knows of a smile, in the order in which the filter carries them.

    With ``z = k / sqrt(w0)`` and ``omega(z) = w(k) / w0``: ``atm_vol = sqrt(w0 / tau)``; ``skew = omega'(0) / 2``,
    **the K value**; ``curvature = omega''(0)``; ``put_wing`` and ``call_wing`` are the slopes of omega far left
    (taken positive) and far right.
    """

    atm_vol: float
    skew: float
    curvature: float
    put_wing: float
    call_wing: float


class Certificate(NamedTuple):
    """The no-arbitrage margins of a smile from log-moneyness ``k_low`` to ``k_high``.

    Durrleman's g is nowhere below ``butterfly``, and ``(w_later - w_earlier) / w0`` against the neighbouring expiries
    at equal k nowhere below ``calendar`` (None for a lone expiry): both bounds hold between the ``points`` at which g
    was evaluated, too (`kvd.core.certify`), and neither is negative. ``method`` says how that came about:
    ``measured`` if the posterior was free of arbitrage by itself, ``projected`` if it had to be moved.
    """

    k_low: float
    k_high: float
    points: int
    butterfly: float
    calendar: float | None
    method: str


class Regime(NamedTuple):
    """How lively the market is: the probabilities of calm, active and shock, and the skew stickiness ratio (0 moneyness
    sticks, 1 the strike) with its standard deviation (`kvd.core.regimes`).
    """

    calm: float
    active: float
    shock: float
    ssr: float
    ssr_sd: float


class Smile(NamedTuple):
    """The published smile of one expiry.

    ``residual`` holds the residual curve at the knots `RESIDUAL_KNOTS` of ``z = k / sqrt(w0)``, relative to the ATM vol
    (`kvd.core.residual`): ``vol(k) = atm_vol (sqrt(w_svi(k) / w0) + rho(z))`` with ``w_svi`` the raw SVI slice.
    ``vol_sd`` holds the standard deviation of the vol there, backbone and residual together.
    ``covariance`` is the 5 x 5 posterior covariance of the filter's state ``(ln atm_vol, skew, ln curvature, lambda_p,
    lambda_c)``; ``sd`` holds the standard deviations of `parameters`. ``nis`` and ``nis_dof`` are the normalised
    innovation squared of the newest batch and its degrees of freedom; ``inside`` is the share of this expiry's newest
    quotes whose bid and ask enclose the smile, or None before there are any. ``quoted_low`` and ``quoted_high`` bound
    the log-moneynesses quoted lately. ``record`` says how well the smile has predicted its quotes lately
    (`kvd.core.whiteness`), or None before any; ``sd``, ``vol_sd`` and ``covariance`` are as much wider than the
    filter's own as it says. ``regime`` is that of the
    whole underlying. ``state`` says how far to trust it, ``reason`` why, ``since_us`` since when.
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


class BatchFacts(NamedTuple):
    """What happened to one underlying's quotes in one batch: the numbers behind the metrics.

    ``refused`` and ``inflated`` count by reason; ``nis`` is the sum over slices of the normalised innovation squared of
    all prior innovations (not down-weighted) and ``nis_dof`` how many there were. ``one_sided`` counts quotes without
    bid or ask that bounded a smile, which are in none of the other numbers but ``inflated``.
    ``forwards_outside_parity`` counts expiries whose forward, as the venue says it, lay outside what their tightest
    call-put pair allows; ``forwards_gated`` counts sources of a forward that were kept out for having jumped alone;
    ``executable`` counts arbitrage on the venue's own bids and asks by kind (box, butterfly, calendar). By tenor bucket
    (0 to 4: under 1, 1 to 7, 7 to 30, 30 to 90, over 90 days), ``coverage`` holds how many quotes there were and how
    many of their mids lay in the 50, 90 and 95 % predictive bands, and ``nis_by_tenor`` the NIS and its degrees of
    freedom. ``mark_alarms`` are the expiries whose smile the venue's marks have denied for a while, and still do.
    ``log_likelihood`` is the sum of ln of the predictive density at each of the ``quotes``
    (`kvd.core.measurement.log_density`).
    """

    quotes: int
    refused: dict[str, int]
    inflated: dict[str, int]
    nis: float
    nis_dof: int
    one_sided: int = 0
    forwards_outside_parity: int = 0
    forwards_gated: int = 0
    executable: Mapping[str, int] = MappingProxyType({})
    coverage: Mapping[int, tuple[int, int, int, int]] = MappingProxyType({})
    nis_by_tenor: Mapping[int, tuple[float, int]] = MappingProxyType({})
    mark_alarms: tuple[int, ...] = ()
    log_likelihood: float = 0.0


class SurfaceUpdate(NamedTuple):
    """What one batch changed on one underlying's surface: whole smiles that moved, and expiries that left."""

    venue: str
    underlying: str
    publish_us: int
    smiles: tuple[Smile, ...]
    withdrawn: tuple[int, ...]
    facts: BatchFacts
