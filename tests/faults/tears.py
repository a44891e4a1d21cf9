"""R6, of `kills`: checkpoints that were torn, flipped, mixed or made by another kvd, under starts of the real thing."""

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from structlog.testing import capture_logs
from verdicts import Row, Scale
from victims import Victim

from kvd.app.daemon import Daemon
from kvd.config import Settings, load
from kvd.sinks.checkpoint import pack, unpack

Mischief = Callable[[bytes, random.Random], bytes]
GENERATIONS = ("kvd.checkpoint", "kvd.checkpoint.previous")


async def tears(daemon: Victim, scale: Scale) -> Sequence[Row]:
    """From the checkpoint that `daemon` has left: many starts within this process, and some of `daemon` itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(tempfile.mkdtemp(dir=name))
        settings = load(None, daemon.environ(folder)).settings
        within = await _many(daemon.path.parent, folder, settings, scale)
    return [within, await _real(daemon.path.parent, daemon, scale)]


def _cut(data: bytes, drawn: random.Random) -> bytes:
    return data[: drawn.randrange(1, len(data))]


def _flipped(data: bytes, drawn: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(drawn.randint(1, 8)):
        changed[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
    return bytes(changed) if changed != data else _cut(data, drawn)


def _emptied(data: bytes, drawn: random.Random) -> bytes:
    """Zeros from somewhere on, as a file system may leave them."""
    end = drawn.randrange(len(data) // 2)
    return data[:end] + bytes(len(data) - end)


def _mixed(data: bytes, drawn: random.Random) -> bytes:
    """A piece of it twice, or left out: blocks of two generations."""
    at, by = drawn.randrange(len(data)), drawn.randint(1, 4096)
    return data[:at] + data[max(0, at - by) :] if drawn.random() < 0.5 else data[:at] + data[at + by :]


def _of_the_future(data: bytes, drawn: random.Random) -> bytes:
    return data.replace(b"kvd checkpoint 1", b"kvd checkpoint %d" % drawn.randint(2, 99), 1)


def _of_another_layout(data: bytes, drawn: random.Random) -> bytes:
    header, payload = unpack(data)
    return pack(msgspec.structs.replace(header, layout=f"{drawn.randint(2, 99)}-0123"), payload)


def _of_other_settings(data: bytes, drawn: random.Random) -> bytes:
    header, payload = unpack(data)
    other = dict(header.settings)
    other[drawn.choice(sorted(other))] = "another"
    return pack(msgspec.structs.replace(header, settings=other), payload)


def _of_other_bytes(data: bytes, drawn: random.Random) -> bytes:
    """Bytes within the payload that are others, under a digest that is right."""
    header, payload = unpack(data)
    at = drawn.randrange(len(payload) - 512)
    return pack(header, payload[:at] + drawn.randbytes(512) + payload[at + 512 :])


MISCHIEF: tuple[Mischief, ...] = (
    _cut, _flipped, _emptied, _mixed, _of_the_future, _of_another_layout, _of_other_settings,
)  # fmt: skip
UNSEEN: tuple[Mischief, ...] = (_of_other_bytes,)  # what comes of it may be a posterior all the same


async def _many(made: Path, torn: Path, settings: Settings, scale: Scale) -> Row:
    """Starts from whatever mischief has left, with the generation before it and without."""
    drawn, starts, wrong = random.Random(scale.seed), scale.of(1000, 80), []
    came: Counter[str] = Counter()
    now, before = ((made / name).read_bytes() for name in GENERATIONS)
    for _ in range(starts):
        mischief = drawn.choice((*MISCHIEF, *UNSEEN))
        previous = drawn.choice((b"", now, before, _cut(now, drawn)))
        _lay(torn, mischief(now, drawn), previous)
        start, aside = await _start(settings)
        came[start[0]] += 1
        fallen_back = start == ("warm", "previous") if previous in (now, before) else start[0] == "cold"
        if fallen_back and aside == 1 + (bool(previous) and start[0] == "cold"):
            continue
        if mischief not in UNSEEN or start != ("warm", "current"):
            wrong.append(f"{mischief.__name__}: {start}, {aside} set aside")
    counts = f"{came['warm']} went on from the one before, {came['cold']} cold"
    measured = f"{len(wrong)} of {starts} ({counts}) {' '.join(wrong)[:200]}"
    return Row("R6", "torn, flipped or foreign checkpoints taken up", measured.strip(), "0", not wrong)


def _lay(folder: Path, *generations: bytes) -> None:
    """Have these generations in an otherwise empty folder, of empty ones none."""
    shutil.rmtree(folder)
    folder.mkdir()
    for name, data in zip(GENERATIONS, generations, strict=True):
        if data:
            (folder / name).write_bytes(data)


async def _start(settings: Settings) -> tuple[tuple[str, str], int]:
    """How a daemon starts, and why; and how many files it sets aside."""
    daemon = Daemon(settings)
    with capture_logs() as events, np.errstate(all="ignore"):
        async with daemon.restart:
            statistics = daemon.restart.statistics()
    aside = sum(event["event"] == "checkpoint.set_aside" for event in events)
    return (statistics.start, statistics.reason), aside


async def _real(made: Path, daemon: Victim, scale: Scale) -> Row:
    """Starts of the command, from files torn at random places."""
    drawn, starts, wrong = random.Random(scale.seed + 1), scale.of(6, 1), []
    for i in range(starts):
        both = i % 2 == 1
        for name in GENERATIONS[: 1 + both]:
            data = (made / name).read_bytes()
            (made / name).write_bytes(drawn.choice((_cut, _flipped))(data, drawn))
        await daemon.start()
        aside, restored = daemon.said("checkpoint.set_aside"), daemon.said("checkpoint.restored")
        if len(aside) != 1 + both or len(restored) != 1 - both or not daemon.said("feed.connected"):
            wrong.append(f"set aside {aside}, restored {restored}")
        await asyncio.sleep(2.5)  # two generations anew
        await daemon.kill()
    measured = f"{starts - len(wrong)} of {starts} {' '.join(wrong)[:200]}".strip()
    return Row("R6", "kvd run from torn files: set aside, said, and ready", measured, "all", not wrong)
