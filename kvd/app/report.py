"""The report of a tape: two replays side by side in two processes, judged, written as JSON and as a page."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedWriter
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import orjson

from kvd import __version__
from kvd.app.tape import summary
from kvd.app.trial import Measures, Verdict, try_tape
from kvd.config import Settings
from kvd.feeds.replay import ReplayStatistics
from kvd.feeds.tape import TapeError
from kvd.sinks.record import begin

POLL_S = 0.2


class ReportError(Exception):
    """A report that cannot be made here. The message says the mend."""


class Read(NamedTuple):
    """How much of both replays is done, for a bar of progress."""

    bytes_read: int
    bytes_total: int


class Reported(NamedTuple):
    """What a report came to: counts of the tape, seconds it took, and measures by underlying."""

    statistics: ReplayStatistics
    seconds: float
    underlyings: dict[str, dict[str, Any]]

    def json(self) -> dict[str, Any]:
        """The object that ``kvd report --json`` writes; its top level is that of ``kvd replay --json``."""
        return summary(self.statistics, self.seconds, self.underlyings)


def report(
    path: Path,
    settings: Settings,
    json_file: Path | None = None,
    html_file: Path | None = None,
    progress: Callable[[Read], object] = lambda _: None,
) -> Reported:
    """Judge the smiles of the tape at `path`, a fifth of the instruments withheld, and write what is asked for.

    Raises TapeError, RecordError where a file exists already or cannot be begun, and ReportError without plotly.
    """
    draw = _page() if html_file else None
    began_s = time.perf_counter()
    with ExitStack() as stack:
        files = [stack.enter_context(new_file(f)) if f else None for f in (json_file, html_file)]
        own, other = _both(path, settings, progress)
        measures = {u: _merged(own.measures[u], other[u]) for u in own.measures}
        reported = Reported(own.statistics, time.perf_counter() - began_s, measures)
        if files[0]:
            files[0].write(orjson.dumps(reported.json(), option=orjson.OPT_INDENT_2) + b"\n")
        if files[1] and draw:
            about = {"tape": path.name, "version": __version__, **reported.json()}
            files[1].write(draw(about, own.chronicles, own.violations).encode())
    return reported


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, which goes again if nothing comes of it."""
    with BufferedWriter(begin(path)) as file:
        try:
            yield file
        except BaseException:
            path.unlink()
            raise


def _page() -> Callable[..., str]:
    """What draws the page: plotly, which takes a second to import, is an extra."""
    try:
        from kvd.report.page import page  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "plotly":
            raise
        mend = "install it with: pip install 'kvd[report]'"
        raise ReportError(f"the page needs plotly, which is not installed; {mend}") from None
    return page


def _merged(own: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """kvd's own measures, and beside them those of the contenders by name."""
    rivals = {"backbone": other["backbone"], "refit": other["refit"]}
    return own["kvd"] | rivals | {"mark": own["mark"], "last_value": own["last_value"]}


def _both(path: Path, settings: Settings, progress: Callable[[Read], object]) -> tuple[Verdict, Measures]:
    """The replay with the residual curve here, and the one without it in a process beside."""
    c = settings.calibrator
    whole, backbone = (
        msgspec.structs.replace(settings, calibrator=msgspec.structs.replace(c, hold_out=True, residual=residual))
        for residual in (c.residual, False)
    )
    with _beside(path, backbone) as (answer, there):
        here = try_tape(path, whole, "kvd", lambda s: progress(_read(s, there)))
        while not answer.poll(POLL_S):
            progress(_read(here.statistics, there))
        return here, _received(answer)


def _read(here: ReplayStatistics, there: "Synchronized[int]") -> Read:
    return Read(here.bytes_read + there.value, 2 * here.bytes_total)


@contextmanager
def _beside(path: Path, settings: Settings) -> Iterator[tuple["Connection[Any, Any]", "Synchronized[int]"]]:
    """A process that judges backbone and refit: where its answer comes, and how much of the tape it has read."""
    context = multiprocessing.get_context("spawn")
    there = context.Value("q", 0)
    answer, question = context.Pipe(duplex=False)
    process = context.Process(target=_try_beside, args=(question, there, path, settings), daemon=True)
    process.start()
    question.close()
    try:
        yield answer, there
    finally:
        process.terminate()
        process.join()
        answer.close()


def _try_beside(question: "Connection[Any, Any]", there: "Synchronized[int]", path: Path, settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits

    def note(statistics: ReplayStatistics) -> None:
        there.value = statistics.bytes_read

    try:
        question.send(try_tape(path, settings, "backbone", note).measures)
    except TapeError as error:
        question.send(error)


def _received(answer: "Connection[Any, Any]") -> Measures:
    try:
        found: Measures | TapeError = answer.recv()
    except EOFError:
        raise RuntimeError("the replay of the backbone ended without an answer") from None
    if isinstance(found, TapeError):
        raise found
    return found
