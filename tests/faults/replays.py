"""R7: a tape replays to the same bytes, run to run, and across putting everything aside and taking it up again.

`kvd replay` writes what it publishes, twice, in processes of its own. Then the same tape goes through calibrators and
encoders that are put aside as bytes at random batches and taken up in fresh objects, now and then in a new process.
"""

import asyncio
import gzip
import itertools
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import numpy as np
import synthetic_tape
from command_line import ROOT, ended, running
from verdicts import Row, Scale

from kvd.app.tape import OUTPUT_KIND, REPLAY_EPOCH, batches
from kvd.calibrator import Calibrator
from kvd.calibrator.state import decode, encode
from kvd.config import Settings
from kvd.feeds.replay import replay as replay_tape
from kvd.latest import Batch
from kvd.venues import deribit
from kvd.wire import Encoder, EncoderState

BITCOIN, ETHER = "deribit-btc-2023-04-12.ndjson.gz", "deribit-eth-2023-04-12.ndjson.gz"
FRAMES = 60_000  # of a tape that is longer
WITHIN_S = 1800.0
SETTINGS = Settings()


class Aside(NamedTuple):
    """All that a replay goes on from."""

    calibrator: bytes
    encoder: EncoderState


class Compared(NamedTuple):
    """What came of one tape."""

    length: int
    again: int  # bytes that differ in a second run
    cuts: int
    processes: int
    across: int  # bytes that differ when it is put aside and taken up


async def replays(scale: Scale) -> Sequence[Row]:
    """Every tape twice, then in pieces."""
    spawned = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder, ProcessPoolExecutor(2, spawned, max_tasks_per_child=1) as pool:
        tapes = _tapes(Path(folder), scale)
        found = await asyncio.gather(*(_compared(tape, pool, scale) for tape in tapes))
    length, cuts, processes = (sum(getattr(one, name) for one in found) for name in ("length", "cuts", "processes"))
    again, across = sum(one.again for one in found), sum(one.across for one in found)
    of = f"{length / 1e6:.1f} MB of {len(found)} tape{'s' * (len(found) > 1)}"
    pieces = f"{cuts} cuts, {processes} processes"
    return [
        Row("R7", "a tape replayed twice", f"{again} bytes differ, {of}", "0 bytes", length > 0 and again == 0),
        Row(
            "R7",
            "put aside and taken up in the middle",
            f"{across} bytes differ, {of}, {pieces}",
            "0 bytes",
            length > 0 and cuts > 0 and across == 0,
        ),
    ]


async def _compared(tape: Path, pool: ProcessPoolExecutor, scale: Scale) -> Compared:
    first, second = await asyncio.gather(*(_published(tape, tape.with_suffix(f".{run}")) for run in "12"))
    scale.say(f"{tape.name}: replayed twice, {len(first) / 1e6:.1f} MB each")
    loop, rng = asyncio.get_running_loop(), np.random.default_rng(scale.seed)
    last = await asyncio.to_thread(_count, tape)
    cuts = sorted(set(rng.integers(1, last, scale.of(200, 20)).tolist()))
    ends = [*sorted(rng.choice(cuts, scale.of(4, 1), replace=False).tolist()), last]
    aside, pieces = None, []
    for begin, end in itertools.pairwise([0, *ends]):
        piece, aside = await loop.run_in_executor(pool, _piece, tape, range(begin, end), cuts, aside)
        pieces.append(piece)
    scale.say(f"{tape.name}: put aside and taken up at {len(cuts)} of {last} batches, in {len(ends)} processes")
    return Compared(len(first), _differing(first, second), len(cuts), len(ends), _differing(first, b"".join(pieces)))


async def _published(tape: Path, output: Path) -> bytes:
    async with running("replay", tape, "--output", output) as process:
        assert await ended(process, WITHIN_S) == 0
    return await asyncio.to_thread(output.read_bytes)


def _count(tape: Path) -> int:
    """How many batches there are."""
    return sum(1 for _ in _batches(tape))


def _piece(tape: Path, of: range, cuts: Iterable[int], aside: Aside | None) -> tuple[bytes, Aside]:
    """What is published of the batches `of` a tape, put aside and taken up at each of the `cuts`, and what goes on."""
    cuts, lines = set(cuts), []
    calibrator, encoder = _taken_up(aside)
    for number, batch in zip(of, itertools.islice(_batches(tape), of.start, of.stop), strict=True):
        if number in cuts:
            calibrator, encoder = _taken_up(_put_aside(calibrator, encoder))
        for update in calibrator.step(batch):
            lines += [m.payload + b"\n" for m in encoder.encode(update) if m.kind == OUTPUT_KIND]
    return b"".join(lines), _put_aside(calibrator, encoder)


def _put_aside(calibrator: Calibrator, encoder: Encoder) -> Aside:
    return msgspec.msgpack.decode(
        msgspec.msgpack.encode(Aside(encode(calibrator.state()), encoder.state())), type=Aside
    )


def _taken_up(aside: Aside | None) -> tuple[Calibrator, Encoder]:
    calibrator, encoder = Calibrator(SETTINGS), Encoder(REPLAY_EPOCH)
    if aside is not None:
        calibrator.restore(decode(aside.calibrator))
        encoder.restore(aside.encoder)
    return calibrator, encoder


def _batches(tape: Path) -> Iterable[Batch]:
    events = replay_tape(tape, deribit.Session(SETTINGS.deribit))
    return batches(events, SETTINGS.calibrator.batch_ms * 1000, lambda _: None)


def _differing(left: bytes, right: bytes) -> int:
    """How many bytes are not the same, beside each other."""
    if left == right:
        return 0
    n = min(len(left), len(right))
    both = [np.frombuffer(part[:n], np.uint8) for part in (left, right)]
    return int(np.count_nonzero(both[0] != both[1])) + abs(len(left) - len(right))


def _tapes(folder: Path, scale: Scale) -> list[Path]:
    """The synthetic tape with interruptions; in the whole form also real ones, where they are."""
    made = folder / "synthetic.ndjson"
    synthetic_tape.write(made, seconds=scale.of(300, 60), seed=scale.seed)
    lines = made.read_bytes().splitlines(keepends=True)
    for at in np.random.default_rng(scale.seed).integers(1, len(lines), 5).tolist():
        lines.insert(at, b"\n")
    made.write_bytes(b"".join(lines))
    real = Path(os.environ.get("KVD_DATA") or ROOT.parent / "shared" / "data") / "tapes"
    if scale.short or not real.is_dir():
        return [made]
    with gzip.open(real / BITCOIN) as whole:
        (folder / "bitcoin.ndjson").write_bytes(b"".join(itertools.islice(whole, FRAMES)))
    (folder / "ether.ndjson").write_bytes(gzip.decompress((real / ETHER).read_bytes()))
    return [made, folder / "bitcoin.ndjson", folder / "ether.ndjson"]
