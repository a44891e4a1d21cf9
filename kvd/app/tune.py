"""Learning settings from tapes: candidates judged side by side in processes, and what was learnt judged elsewhere."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kvd.app.report import new_file
from kvd.app.tape import batches
from kvd.app.trial import try_tape
from kvd.calibrator import Rehearsal
from kvd.config import Settings
from kvd.feeds.replay import replay as replay_tape
from kvd.feeds.tape import read_tapes
from kvd.latest import Batch
from kvd.tune import parameters
from kvd.tune.parameters import Floats
from kvd.tune.search import climb
from kvd.venues import deribit

WARM_UP_US = 600_000_000
# Quotes of a slice err alike for minutes: this part of them counts as independent evidence against the prior
INDEPENDENT = 0.2
PRIOR_SD = 1.0  # of ln of a setting about its default
LOST = -20.0  # what a quote scores that the filter could not take


class Likelihood(NamedTuple):
    """The sum of ln of the predictive density over quotes, warm-up left out, and their number."""

    total: float
    quotes: int

    @property
    def mean(self) -> float:
        """Per quote; 0 of none."""
        return self.total / self.quotes if self.quotes else 0.0


class Learnt(NamedTuple):
    """One setting: its value before and after, and the standard deviation of its ln that the last round's curvature
    says, the prior included and each setting taken alone; None where the likelihood has no top there.
    """

    before: float
    after: float
    sd: float | None


class Tuned(NamedTuple):
    """What tuning came to: settings by name, the training tapes' likelihood before and after, and by judged tape and
    underlying the measures before and after. `stopped` says that it was interrupted; then nothing is judged.
    """

    learnt: dict[str, Learnt]
    before: Likelihood
    after: Likelihood
    evaluations: int
    seconds: float
    stopped: bool
    judged: dict[str, dict[str, dict[str, dict[str, Any]]]]
    toml: str

    def json(self) -> dict[str, Any]:
        """The object that ``kvd tune --json`` prints."""
        training = {"quotes": self.before.quotes, "before": self.before.mean, "after": self.after.mean}
        return {
            "learnt": {name: learnt._asdict() for name, learnt in self.learnt.items()},
            "log_likelihood": training,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
            "judged": self.judged,
        }


class Task(NamedTuple):
    """What is asked for: settings to start from, names of those to learn, tapes to learn from and to judge on."""

    settings: Settings
    names: tuple[str, ...]
    tapes: tuple[Path, ...]
    judges: tuple[Path, ...]
    rounds: int


def tune(
    task: Task,
    toml: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Tuned:
    """Learn `task.names` and judge them; `toml` receives the fragment. Ctrl-C ends the search with the best so far.

    The result does not depend on `workers`. Raises TapeError, and RecordError where `toml` exists or cannot be begun.
    """
    began_s = time.perf_counter()
    for path in {*task.tapes, *task.judges}:
        read_tapes(path, deribit.NAME)  # rather now than after an hour
    with ExitStack() as stack:
        file = stack.enter_context(new_file(toml)) if toml else None
        pool = stack.enter_context(_pool(workers))
        jury = Jury(pool, task, progress)
        stopped, curvature, judged = False, np.full(len(task.names), np.nan), {}
        try:
            for place in climb(parameters.coordinates(jury.start), parameters.limits(task.names), jury, task.rounds):
                curvature = place.curvature
            judged = _judged(pool, task, dict(zip(task.names, jury.best, strict=True)))
        except KeyboardInterrupt:
            stopped = True
        tuned = _tuned(task, jury, curvature)._replace(
            seconds=time.perf_counter() - began_s, stopped=stopped, judged=judged
        )
        if file:
            file.write(tuned.toml.encode())
        return tuned


class Jury:
    """Scores candidates, each tape of each in any process, and remembers the best."""

    def __init__(self, pool: ProcessPoolExecutor, task: Task, progress: Callable[[int, int], object]) -> None:
        self._pool, self._task, self._progress = pool, task, progress
        self._defaults = parameters.defaults(task.names)
        self.start = parameters.values(task.settings, task.names)
        self.known: dict[tuple[float, ...], Likelihood] = {}
        self.best = self.start
        self._score = -np.inf
        self._expected = (2 * len(task.names) + 5) * task.rounds

    def __call__(self, points: Sequence[Floats]) -> list[float]:
        """The score of each point: the likelihood as evidence, less what the prior takes."""
        wanted = [parameters.rounded(point) for point in points]
        fresh = [values for values in dict.fromkeys(wanted) if values not in self.known]
        asked = [(path, self._settings(values)) for values in fresh for path in self._task.tapes]
        told = self._pool.map(_likelihood, *zip(*asked, strict=True)) if asked else iter(())
        for values in fresh:
            parts = [next(told) for _ in self._task.tapes]
            self.known[values] = Likelihood(sum(p.total for p in parts), sum(p.quotes for p in parts))
            if (score := self._scored(values)) > self._score:
                self.best, self._score = values, score
            self._progress(len(self.known), max(self._expected, len(self.known)))
        return [self._scored(values) for values in wanted]

    def _scored(self, values: tuple[float, ...]) -> float:
        away = (parameters.coordinates(values) - self._defaults) / PRIOR_SD
        return INDEPENDENT * self.known[values].total - 0.5 * float(away @ away)

    def _settings(self, values: tuple[float, ...]) -> Settings:
        named = dict(zip(self._task.names, values, strict=True))
        return parameters.replaced(self._task.settings, named | {"calibrator.hold_out": True})


def _tuned(task: Task, jury: Jury, curvature: Floats) -> Tuned:
    """All but the judgement and the time it took."""
    nothing = Likelihood(0.0, 0)
    before = jury.known.get(jury.start, jury.known.get(parameters.rounded(parameters.coordinates(jury.start)), nothing))
    after = jury.known.get(jury.best, nothing)
    sds = np.where(curvature < 0, 1 / np.sqrt(np.maximum(-curvature, 1e-300)), np.nan).tolist()
    learnt = {
        name: Learnt(was, now, sd if np.isfinite(sd) else None)
        for name, was, now, sd in zip(task.names, jury.start, jury.best, sds, strict=True)
    }
    remarks = (
        f"Learnt by kvd tune from {', '.join(path.name for path in task.tapes)}.",
        f"Log likelihood per quote {before.mean:.4f} before, {after.mean:.4f} after, of {after.quotes} quotes.",
    )
    toml = parameters.fragment({name: of.after for name, of in learnt.items()}, remarks)
    return Tuned(learnt, before, after, len(jury.known), 0.0, False, {}, toml)


def _judged(
    pool: ProcessPoolExecutor, task: Task, learnt: dict[str, float]
) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """By tape and underlying, the measures before and after."""
    held_out = parameters.replaced(task.settings, {"calibrator.hold_out": True})
    both = {"before": held_out, "after": parameters.replaced(held_out, learnt)}
    asked = [(path, settings) for path in task.judges for settings in both.values()]
    told = iter(pool.map(_measures, *zip(*asked, strict=True)) if asked else ())
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for path in task.judges:
        for which in both:
            for underlying, measures in next(told).items():
                found.setdefault(path.name, {}).setdefault(underlying, {})[which] = measures
    return found


@contextmanager
def _pool(workers: int | None) -> Iterator[ProcessPoolExecutor]:
    """Processes that leave Ctrl-C to this one, and end with it whatever they are at."""
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers or os.cpu_count(), context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown()


@cache
def _tape(path: Path, settings: Settings) -> tuple[list[Batch], Rehearsal]:
    """A tape as batches, kept for the life of a process, and what is worked out of it only once."""
    tape = replay_tape(path, deribit.Session(settings.deribit))
    return list(batches(tape, settings.calibrator.batch_ms * 1000, lambda _: None)), Rehearsal()


def _likelihood(path: Path, settings: Settings) -> Likelihood:
    """What a filter with `settings` makes of the tape at `path`, quote by quote before it sees them."""
    heard_alike = Settings(deribit=settings.deribit, calibrator=settings.calibrator, forward=settings.forward)
    tape, rehearsal = _tape(path, heard_alike)
    rehearsal.begin(settings)
    total, quotes = 0.0, 0
    for batch in tape:
        facts = rehearsal.step(batch)
        if batch.instant_us >= tape[0].instant_us + WARM_UP_US:
            lost = sum(f.refused.get("not_positive_definite", 0) for f in facts)
            total += sum(f.log_likelihood for f in facts) + LOST * lost
            quotes += sum(f.quotes for f in facts) + lost
    return Likelihood(total, quotes)


def _measures(path: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    return {underlying: by_name["kvd"] for underlying, by_name in try_tape(path, settings, "kvd").measures.items()}
