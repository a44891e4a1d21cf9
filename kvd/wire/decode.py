"""Bytes -> smiles, for clients and tests: what `kvd.wire.encoder` wrote comes back equal."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from kvd.surface import Certificate, Forward, JumpWings, Locked, Parameters, RawSvi, Regime, Smile, State, TrackRecord
from kvd.wire.coding import reader
from kvd.wire.schema import bodies

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


class Atm(NamedTuple):
    """The small, fast record of one expiry, as in `atm` topics; the fields are those of `Smile`."""

    venue: str
    underlying: str
    expiry_us: int
    forward: Forward
    atm_vol: float
    atm_vol_sd: float
    skew: float
    skew_sd: float
    state: State
    exchange_us: int
    receive_us: int
    publish_us: int


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


_envelope = reader(_Envelope)
_head = reader(_Head)
_body = reader(bodies.Smile)
_atm = reader(bodies.Atm)


def decode(payload: bytes | str) -> Received:
    """Decode an update or snapshot of a `surface` or `smile` topic; msgspec.DecodeError says what is wrong."""
    envelope = _envelope(payload)
    told = [envelope.smile] if memoryview(envelope.smile).nbytes else envelope.smiles
    heads = [_head(body) for body in told]
    smiles = tuple(decode_smile(body) for body, head in zip(told, heads, strict=True) if head.state != "withdrawn")
    withdrawn = tuple(_us(head.expiry) for head in heads if head.state == "withdrawn")
    return Received(envelope.type, envelope.topic, envelope.seq, envelope.prev_seq, envelope.epoch, smiles, withdrawn)


def decode_smile(body: bytes | str | msgspec.Raw) -> Smile:
    """One smile's body, as in a `surface` or `smile` topic or in ``/v1/surface/{underlying}``."""
    got = _body(body)
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
        vol_root=np.array(got.residual.vol_root, dtype=np.float64),
        covariance=np.array(got.covariance, dtype=np.float64),
        quoted_low=_given(got.quoted_low),
        quoted_high=_given(got.quoted_high),
        certificate=_tuple(Certificate, got.certificate),
        regime=_tuple(Regime, got.regime),
        nis=_given(got.nis),
        nis_dof=got.nis_dof,
        inside=_given(got.inside),
        quotes=got.quotes,
        record=_tuple(TrackRecord, got.record) if got.record else None,
        locked=tuple(_locked(one) for one in got.locked or ()),
        state=got.state,
        reason=got.reason,
        since_us=_us(got.since),
        exchange_us=_us(got.exchange_time),
        receive_us=_us(got.receive_time),
        publish_us=_us(got.publish_time),
    )


def decode_atm(body: bytes | str | msgspec.Raw) -> Atm:
    """One record of an `atm` topic."""
    got = _atm(body)
    numbers = got.atm_vol, got.atm_vol_sd, got.skew, got.skew_sd
    times = _us(got.exchange_time), _us(got.receive_time), _us(got.publish_time)
    forward = _tuple(Forward, got.forward)
    return Atm(got.venue, got.underlying, _us(got.expiry), forward, *numbers, got.state, *times)


def _locked(one: bodies.Locked) -> Locked:
    until = _given(one.until)
    return Locked(
        id=_given(one.id) or "",
        of=one.of,
        strike=_given(one.strike),
        value=one.value,
        sd=one.sd,
        author=one.author,
        until_us=None if until is None else _us(until),
        market=one.market,
    )


def _given(value: _T | UnsetType) -> _T | None:
    """A field that may be absent."""
    return None if value is UNSET else value


def _tuple(record: type[_T], fields: Struct) -> _T:
    return record(**{name: _given(value) for name, value in msgspec.structs.asdict(fields).items()})


def _us(instant: datetime) -> int:
    if instant.tzinfo is None:
        raise msgspec.ValidationError(f"{instant.isoformat()} says no zone: instants are UTC, with a Z")
    return (instant - _EPOCH) // timedelta(microseconds=1)
