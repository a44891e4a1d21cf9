"""The numbers of every topic: what was heard last, so that a loss is noticed and the stream resumed."""

from kvd.client.frames import Frame

SNAPSHOT_FOLLOWS = frozenset({"new_epoch", "too_old", "unknown_seq"})  # after a gap for one of these reasons


class Chain:
    """The epoch, and by topic the number of its newest message."""

    def __init__(self) -> None:
        self.epoch = ""
        self._last: dict[str, int] = {}

    def missing(self, frame: Frame) -> tuple[int, int] | None:
        """The first and the last number that lie between `frame` and what was heard before it; None if none do."""
        last = self._last.get(frame.topic)
        if last is None or frame.epoch != self.epoch or frame.reason in SNAPSHOT_FOLLOWS:
            return None
        before = frame.from_seq - 1 if frame.type == "gap" else frame.prev_seq
        return None if before is None or before == last else (last + 1, before)

    def hear(self, frame: Frame) -> None:
        """Go on from this message of a topic."""
        if frame.epoch != self.epoch:
            self.epoch = frame.epoch
            self._last.clear()
        if frame.reason in SNAPSHOT_FOLLOWS:
            self.forget(frame.topic)
        else:
            self._last[frame.topic] = frame.to_seq if frame.type == "gap" else frame.seq

    def forget(self, topic: str) -> None:
        """Know no more of `topic`: whatever comes next begins it."""
        self._last.pop(topic, None)

    def seqs(self) -> dict[str, int]:
        """The number to go on from, by topic."""
        return dict(self._last)
