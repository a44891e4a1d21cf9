"""What the surfaces were: one a minute of each underlying, compressed, for as long as is configured."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import zstandard

from kvd.surface import SurfaceUpdate
from kvd.wire import Encoder

MINUTE_US = 60_000_000
LEVEL = 1  # digits: higher levels take longer and find nothing more

Family = tuple[str, str]  # venue, underlying


class Kept(NamedTuple):
    """A surface as it stood at `instant_us`, a whole minute: the topic's `seq` by then, and a JSON array of smiles."""

    instant_us: int
    seq: int
    packed: bytes

    @property
    def smiles(self) -> bytes:
        """The JSON array of the smiles' bodies."""
        return zstandard.decompress(self.packed)


class History:
    """The surfaces of the last `hours`, by venue and underlying. Of 12 expiries an hour takes about 1.4 MB.

    A surface is kept as of the first whole minute at or after what was published last; of minutes in which nothing was
    published nothing is kept, for the surface stood still.
    """

    def __init__(self, hours: float) -> None:
        self._most = round(hours * 60)
        self._kept: dict[Family, deque[Kept]] = {}
        self._published_us: dict[Family, int] = {}

    def before(self, update: SurfaceUpdate, encoder: Encoder) -> None:
        """Be told of an `update` before `encoder` is: what it has sent till then is what stood at the minute's turn."""
        family = (update.venue, update.underlying)
        last_us = self._published_us.get(family)
        self._published_us[family] = update.publish_us
        if last_us is None or not self._most:
            return
        instant_us = _end_of_minute(last_us)
        if instant_us < update.publish_us:
            seq = encoder.seq(f"surface.{update.venue}.{update.underlying}")
            self._keep(family, instant_us, seq, encoder.surfaces().get(family, []))

    def at(self, family: Family, instant_us: int) -> Kept | None:
        """The newest surface kept at or before `instant_us`, or None."""
        kept = self._kept.get(family, ())
        return next((one for one in reversed(kept) if one.instant_us <= instant_us), None)

    def span(self, family: Family) -> tuple[int, int] | None:
        """The first and the last instant of which a surface is kept, or None."""
        kept = self._kept.get(family)
        return (kept[0].instant_us, kept[-1].instant_us) if kept else None

    def _keep(self, family: Family, instant_us: int, seq: int, smiles: Sequence[bytes]) -> None:
        packed = zstandard.compress(b"[" + b",".join(smiles) + b"]", LEVEL)
        kept = self._kept.setdefault(family, deque(maxlen=self._most))
        kept.append(Kept(instant_us, seq, packed))
        while kept[0].instant_us <= instant_us - self._most * MINUTE_US:
            kept.popleft()


def _end_of_minute(us: int) -> int:
    """The first whole minute at or after `us`."""
    return -(-us // MINUTE_US) * MINUTE_US
