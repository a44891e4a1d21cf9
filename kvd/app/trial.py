"""One replay of a tape with everybody watching: contenders, checker, and the chronicle for the page."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from kvd.app.cost import Cost
from kvd.app.tape import batches, by_underlying
from kvd.calibrator import Calibrator
from kvd.checker import Checker, Violation
from kvd.config import Settings
from kvd.feeds.replay import ReplayStatistics
from kvd.feeds.replay import replay as replay_tape
from kvd.quality import Contender, Contest, LastValue, Ledger, Mark, Published, Refit
from kvd.quotes import Quote, held_out
from kvd.report.chronicle import Chronicle, Moment
from kvd.surface import SurfaceUpdate
from kvd.venues import deribit

PROVEN = ("butterfly", "calendar")
KEPT_VIOLATIONS = 200


Measures = dict[str, dict[str, dict[str, Any]]]  # by underlying, by contender, by name


class Verdict(NamedTuple):
    """What one replay came to: counts of the tape, and by underlying the measures of each contender, its course, and
    the first violations with the instants of their publication.
    """

    statistics: ReplayStatistics
    measures: Measures
    chronicles: dict[str, Chronicle]
    violations: dict[str, list[tuple[int, Violation]]]


class Trial:
    """One underlying: the smiles published under the name `own`, judged beside others on the same quotes."""

    def __init__(self, own: str, seed: str) -> None:
        withheld = cache(partial(held_out, seed))
        self._own = own
        self._published, self._ledger, self._checker = Published(), Ledger(), Checker()
        self._found: Counter[str] = Counter()
        self.violations: list[tuple[int, Violation]] = []
        self.chronicle = Chronicle()
        self._refit = Refit(withheld, time.process_time)
        others: dict[str, Contender] = (
            {"mark": Mark(), "last_value": LastValue()} if own == "kvd" else {"refit": self._refit}
        )
        self._contest = Contest(withheld, {own: self._published} | others)

    def hear(self, quotes: Sequence[Quote], now_us: int) -> None:
        """Take the quotes of a batch before the calibrator does."""
        self._contest.hear(quotes, now_us)
        if self._published.smiles and self.chronicle.is_due(now_us):
            self._keep(now_us)

    def see(self, update: SurfaceUpdate) -> None:
        """Take what was published."""
        found = self._checker.see(update)
        self._found.update(kind for _, kind in {(v.expiry_us, v.kind) for v in found})
        self.violations += [(update.publish_us, v) for v in found[: KEPT_VIOLATIONS - len(self.violations)]]
        self._published.see(update)
        self._ledger.see(update)
        self.chronicle.see(update)

    @property
    def touched(self) -> int:
        """How many slice updates there were."""
        return self._ledger.touched

    def close(self) -> None:
        """The tape is over."""
        if self._published.smiles:
            self._keep(self.chronicle.ended_us)

    def measures(self, costs: Mapping[str, float]) -> dict[str, dict[str, Any]]:
        """The measures by contender; `costs` is what a slice update cost, in microseconds of processor time."""
        found = {name: self._contest.measures(name) for name in self._contest.scores}
        by_kind = {kind: self._found[kind] for kind in PROVEN}
        found[self._own] |= self._ledger.measures()
        found[self._own] |= {
            "violations": by_kind,
            "false_certificates": self._found.total() - sum(by_kind.values()),
            "diverged": self._contest.scores[self._own].diverged,
            "slice_updates": self.touched,
        }
        found[self._own] |= costs
        if "refit" in found and self._refit.fitted:
            found["refit"]["slice_updates"] = self._refit.fitted
            found["refit"]["update_us_per_slice"] = 1e6 * self._refit.spent_s / self._refit.fitted
        return found

    def _keep(self, at_us: int) -> None:
        self.chronicle.keep(Moment(at_us, dict(self._published.smiles), self._contest.recent(at_us)))


def try_tape(
    path: Path, settings: Settings, own: str, progress: Callable[[ReplayStatistics], object] = lambda _: None
) -> Verdict:
    """Replay the tape at `path`; `own` is "kvd", judged beside mark and last value, or "backbone", beside the refit.

    Raises TapeError.
    """
    calibrator, tape = Calibrator(settings), replay_tape(path, deribit.Session(settings.deribit))
    trials: dict[str, Trial] = {}
    spent_s, cost = 0.0, Cost()
    for batch in batches(tape, settings.calibrator.batch_ms * 1000, progress):
        for underlying, quotes in by_underlying(batch).items():
            if underlying not in trials:
                trials[underlying] = Trial(own, settings.calibrator.hold_out_seed)
            trials[underlying].hear(quotes, batch.instant_us)
        began_s = time.process_time()
        updates = calibrator.step(batch)
        spent_s += time.process_time() - began_s
        for work in calibrator.works():
            cost.see(work)
        for update in updates:
            if update.underlying in trials:
                trials[update.underlying].see(update)
    for trial in trials.values():
        trial.close()
    touched = sum(trial.touched for trial in trials.values())
    costs = {"step_us_per_slice": 1e6 * spent_s / touched, **cost.of(settings.measurement)} if touched else {}
    return Verdict(
        tape.statistics(),
        {underlying: trial.measures(costs) for underlying, trial in trials.items()},
        {underlying: trial.chronicle for underlying, trial in trials.items()},
        {underlying: trial.violations for underlying, trial in trials.items()},
    )
