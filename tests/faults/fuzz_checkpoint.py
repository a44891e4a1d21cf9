"""What may stand in a checkpoint: bytes that were torn or written by somebody else, under a digest that is right."""

from contextlib import suppress

import msgspec
import numpy as np
from mutation import Mutator
from option_chain import DAY, NOW, SECOND, batch, chain

from kvd.app.checkpoint import Payload, Posterior, packed, unpacked
from kvd.calibrator import Calibrator
from kvd.calibrator.state import encode
from kvd.config import Settings
from kvd.sinks.checkpoint import UnfitError, pack, unpack
from kvd.wire import Encoder

SETTINGS = Settings()


def _whole() -> tuple[Posterior, bytes]:
    calibrator, encoder = Calibrator(SETTINGS), Encoder("e")
    for second in range(3):
        quotes = chain(NOW + 30 * DAY, NOW + second * SECOND, strikes=3)
        for update in calibrator.step(batch(*quotes, at_us=NOW + second * SECOND)):
            encoder.encode(update)
    posterior = Posterior(calibrator.state(), encoder.state(), ())
    return posterior, packed(posterior, SETTINGS, "e", NOW + 3 * SECOND)


POSTERIOR, WHOLE = _whole()
HEADER = unpack(WHOLE).header
CALIBRATOR = encode(POSTERIOR.calibrator)


def states(seed: int) -> Mutator:
    """What the calibrator keeps in it, and all of it."""
    return Mutator(seed, [CALIBRATOR, CALIBRATOR, unpack(WHOLE).payload], ("deribit", "BTC", "held", "live"), "msgpack")


def taken_up(data: bytes) -> None:
    """The bytes as the file, as its payload, and as the calibrator's part of that: taken up, or unfit."""
    whole = msgspec.msgpack.encode(Payload(data, *POSTERIOR[1:]))
    for file in (data, pack(HEADER, data), pack(HEADER, whole)):
        with suppress(UnfitError), np.errstate(all="ignore"):
            unpacked(file, SETTINGS)
