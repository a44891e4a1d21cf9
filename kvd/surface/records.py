"""What a smile says of itself, part by part, and what trust it deserves."""

from typing import Literal, NamedTuple

from kvd.core import whiteness
from kvd.quotes import LockOf

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


class Locked(NamedTuple):
    """What a trader, or a limit, holds a smile to: a parameter of it, or the vol at ``strike`` (``of`` is ``vol``).

    The smile was conditioned on ``value`` as if it were an observation with standard deviation ``sd``; ``market`` is
    what the market alone would say. ``author`` set it, and it is released at ``until_us``; a limit of the
    configuration has the author ``limits``, no id and no end.
    """

    id: str
    of: LockOf
    strike: float | None
    value: float
    sd: float
    author: str
    until_us: int | None
    market: float
