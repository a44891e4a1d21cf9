"""What the pages under /v1 answer."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from kvd.wire.schema import bodies, fields
from kvd.wire.schema.fields import NotNegative, Positive, instant

REFUSALS = {
    "bad_url": (400, "an address that cannot be read"),
    "bad_query": (400, "a part of the query is missing or cannot be used"),
    "unauthorised": (401, "no token, or none of this kvd's"),
    "bad_origin": (403, "a browser's page from a site that publish.origins does not name"),
    "not_found": (404, "no such page"),
    "no_surface": (404, "no surface of that underlying and venue"),
    "no_expiry": (404, "no such expiry of that underlying"),
    "no_history": (404, "no surface is kept of that instant or before"),
    "bad_method": (405, "another method than GET"),
    "too_many_messages": (429, "more requests a second than a token may send"),
    "full": (503, "all places on the stream are taken"),
    "too_many_clients": (503, "all places of this token are taken"),
}


class Refusal(Struct):
    """Why a page cannot be had."""

    type: Literal["error"]
    code: Annotated[
        str,
        Meta(
            description="; ".join(f"{code}: {why}" for code, (_, why) in REFUSALS.items()) + ".",
            extra_json_schema={"enum": list(REFUSALS)},
        ),
    ]
    message: Annotated[str, Meta(min_length=1, description="What is wrong and how to mend it, for people.")]


class VenueSurface(Struct):
    """The smiles of one underlying at one venue."""

    venue: fields.Venue
    seq: Annotated[int, Meta(ge=1, description="The number of the newest message of the surface topic by then.")]
    smiles: Annotated[list[bodies.Smile], Meta(description="Nearest expiry first.")]
    at: Annotated[datetime, instant("The instant as of which it was kept; only if asked for.")] | UnsetType = UNSET
    resolution_s: Annotated[
        Positive | UnsetType, Meta(description="How far apart kept surfaces are at least, seconds; only with at.")
    ] = UNSET


class SurfacePage(Struct):
    """The newest surface of an underlying, or that of an earlier minute, at every venue asked for."""

    underlying: fields.Underlying
    epoch: fields.Epoch
    surfaces: Annotated[list[VenueSurface], Meta(min_length=1, description="One a venue.")]


class StrikeVol(Struct):
    """The vol at one strike."""

    strike: Annotated[float, Meta(gt=0, description="As asked for, in the quote currency.")]
    k: Annotated[float, Meta(description="Its log-moneyness, ln(strike / forward).")]
    vol: Annotated[float, Meta(gt=0, description="Implied vol, a decimal.")]
    sd: Annotated[NotNegative, Meta(description="Standard deviation of vol.")]
    certified: Annotated[
        bool,
        Meta(description="Whether the smile is certified free of arbitrage there; if not, the vol is extrapolated."),
    ]


class VenueVols(Struct):
    """The vols of one expiry at one venue."""

    venue: fields.Venue
    expiry: fields.Expiry
    state: fields.State
    reason: fields.Reason
    publish_time: fields.PublishTime
    tau: Annotated[float, Meta(gt=0, description="Time to expiry in years, ACT/365 in seconds.")]
    forward: Annotated[bodies.Forward, Meta(description="kvd's own forward of this expiry.")]
    strikes: Annotated[list[StrikeVol], Meta(min_length=1, description="In the order asked for.")]


class VolPage(Struct):
    """The vols of one expiry at every venue that has it."""

    underlying: fields.Underlying
    epoch: fields.Epoch
    vols: Annotated[list[VenueVols], Meta(min_length=1, description="One a venue.")]


class Tenor(Struct):
    """A smile of constant maturity: between two expiries, total variance is linear in time at equal log-moneyness."""

    days: Annotated[float, Meta(gt=0, description="How many days ahead.")]
    expiry: Annotated[datetime, instant("That many days after the newest quote.")]
    forward: Annotated[float, Meta(gt=0, description="In the quote currency.")]
    forward_sd: Annotated[NotNegative, Meta(description="Standard deviation of forward.")]
    atm_vol: fields.AtmVol
    atm_vol_sd: fields.AtmVolSd
    skew: fields.Skew
    skew_sd: fields.SkewSd
    rr25: Annotated[
        float | UnsetType, Meta(description="25-delta risk reversal: vol(25c) - vol(25p); absent where a strike is.")
    ] = UNSET
    rr25_sd: Annotated[NotNegative | UnsetType, Meta(description="Standard deviation of rr25.")] = UNSET
    bf25: Annotated[
        float | UnsetType,
        Meta(description="25-delta butterfly: (vol(25c) + vol(25p))/2 - vol(atm); absent where a strike is."),
    ] = UNSET
    bf25_sd: Annotated[NotNegative | UnsetType, Meta(description="Standard deviation of bf25.")] = UNSET


class VarianceIndex(Struct):
    """What a variance swap is worth by the strip of options, model-free, as the VIX is made."""

    days: Annotated[float, Meta(gt=0, description="To how many days ahead.")]
    variance: Annotated[float, Meta(gt=0, description="A year.")]
    variance_sd: Annotated[NotNegative, Meta(description="Standard deviation of variance.")]
    vol: Annotated[float, Meta(gt=0, description="Its root, a decimal.")]
    vol_sd: Annotated[NotNegative, Meta(description="Standard deviation of vol.")]


class VenueTenors(Struct):
    """The constant maturities of one underlying at one venue."""

    venue: fields.Venue
    publish_time: fields.PublishTime
    tenors: Annotated[list[Tenor], Meta(description="Of 7, 30, 60, 90 and 180 days, those before the last expiry.")]
    variance_index: Annotated[
        VarianceIndex | UnsetType, Meta(description="To 30 days; absent where the last expiry comes before.")
    ] = UNSET


class TenorsPage(Struct):
    """The constant maturities of an underlying and its variance index, at every venue asked for."""

    underlying: fields.Underlying
    epoch: fields.Epoch
    surfaces: Annotated[list[VenueTenors], Meta(min_length=1, description="One a venue.")]


class Instrument(Struct):
    """One option that is followed."""

    name: Annotated[str, Meta(min_length=1, description="The venue's own name for it.")]
    venue: fields.Venue
    underlying: fields.Underlying
    expiry: fields.Expiry
    strike: Annotated[float, Meta(gt=0, description="In the quote currency.")]
    type: Annotated[Literal["call", "put"], Meta(description="Call or put.")]
    inverse: Annotated[bool, Meta(description="Whether its prices are quoted in the coin.")]
    counts: Annotated[
        bool,
        Meta(description="Whether its newest quote enters the smile with both sides: one that the filter can use."),
    ]
    tick_size: Annotated[
        Positive | UnsetType,
        Meta(description="The smallest price step near zero; absent where the venue has not said."),
    ] = UNSET


class InstrumentsPage(Struct):
    """The options that are followed, in the order in which they were first quoted; at most 1,000 an answer."""

    instruments: Annotated[list[Instrument], Meta(max_length=1000, description="Those asked for.")]
    next: Annotated[
        str | UnsetType, Meta(description="Ask again with this as after for the rest; absent where there is none.")
    ] = UNSET


PAGES: tuple[type[Struct], ...] = (SurfacePage, VolPage, TenorsPage, InstrumentsPage, Refusal)
