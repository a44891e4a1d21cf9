"""A smile as its JSON bodies.

Numbers are finite or absent, vols are decimals, times are ISO 8601 UTC with microseconds. orjson writes what is not
finite as null, and no body has a null of its own: the guard against publishing one is a search of the bytes.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from kvd.surface import RESIDUAL_KNOTS, DeltaPoints, Locked, Regime, Smile, SurfaceUpdate, delta_points

Kind = Literal["surface", "smile", "atm", "status"]
KNOTS = orjson.Fragment(orjson.dumps(RESIDUAL_KNOTS))


class Record(NamedTuple):
    """What is said of a smile, or of an expiry that left: `small` in `atm` topics, `whole` in all others."""

    whole: bytes
    small: bytes


def encode_smiles(smiles: Sequence[Smile]) -> list[Record]:
    """Encode the smiles of a batch, each once. Raises ValueError naming the field that is not finite."""
    return [_encoded(smile, points) for smile, points in zip(smiles, delta_points(smiles), strict=True)]


def _encoded(smile: Smile, points: DeltaPoints) -> Record:
    small = _atm(smile)
    whole = orjson.dumps(_whole(smile, small, points), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in whole:
        _refuse_non_finite(smile)
    return Record(trim(whole), trim(orjson.dumps(small, option=orjson.OPT_SERIALIZE_NUMPY)))


def trim(encoded: bytes) -> bytes:
    """The same bytes in no more memory than they need: orjson's keep the room in which they were written, 64 KiB."""
    return bytes(memoryview(encoded))


def encode_withdrawn(update: SurfaceUpdate, expiry_us: int) -> Record:
    """What all topics say of an expiry that left."""
    body = {
        "venue": update.venue,
        "underlying": update.underlying,
        "expiry": iso(expiry_us),
        "state": "withdrawn",
        "reason": "expired" if update.publish_us >= expiry_us else "unlisted",
        "since": iso(update.publish_us),
        "publish_time": iso(update.publish_us),
    }
    encoded = trim(orjson.dumps(body))
    return Record(encoded, encoded)


@lru_cache(maxsize=4096)
def iso(us: int) -> str:
    """Microseconds since the epoch as ``2026-12-25T08:00:00.000000Z``."""
    second, micros = divmod(us, 1_000_000)
    return f"{datetime.fromtimestamp(second, UTC).isoformat()[:19]}.{micros:06d}Z"


def _whole(smile: Smile, small: dict[str, object], points: DeltaPoints) -> dict[str, object]:
    body = dict(small)
    p, sd, certificate = smile.parameters, smile.sd, smile.certificate
    body.update(
        tau=smile.tau,
        reason=smile.reason,
        since=iso(smile.since_us),
        curvature=p.curvature,
        curvature_sd=sd.curvature,
        put_wing=p.put_wing,
        put_wing_sd=sd.put_wing,
        call_wing=p.call_wing,
        call_wing_sd=sd.call_wing,
        points=[point._asdict() for point in points.points],
        svi=smile.raw._asdict(),
        jump_wings=smile.jump_wings._asdict(),
        residual={"z": KNOTS, "rho": smile.residual, "vol_sd": smile.vol_sd, "vol_root": smile.vol_root},
        covariance=np.ascontiguousarray(smile.covariance),
        certificate=_present(certificate._asdict()),
        regime=_regime(smile.regime),
        nis_dof=smile.nis_dof,
        quotes=smile.quotes,
        age_s=(smile.publish_us - smile.receive_us) / 1e6,
    )
    perhaps = dict(zip(points._fields[1:], points[1:], strict=True)) | {
        "quoted_low": smile.quoted_low,
        "quoted_high": smile.quoted_high,
        "nis": smile.nis,
        "inside": smile.inside,
        "record": smile.record._asdict() if smile.record else None,
    }
    body.update(_present(perhaps))
    if smile.locked:
        body["locked"] = [_locked(locked) for locked in smile.locked]
    return body


def _locked(locked: Locked) -> dict[str, object]:
    until = None if locked.until_us is None else iso(locked.until_us)
    fields = {name: value for name, value in locked._asdict().items() if name not in {"until_us", "id"}}
    return _present({"id": locked.id or None, **fields, "until": until})


@lru_cache(maxsize=64)
def _regime(regime: Regime) -> orjson.Fragment:
    """All smiles of a batch share it."""
    return orjson.Fragment(orjson.dumps(regime._asdict()))


def _atm(smile: Smile) -> dict[str, object]:
    return {
        "venue": smile.venue,
        "underlying": smile.underlying,
        "expiry": iso(smile.expiry_us),
        "state": smile.state,
        "exchange_time": iso(smile.exchange_us),
        "receive_time": iso(smile.receive_us),
        "publish_time": iso(smile.publish_us),
        "forward": smile.forward._asdict(),
        "atm_vol": smile.parameters.atm_vol,
        "atm_vol_sd": smile.sd.atm_vol,
        "skew": smile.parameters.skew,
        "skew_sd": smile.sd.skew,
    }


def _present(fields: dict[str, Any]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _refuse_non_finite(smile: Smile) -> None:
    """Raise if a number is not finite; a text may well contain the word that brought us here."""
    for name, number in _numbers("", smile):
        if not isfinite(number):
            where = f"{smile.venue} {smile.underlying} {iso(smile.expiry_us)}"
            raise ValueError(f"the smile of {where} must not be published: {name[1:]} is {number}")


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, np.ndarray):
        yield from ((path, float(number)) for number in value.flat)
    elif isinstance(value, tuple):
        names = getattr(value, "_fields", range(len(value)))
        for name, part in zip(names, value, strict=True):
            yield from _numbers(f"{path}.{name}", part)
    elif isinstance(value, float):
        yield path, value
