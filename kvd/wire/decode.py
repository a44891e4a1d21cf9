"""Bytes -> smiles, for clients and tests: what `kvd.wire.encoder` wrote comes back equal."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from kvd.quotes import LockOf
from kvd.surface import Certificate, Forward, JumpWings, Locked, Parameters, RawSvi, Regime, Smile, State, TrackRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_T = TypeVar("_T")


class Received(NamedTuple):
    """An update or a snapshot of a `surface` or `smile` topic. `prev_seq` is None in a snapshot."""

    type: str
    topic: str
    seq: int
    prev_seq: int | None
    epoch: str
    smiles: tuple[Smile, ...]
    withdrawn: tuple[int, ...]


class _Forward(Struct):
    value: float
    sd: float
    source: str


class _Certificate(Struct):
    k_low: float
    k_high: float
    points: int
    butterfly: float
    method: str
    calendar: float | None = None


class _RawSvi(Struct):
    a: float
    b: float
    rho: float
    m: float
    sigma: float


class _JumpWings(Struct):
    v: float
    psi: float
    p: float
    c: float
    v_min: float


class _Residual(Struct):
    rho: tuple[float, ...]
    vol_sd: tuple[float, ...]
    vol_root: tuple[float, ...]


class _Record(Struct):
    quotes: float
    nis: float
    coverage: tuple[float, float, float]
    batches: float
    common: float
    whiteness: float
    widened_by: float


class _Regime(Struct):
    calm: float
    active: float
    shock: float
    ssr: float
    ssr_sd: float


class _Locked(Struct):
    of: LockOf
    value: float
    sd: float
    author: str
    market: float
    id: str = ""
    strike: float | None = None
    until: datetime | None = None


class _Body(Struct):
    venue: str
    underlying: str
    expiry: datetime
    tau: float
    forward: _Forward
    atm_vol: float
    atm_vol_sd: float
    skew: float
    skew_sd: float
    curvature: float
    curvature_sd: float
    put_wing: float
    put_wing_sd: float
    call_wing: float
    call_wing_sd: float
    svi: _RawSvi
    jump_wings: _JumpWings
    residual: _Residual
    certificate: _Certificate
    regime: _Regime
    state: State
    reason: str
    since: datetime
    exchange_time: datetime
    receive_time: datetime
    publish_time: datetime
    nis_dof: int
    quotes: int
    covariance: list[list[float]]
    locked: list[_Locked] = []
    quoted_low: float | None = None
    quoted_high: float | None = None
    nis: float | None = None
    inside: float | None = None
    record: _Record | None = None


class _Head(Struct):
    expiry: datetime
    state: State


class _Envelope(Struct):
    type: str
    topic: str
    seq: int
    epoch: str
    prev_seq: int | None = None
    smile: msgspec.Raw = msgspec.Raw()
    smiles: list[msgspec.Raw] = []


_envelope = msgspec.json.Decoder(_Envelope)
_head = msgspec.json.Decoder(_Head)
_body = msgspec.json.Decoder(_Body)


def decode(payload: bytes | str) -> Received:
    """Decode an update or snapshot of a `surface` or `smile` topic; msgspec.ValidationError says what is wrong."""
    envelope = _envelope.decode(payload)
    bodies = [envelope.smile] if memoryview(envelope.smile).nbytes else envelope.smiles
    heads = [_head.decode(body) for body in bodies]
    smiles = tuple(decode_smile(body) for body, head in zip(bodies, heads, strict=True) if head.state != "withdrawn")
    withdrawn = tuple(_us(head.expiry) for head in heads if head.state == "withdrawn")
    return Received(envelope.type, envelope.topic, envelope.seq, envelope.prev_seq, envelope.epoch, smiles, withdrawn)


def decode_smile(body: bytes | str | msgspec.Raw) -> Smile:
    """One smile's body, as in a `surface` or `smile` topic or in ``/v1/surface/{underlying}``."""
    got = _body.decode(body)
    return Smile(
        venue=got.venue,
        underlying=got.underlying,
        expiry_us=_us(got.expiry),
        tau=got.tau,
        forward=_tuple(Forward, got.forward),
        parameters=Parameters(*(getattr(got, name) for name in Parameters._fields)),
        sd=Parameters(*(getattr(got, f"{name}_sd") for name in Parameters._fields)),
        raw=_tuple(RawSvi, got.svi),
        jump_wings=_tuple(JumpWings, got.jump_wings),
        residual=got.residual.rho,
        vol_sd=got.residual.vol_sd,
        vol_root=got.residual.vol_root,
        covariance=np.array(got.covariance, dtype=np.float64),
        quoted_low=got.quoted_low,
        quoted_high=got.quoted_high,
        certificate=_tuple(Certificate, got.certificate),
        regime=_tuple(Regime, got.regime),
        nis=got.nis,
        nis_dof=got.nis_dof,
        inside=got.inside,
        quotes=got.quotes,
        record=_tuple(TrackRecord, got.record) if got.record else None,
        locked=tuple(_locked(one) for one in got.locked),
        state=got.state,
        reason=got.reason,
        since_us=_us(got.since),
        exchange_us=_us(got.exchange_time),
        receive_us=_us(got.receive_time),
        publish_us=_us(got.publish_time),
    )


def _locked(one: _Locked) -> Locked:
    until_us = None if one.until is None else _us(one.until)
    return Locked(one.id, one.of, one.strike, one.value, one.sd, one.author, until_us, one.market)


def _tuple(record: type[_T], fields: Any) -> _T:
    return record(**msgspec.structs.asdict(fields))


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
