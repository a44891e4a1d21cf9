"""What stands in a checkpoint: the posterior, the numbers of the topics and the locks. Pure: no file, no clock."""

import hashlib
from typing import Any, NamedTuple

import msgspec

from kvd import __version__
from kvd.calibrator import Calibrator, CalibratorState
from kvd.calibrator.state import LAYOUT as CALIBRATOR_LAYOUT
from kvd.calibrator.state import StateError, decode, described, encode, settings_of
from kvd.config import Settings
from kvd.latest import Batch
from kvd.quotes import Gap, Lock
from kvd.sinks.checkpoint import Header, Heard, UnfitError, pack, unpack
from kvd.wire import Encoder, EncoderState

RESTARTED = "restarted"
MOST_NAMED = 3  # of the settings that differ


class Posterior(NamedTuple):
    """What a kvd goes on from. Nothing of it changes when the kvd does from which it was taken."""

    calibrator: CalibratorState
    encoder: EncoderState
    locks: tuple[Lock, ...]


class Payload(NamedTuple):
    """A posterior as bytes."""

    calibrator: bytes
    encoder: EncoderState
    locks: tuple[Lock, ...]


class Found(NamedTuple):
    """A posterior that can be taken up, with what its checkpoint says of itself."""

    header: Header
    posterior: Posterior


_DECODER = msgspec.msgpack.Decoder(Payload)
LAYOUT = f"{CALIBRATOR_LAYOUT}-{hashlib.sha256(msgspec.json.encode(described(Payload))).hexdigest()[:8]}"


def packed(posterior: Posterior, settings: Settings, epoch: str, taken_us: int) -> bytes:
    """The bytes of a checkpoint of `posterior` as it was at `taken_us`."""
    header = Header(__version__, LAYOUT, _bound_to(settings), epoch, taken_us, _heard(posterior), len(posterior.locks))
    return pack(header, msgspec.msgpack.encode(Payload(encode(posterior.calibrator), *posterior[1:])))


def unpacked(data: bytes, settings: Settings) -> Found:
    """What a checkpoint holds. Raises UnfitError if this kvd, with these settings, cannot go on from it."""
    header, payload = unpack(data)
    if header.layout != LAYOUT:
        raise UnfitError("unknown", f"is of kvd {header.version} and layout {header.layout}, and this kvd has {LAYOUT}")
    ours = _bound_to(settings)
    if others := sorted(name for name in {*ours, *header.settings} if ours.get(name) != header.settings.get(name)):
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        raise UnfitError("unknown", f"was made under another {', '.join(others[:MOST_NAMED])}{more}")
    try:
        kept = _DECODER.decode(payload)
        posterior = Posterior(decode(kept.calibrator), *kept[1:])
        _rehearse(posterior, header, settings)
    except (msgspec.MsgspecError, ValueError, RecursionError, StateError) as error:  # a key of a dict may be no text
        raise UnfitError("corrupt", f"cannot be decoded: {error}") from None
    return Found(header, posterior)


def gaps(header: Header, now_us: int) -> list[Gap]:
    """That each venue has not been heard since the checkpoint."""
    return [Gap(venue, heard.receive_us, RESTARTED, now_us) for venue, heard in header.venues.items()]


def with_locks(posterior: Posterior, locks: tuple[Lock, ...]) -> Posterior:
    """With these locks, and no others, on the smiles."""
    books = []
    for book in posterior.calibrator.books:
        of = [lock for lock in locks if (lock.venue, lock.underlying) == (book.venue, book.underlying)]
        books.append(book._replace(hand=book.hand._replace(locks=of)))
    return posterior._replace(calibrator=CalibratorState(books), locks=locks)


def _bound_to(settings: Settings) -> dict[str, Any]:
    """The settings under which a checkpoint can be taken up: those of the filter, and whom it listens to."""
    bound = settings_of(settings) | {"deribit.url": settings.deribit.url}
    return dict(msgspec.json.decode(msgspec.json.encode(bound)))  # as a header holds it: of tuples it makes lists


def _heard(posterior: Posterior) -> dict[str, Heard]:
    heard: dict[str, Heard] = {}
    names = dict(posterior.encoder.names)
    for book in posterior.calibrator.books:
        of = heard.get(book.venue, Heard(0, 0, {}))
        expiries = names.get((book.venue, book.underlying), {})
        named = tuple(expiries[e].rpartition(".")[2] for e in sorted(expiries))
        heard[book.venue] = Heard(
            max(of.receive_us, book.receive_us),
            max(of.exchange_us, book.now_us),
            of.underlyings | {book.underlying: named},
        )
    return heard


def _rehearse(posterior: Posterior, header: Header, settings: Settings) -> None:
    """Go on from it once for nobody to see: what the bytes mean may be wrong where none of them is."""
    try:
        calibrator, encoder = Calibrator(settings), Encoder("")
        calibrator.restore(posterior.calibrator)
        encoder.restore(posterior.encoder)
        for gap in gaps(header, header.written_us):
            for update in calibrator.step(Batch(header.written_us, (gap,))):
                encoder.encode(update)
    except Exception as error:
        raise UnfitError("corrupt", f"cannot be gone on from: {type(error).__name__}: {error}") from None
