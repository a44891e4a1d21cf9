"""Option chains with invented quotes: priced by the textbook on a smile that the test knows."""

from math import erf, exp, log, sqrt

from kvd.latest import Batch
from kvd.quotes import Instrument, OptionType, Quote

SECOND, DAY = 1_000_000, 86_400_000_000
NOW = 1_700_000_000 * SECOND
F = 30_000.0


def normal(x: float) -> float:
    return 0.5 * (1 + erf(x / sqrt(2)))


def black(forward: float, strike: float, total_sd: float, option_type: OptionType) -> float:
    """Black (1976), undiscounted."""
    sign = 1 if option_type == "call" else -1
    d1 = log(forward / strike) / total_sd + total_sd / 2
    return sign * (forward * normal(sign * d1) - strike * normal(sign * (d1 - total_sd)))


def smile_vol(k: float, tau: float, atm: float = 0.6, rho: float = -0.3, eta: float = 0.8) -> float:
    """SSVI of one slice: skew rho eta / 2, curvature eta^2 (1 - rho^2) / 2."""
    theta = atm * atm * tau
    y = eta * k / sqrt(theta)
    return sqrt(theta / 2 * (1 + rho * y + sqrt((y + rho) ** 2 + 1 - rho * rho)) / tau)


def instrument(
    expiry_us: int, strike: float, option_type: OptionType | None = None, inverse: bool = True
) -> Instrument:
    """The out-of-the-money option of a strike unless the type is given."""
    option_type = option_type or ("call" if strike >= F else "put")
    name = f"BTC-{expiry_us // DAY}-{strike:g}-{option_type[0].upper()}"
    return Instrument(name, "deribit", "BTC", expiry_us, strike, option_type, inverse, 0.0005 if inverse else 5.0)


def quote(
    of: Instrument, at_us: int = NOW, half: float = 0.01, lift: float = 0.0, forward: float = F, **smile: float
) -> Quote:
    """A two-sided quote `half` a vol either side of the smile, which is lifted by `lift` vols."""
    tau = (of.expiry_us - at_us) / (365 * DAY)
    vol = smile_vol(log(of.strike / forward), tau, **smile) + lift
    unit = forward if of.inverse else 1.0
    bid, ask = (black(forward, of.strike, v * sqrt(tau), of.option_type) / unit for v in (vol - half, vol + half))
    return Quote(of, bid, ask, 1.0, 1.0, vol - half, vol + half, vol, forward, "SYN", at_us, at_us)


def chain(expiry_us: int, at_us: int = NOW, strikes: int = 9, **how: float) -> list[Quote]:
    """Out-of-the-money quotes at strikes evenly spread over two standard deviations either side."""
    tau = (expiry_us - at_us) / (365 * DAY)
    reach = 2 * 0.6 * sqrt(tau)
    ladder = [round(F * exp(reach * (2 * i / (strikes - 1) - 1)), 2) for i in range(strikes)]
    return [quote(instrument(expiry_us, strike), at_us, **how) for strike in ladder]


def batch(*events: object, at_us: int | None = None) -> Batch:
    """What the inbox would cut of `events`, at the newest arrival if no instant is given."""
    instant_us = (
        max((e.receive_us for e in events if hasattr(e, "receive_us")), default=NOW) if at_us is None else at_us
    )
    return Batch(instant_us, tuple(events))
