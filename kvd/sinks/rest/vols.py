"""The vol of a smile at strikes."""

import numpy as np

from kvd.sinks.answers import Page, answer
from kvd.sinks.history import Family
from kvd.sinks.rest.asked import LONGEST, Query, Refused, families, needed, perhaps, positives
from kvd.surface import Smile
from kvd.wire import Encoder, decode, iso

MOST_STRIKES = 100


def vol(query: Query, encoder: Encoder) -> Page:
    """Vol and standard deviation at each strike asked for, by venue."""
    underlying = needed(query, "underlying", "underlying=BTC")
    expiry = needed(query, "expiry", "expiry=2026-12-25, as topics name it")
    strikes = positives(query, "strike", MOST_STRIKES)
    found = families(encoder, underlying, perhaps(query, "venue"))
    smiles = [smile for family in found if (smile := _smile(encoder, family, expiry)) is not None]
    if not smiles:
        there = ", ".join(sorted({name for family in found for name in _expiries(encoder, family)}))
        raise Refused(404, "no_expiry", f"{underlying} has no expiry {expiry[:LONGEST]!r}; there are {there}")
    vols = [_at(smile, np.array(strikes)) for smile in smiles]
    return answer({"underlying": underlying, "epoch": encoder.epoch, "vols": vols})


def _expiries(encoder: Encoder, family: Family) -> list[str]:
    """The expiries that a surface has now, as topics name them."""
    stem = f"smile.{family[0]}.{family[1]}."
    return [topic.removeprefix(stem) for topic in encoder.topics() if topic.startswith(stem)]


def _smile(encoder: Encoder, family: Family, expiry: str) -> Smile | None:
    """What was last sent of one expiry."""
    if expiry not in _expiries(encoder, family):
        return None
    smiles = decode(encoder.snapshot(f"smile.{family[0]}.{family[1]}.{expiry}")).smiles
    return smiles[0] if smiles else None


def _at(smile: Smile, strikes: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, object]:
    k = np.log(strikes / smile.forward.value)
    certified = (smile.certificate.k_low <= k) & (k <= smile.certificate.k_high)
    columns = (strikes, k, smile.vol(strikes), smile.sd_of_vol(strikes), certified)
    names = ("strike", "k", "vol", "sd", "certified")
    return {
        "venue": smile.venue,
        "expiry": iso(smile.expiry_us),
        "state": smile.state,
        "reason": smile.reason,
        "publish_time": iso(smile.publish_us),
        "tau": smile.tau,
        "forward": smile.forward._asdict(),
        "strikes": [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)],
    }
