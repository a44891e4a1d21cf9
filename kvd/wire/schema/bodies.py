"""What a smile says of itself on the wire, part by part: the one description of its public fields."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from kvd.quotes import LockOf
from kvd.surface import RESIDUAL_KNOTS
from kvd.wire.schema import fields
from kvd.wire.schema.fields import Count, NotNegative, Positive, Share, instant

KNOTS = len(RESIDUAL_KNOTS)
CORRELATIONS = KNOTS * (KNOTS - 1) // 2


class Forward(Struct):
    """The forward of one expiry."""

    value: Annotated[float, Meta(gt=0, description="In the quote currency.")]
    sd: Annotated[float, Meta(ge=0, description="Its standard deviation, in the quote currency.")]
    source: Annotated[str, Meta(description="The name of what it came from.")]


class RawSvi(Struct):
    """The backbone of the smile: w_svi(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)), k = ln(strike/forward)."""

    a: Annotated[float, Meta(description="Level, in total variance.")]
    b: Annotated[float, Meta(ge=0, description="Mean slope of the wings.")]
    rho: Annotated[float, Meta(ge=-1, le=1, description="Tilt.")]
    m: Annotated[float, Meta(description="Shift, in log-moneyness.")]
    sigma: Annotated[float, Meta(ge=0, description="Roundness, in log-moneyness.")]


class JumpWings(Struct):
    """SVI-JW (Gatheral & Jacquier 2014, section 3.3) of the published smile."""

    v: Annotated[float, Meta(gt=0, description="ATM variance, a year.")]
    psi: Annotated[float, Meta(description="ATM skew.")]
    p: Annotated[float, Meta(description="Slope of the put wing.")]
    c: Annotated[float, Meta(description="Slope of the call wing.")]
    v_min: Annotated[float, Meta(description="Least variance, a year.")]


class Residual(Struct):
    """What is added to the backbone: vol = atm_vol (sqrt(w_svi(k) / w0) + rho(z)) with w0 = atm_vol^2 tau and
    z = k / sqrt(w0), rho the cubic spline through these values with slope zero at both ends, constant beyond them.
    """

    z: Annotated[
        tuple[float, ...],
        Meta(min_length=KNOTS, max_length=KNOTS, description="The knots, ascending; the same in every smile."),
    ]
    rho: Annotated[
        tuple[float, ...],
        Meta(min_length=KNOTS, max_length=KNOTS, description="The curve at the knots, relative to atm_vol."),
    ]
    vol_sd: Annotated[
        tuple[NotNegative, ...],
        Meta(min_length=KNOTS, max_length=KNOTS, description="Standard deviation of the vol at the knots, a decimal."),
    ]
    vol_root: Annotated[
        tuple[Annotated[float, Meta(ge=-1, le=1)], ...],
        Meta(
            min_length=CORRELATIONS,
            max_length=CORRELATIONS,
            description="Row by row, what stands below the diagonal of the lower triangular L with rows of length one "
            "for which vol_sd_i vol_sd_j (L L')_ij is the covariance of the vols at the knots; the diagonal is "
            "sqrt(1 - sum of the row's squares).",
        ),
    ]


class DeltaPoint(Struct):
    """The strike whose put (p) or call (c) has that forward delta, in hundredths, or the forward itself (atm)."""

    delta: Annotated[Literal["10p", "25p", "atm", "25c", "10c"], Meta(description="Which point.")]
    strike: Annotated[float, Meta(gt=0, description="In the quote currency.")]
    strike_sd: Annotated[float, Meta(ge=0, description="Standard deviation of strike.")]
    vol: Annotated[Positive, Meta(description="The vol there, a decimal.")]
    vol_sd: Annotated[NotNegative, Meta(description="Standard deviation of vol.")]


class Certificate(Struct):
    """No static arbitrage from k_low to k_high, and by how much: neither margin is ever negative."""

    k_low: Annotated[float, Meta(description="Where the certified range of log-moneyness begins.")]
    k_high: Annotated[float, Meta(description="Where it ends.")]
    points: Annotated[int, Meta(ge=1, description="At how many points Durrleman's g was evaluated.")]
    butterfly: Annotated[float, Meta(description="What Durrleman's g is nowhere below, also between the points.")]
    method: Annotated[
        Literal["measured", "projected"],
        Meta(description="projected if the posterior had to be moved to be free of arbitrage, else measured."),
    ]
    calendar: Annotated[
        float | UnsetType,
        Meta(
            description="What the gaps of total variance to the neighbouring expiries at equal k, over w0, are nowhere "
            "below; absent for a lone expiry."
        ),
    ] = UNSET


class Regime(Struct):
    """How lively the whole underlying is."""

    calm: Annotated[Share, Meta(description="Probability of a calm market.")]
    active: Annotated[Share, Meta(description="Probability of an active market.")]
    shock: Annotated[Share, Meta(description="Probability of a shock.")]
    ssr: Annotated[
        float,
        Meta(
            description="Skew stickiness ratio: how far the ATM vol goes with the forward. 0: moneyness sticks, 1: the "
            "strike does."
        ),
    ]
    ssr_sd: Annotated[float, Meta(ge=0, description="Standard deviation of ssr.")]


class TrackRecord(Struct):
    """How well the smile has predicted its own quotes lately."""

    quotes: Annotated[NotNegative, Meta(description="How many quotes stand behind nis and coverage; older ones fade.")]
    nis: Annotated[NotNegative, Meta(description="Normalised innovation squared per degree of freedom; 1 on average.")]
    coverage: Annotated[
        tuple[Share, ...],
        Meta(
            min_length=3,
            max_length=3,
            description="Share of mids inside the 50, 90 and 95 % predictive bands, in order.",
        ),
    ]
    batches: Annotated[NotNegative, Meta(description="How many batches stand behind common and whiteness.")]
    common: Annotated[NotNegative, Meta(description="Mean square of what each batch says of the level; 1 on average.")]
    whiteness: Annotated[
        float, Meta(ge=-1, le=1, description="Its correlation from one batch to the next; 0 on average.")
    ]
    widened_by: Annotated[
        float,
        Meta(ge=1, description="Factor by which the sds, vol_sd and the root of covariance are wider for it."),
    ]


class Locked(Struct):
    """What a trader, or a limit, holds a smile to; the smile was conditioned on it as if it were an observation."""

    of: Annotated[LockOf, Meta(description="Which parameter is held; vol is the vol at strike.")]
    value: Annotated[float, Meta(description="What it is held to, as the smile says it.")]
    sd: Annotated[float, Meta(gt=0, description="How firmly: the standard deviation of that observation.")]
    author: Annotated[str, Meta(description="The name of the token that set it; limits for one of the configuration.")]
    market: Annotated[float, Meta(description="What the market alone would say.")]
    id: Annotated[str | UnsetType, Meta(description="Its name, for unlock; absent for a limit.")] = UNSET
    strike: Annotated[Positive | UnsetType, Meta(description="In the quote currency; only where of is vol.")] = UNSET
    until: Annotated[datetime, instant("When it is released; absent for a limit.")] | UnsetType = UNSET


class Smile(Struct):
    """The whole smile of one expiry, as in surface and smile topics. Vols are decimals: 0.55 is 55 %."""

    venue: fields.Venue
    underlying: fields.Underlying
    expiry: fields.Expiry
    state: fields.State
    reason: fields.Reason
    since: fields.Since
    exchange_time: fields.ExchangeTime
    receive_time: fields.ReceiveTime
    publish_time: fields.PublishTime
    age_s: Annotated[float, Meta(description="How long before publish_time the newest quote arrived, seconds.")]
    tau: Annotated[float, Meta(gt=0, description="Time to expiry in years, ACT/365 in seconds.")]
    forward: Annotated[Forward, Meta(description="kvd's own forward of this expiry.")]
    atm_vol: fields.AtmVol
    atm_vol_sd: fields.AtmVolSd
    skew: fields.Skew
    skew_sd: fields.SkewSd
    curvature: Annotated[float, Meta(description="omega''(0): how fast the smile bends at the forward; no unit.")]
    curvature_sd: Annotated[float, Meta(ge=0, description="Standard deviation of curvature.")]
    put_wing: Annotated[float, Meta(description="Slope of omega far left, taken positive; no unit.")]
    put_wing_sd: Annotated[float, Meta(ge=0, description="Standard deviation of put_wing.")]
    call_wing: Annotated[float, Meta(description="Slope of omega far right; no unit.")]
    call_wing_sd: Annotated[float, Meta(ge=0, description="Standard deviation of call_wing.")]
    points: Annotated[
        list[DeltaPoint],
        Meta(max_length=5, description="By forward delta, in ascending strike; one that no strike has is left out."),
    ]
    svi: Annotated[RawSvi, Meta(description="The backbone.")]
    jump_wings: Annotated[JumpWings, Meta(description="The same smile as SVI-JW.")]
    residual: Annotated[Residual, Meta(description="What is added to the backbone, and how uncertain the vols are.")]
    covariance: Annotated[
        list[Annotated[list[float], Meta(min_length=5, max_length=5)]],
        Meta(
            min_length=5,
            max_length=5,
            description="Covariance of the filter's state (ln atm_vol, skew, ln curvature, lambda_p, lambda_c).",
        ),
    ]
    certificate: Annotated[Certificate, Meta(description="The no-arbitrage margins.")]
    regime: Annotated[Regime, Meta(description="That of the whole underlying.")]
    nis_dof: Annotated[Count, Meta(description="Degrees of freedom of nis.")]
    quotes: Annotated[Count, Meta(description="How many quotes inside is a share of.")]
    rr25: Annotated[float | UnsetType, Meta(description="Risk reversal: vol(25c) - vol(25p).")] = UNSET
    rr25_sd: Annotated[NotNegative | UnsetType, Meta(description="Standard deviation of rr25.")] = UNSET
    bf25: Annotated[float | UnsetType, Meta(description="Butterfly: (vol(25c) + vol(25p))/2 - vol(atm).")] = UNSET
    bf25_sd: Annotated[NotNegative | UnsetType, Meta(description="Standard deviation of bf25.")] = UNSET
    rr10: Annotated[float | UnsetType, Meta(description="The same of 10.")] = UNSET
    rr10_sd: Annotated[NotNegative | UnsetType, Meta(description="Standard deviation of rr10.")] = UNSET
    bf10: Annotated[float | UnsetType, Meta(description="The same of 10.")] = UNSET
    bf10_sd: Annotated[NotNegative | UnsetType, Meta(description="Standard deviation of bf10.")] = UNSET
    quoted_low: Annotated[
        float | UnsetType, Meta(description="Least log-moneyness quoted lately; absent before any.")
    ] = UNSET
    quoted_high: Annotated[
        float | UnsetType, Meta(description="Greatest log-moneyness quoted lately; absent before any.")
    ] = UNSET
    nis: Annotated[
        NotNegative | UnsetType,
        Meta(description="Normalised innovation squared of the newest batch; absent before any."),
    ] = UNSET
    inside: Annotated[
        Share | UnsetType,
        Meta(description="Share of the newest quotes whose bid and ask enclose the smile; absent before any."),
    ] = UNSET
    record: Annotated[TrackRecord | UnsetType, Meta(description="Absent before any quotes.")] = UNSET
    locked: Annotated[
        list[Locked] | UnsetType, Meta(description="What a trader or a limit holds it to; absent where nothing does.")
    ] = UNSET


class Atm(Struct):
    """The small, fast record of one expiry, as in atm topics."""

    venue: fields.Venue
    underlying: fields.Underlying
    expiry: fields.Expiry
    state: fields.State
    exchange_time: fields.ExchangeTime
    receive_time: fields.ReceiveTime
    publish_time: fields.PublishTime
    forward: Annotated[Forward, Meta(description="kvd's own forward of this expiry.")]
    atm_vol: fields.AtmVol
    atm_vol_sd: fields.AtmVolSd
    skew: fields.Skew
    skew_sd: fields.SkewSd


class Withdrawn(Struct):
    """An expiry that left: told once in its three topics, and in no snapshot after that."""

    venue: fields.Venue
    underlying: fields.Underlying
    expiry: fields.Expiry
    state: Annotated[Literal["withdrawn"], Meta(description="There is no smile any more.")]
    reason: Annotated[Literal["expired", "unlisted"], Meta(description="Why it left.")]
    since: fields.Since
    publish_time: fields.PublishTime


class FeedStatus(Struct):
    """What kvd says of a feed, for people and dashboards; a newer record of a venue replaces an older one."""

    venue: fields.Venue
    state: Annotated[Literal["connected", "lost"], Meta(description="connected while data flows.")]
    reason: Annotated[str | UnsetType, Meta(description="What was lost; only in state lost.")] = UNSET
