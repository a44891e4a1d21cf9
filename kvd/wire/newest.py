"""What was sent last of every smile at either of the two speeds: what snapshots and pages show, and what a new smile is
measured against.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from kvd.surface import Smile
from kvd.wire.body import Kind, Record, encode_smiles
from kvd.wire.moved import EVERYTHING, Mark, Moved, mark_small, mark_whole
from kvd.wire.naming import Family

SLOW: tuple[Kind, ...] = ("surface", "smile")
FAST: tuple[Kind, ...] = ("atm",)


class Sent(NamedTuple):
    """The bodies of one smile that were sent last, in topics of `kinds` just now, and their marks (None: unmarked)."""

    expiry_us: int
    kinds: tuple[Kind, ...]
    record: Record
    whole_mark: Mark | None
    small_mark: Mark | None


class Newest:
    """Decides with `moved` what is worth sending; `unmoved` counts by speed (smile, atm) what was not."""

    def __init__(self, moved: Moved = EVERYTHING) -> None:
        self._moved = moved
        self._sent: dict[Family, dict[int, Sent]] = {}
        self.unmoved: Counter[str] = Counter()

    def of(self, family: Family) -> list[Record]:
        """What was sent last of each expiry, the nearest first."""
        sent = self._sent.get(family, {})
        return [sent[expiry_us].record for expiry_us in sorted(sent)]

    def families(self) -> list[Family]:
        """Those that have smiles now."""
        return [family for family, sent in self._sent.items() if sent]

    def get(self, family: Family, expiry_us: int) -> Record | None:
        """What was sent last of one expiry."""
        sent = self._sent.get(family, {}).get(expiry_us)
        return sent.record if sent else None

    def take(self, family: Family, smiles: Sequence[Smile]) -> list[Sent]:
        """What is to be sent of a batch's `smiles` now, remembered as sent; those that have not moved are not in it.

        Raises ValueError if one of them must not be sent; then nothing is remembered.
        """
        last = self._sent.setdefault(family, {})
        judged = [self._judge(last.get(smile.expiry_us), smile) for smile in smiles]
        moving = [(smile, sent) for smile, sent in zip(smiles, judged, strict=True) if sent.kinds]
        records = encode_smiles([smile for smile, _ in moving])
        taken = [_with(sent, record) for (_, sent), record in zip(moving, records, strict=True)]
        for sent in judged:
            self.unmoved.update(kind for kind in ("smile", "atm") if kind not in sent.kinds)
        last.update((sent.expiry_us, sent) for sent in taken)
        return taken

    def forget(self, family: Family, expiry_us: int) -> None:
        """The expiry has left."""
        self._sent.get(family, {}).pop(expiry_us, None)

    def _judge(self, last: Sent | None, smile: Smile) -> Sent:
        """What to send of `smile`, with its marks but the bodies of the `last`: there is none before the first."""
        whole = mark_whole(smile) if self._moved.whole else None
        small = mark_small(smile) if self._moved.small else None
        if last is None:
            return Sent(smile.expiry_us, SLOW + FAST, Record(b"", b""), whole, small)
        slow = self._moved.is_whole(last.whole_mark, whole)
        fast = self._moved.is_small(last.small_mark, small)
        return Sent(
            smile.expiry_us,
            SLOW * slow + FAST * fast,
            last.record,
            whole if slow else last.whole_mark,
            small if fast else last.small_mark,
        )


def _with(sent: Sent, record: Record) -> Sent:
    """With `record` where it is sent now; what is not sent now stays what it was."""
    whole = record.whole if "smile" in sent.kinds else sent.record.whole
    small = record.small if "atm" in sent.kinds else sent.record.small
    return sent._replace(record=Record(whole, small))
