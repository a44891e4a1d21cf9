"""Fields that several public messages share, each with its limits and its meaning in a sentence."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

PART = r"[A-Za-z0-9_:-]{1,64}"  # of a topic, between two dots
_MICROSECONDS = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"
EXPIRY_NAME = r"\d{4}-\d\d-\d\d(T\d\d:\d\d)?"


def instant(description: str) -> Any:
    """The meta data of an instant as kvd writes it: ISO 8601, UTC, with microseconds."""
    words = f"{description} ISO 8601, UTC, with microseconds."
    return Meta(tz=True, description=words, extra_json_schema={"pattern": _MICROSECONDS})


def topic(description: str, pattern: str) -> Any:
    """The meta data of a topic's name."""
    return Meta(description=description, pattern=pattern)


# A number that a smile says is finite; msgspec reads no NaN from JSON, and JSON Schema knows none.
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]

Venue = Annotated[str, Meta(min_length=1, description="The exchange, by its short name, such as deribit.")]
Underlying = Annotated[
    str,
    Meta(
        min_length=1,
        description="The family of options that shares a surface: BTC (coin-margined) and BTC_USDC (linear) are two.",
    ),
]
Expiry = Annotated[datetime, instant("When the options settle.")]
ExpiryName = Annotated[
    str,
    Meta(
        pattern=f"^{EXPIRY_NAME}$",
        description="The expiry as topics name it: its date, or its minute if another expiry came first on that date.",
    ),
]
ExchangeTime = Annotated[datetime, instant("When the newest quote was made, by the exchange's clock.")]
ReceiveTime = Annotated[datetime, instant("When the newest quote arrived, by kvd's clock.")]
PublishTime = Annotated[datetime, instant("The end of the batch of quotes that made this, an instant of kvd's grid.")]

State = Annotated[
    Literal["live", "widened", "predicted", "held"],
    Meta(
        description="How far to trust the smile: live; widened, uncertain for the reason given; predicted, moved "
        "without quotes of its own; held, the last good one again."
    ),
]
Reason = Annotated[str, Meta(description="Why the state is what it is, a short stable text; empty when live.")]
Since = Annotated[datetime, instant("Since when the state has been what it is.")]

AtmVol = Annotated[float, Meta(gt=0, description="ATM vol, sqrt(w0 / tau): the vol at the forward, a decimal.")]
AtmVolSd = Annotated[float, Meta(ge=0, description="Standard deviation of atm_vol.")]
Skew = Annotated[
    float, Meta(description="The K value, omega'(0) / 2 with z = k / sqrt(w0) and omega(z) = w(k) / w0; no unit.")
]
SkewSd = Annotated[float, Meta(ge=0, description="Standard deviation of skew.")]

SurfaceOrSmileTopic = Annotated[
    str,
    topic(
        "surface.{venue}.{underlying} or smile.{venue}.{underlying}.{expiry}.",
        rf"^(surface\.{PART}\.{PART}|smile\.{PART}\.{PART}\.{EXPIRY_NAME})$",
    ),
]
AtmTopic = Annotated[str, topic("atm.{venue}.{underlying}.", rf"^atm\.{PART}\.{PART}$")]
AnyTopic = Annotated[
    str, topic("Any topic.", rf"^(status|(surface|atm)\.{PART}\.{PART}|smile\.{PART}\.{PART}\.{EXPIRY_NAME})$")
]
Topics = Annotated[
    list[Annotated[str, Meta(min_length=1)]],
    Meta(min_length=1, description="Topics or patterns, in which * stands for any one part."),
]

Seq = Annotated[int, Meta(ge=1, description="The number of this message in its topic, from 1, within an epoch.")]
NewestSeq = Annotated[
    int, Meta(ge=0, description="The number of the topic's newest message: the next update has it as prev_seq.")
]
PrevSeq = Annotated[
    int, Meta(ge=0, description="The number of the message before it in its topic; 0 before the first.")
]
Epoch = Annotated[
    str,
    Meta(
        description="An opaque text, new whenever kvd starts: numbers of two epochs have nothing to do with each other."
    ),
]
