"""How far a smile may be trusted: live -> widened -> predicted -> held -> withdrawn, with the reason and since when."""

from msgspec import Struct

from kvd.config import Calibrator
from kvd.core.whiteness import Sums, TrackRecord
from kvd.surface import State


class Rung(Struct):
    """Where one expiry stands on the ladder. Times are the venue's, in microseconds.

    `record` is how well its smile has predicted its quotes lately (None before any), `sums` what that comes from, and
    `doubt` the reason which that gives to widen its band, if any (`kvd.calibrator.watch`).
    """

    since_us: int
    state: State = "widened"
    reason: str = "new"
    applied_us: int | None = None
    gap_reason: str = ""
    sums: Sums = Sums()
    record: TrackRecord | None = None
    doubt: str = ""

    def judge(self, now_us: int, level_sd: float, settling: bool, c: Calibrator) -> tuple[State, str]:
        """The state and reason that fit what is known now.

        `level_sd` is the standard deviation of ln ATM vol; `settling` says that the settlement average has begun.
        """
        if settling:
            return "predicted", "settling"
        if self.applied_us is None:
            return "widened", "new"
        if now_us - self.applied_us > c.predicted_after_s * 1e6:
            return "predicted", "no_quotes"
        if self.gap_reason:
            return "widened", self.gap_reason
        if level_sd > c.widened_above_sd:
            return "widened", "uncertain"
        if self.doubt:
            return "widened", self.doubt
        return "live", ""

    def enter(self, now_us: int, state: State, reason: str) -> None:
        """Stand on this rung; the time is kept from the first of consecutive equal calls."""
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.since_us = state, reason, now_us

    def applied(self, now_us: int) -> None:
        """Quotes of this expiry entered the filter."""
        self.applied_us = now_us
        self.gap_reason = ""
