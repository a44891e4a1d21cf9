"""R5, R6: kill -9 at random instants, while a subscriber listens who comes back with epoch and number each time."""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from command_line import exchange, until
from following import Back, Listener, Smile
from full_checkpoint import full_checkpoint
from tears import tears
from verdicts import Row, Scale
from victims import Started, Victim, free_port

from kvd.sinks.checkpoint import Checkpoint, UnfitError, read, unpack

READY_WITHIN_S, OLDEST_S = 3.0, 1.0
SIDE_BY_SIDE = 2
NEAR_SDS = 3.0
EVERY_S = ("1.0", "0.02")  # how often each writes its checkpoint: the second one is at it half of the time
LIVES_S = 1.8  # a daemon that is ready lives at most so long
SLACK = 5  # of the short form, which runs beside other tests
MARKET = ("--instruments", 400, "--rate", 300)


class Kill(NamedTuple):
    """One kill and the start after it: the age of the checkpoint at the kill, how long the start took until it was
    ready, how far each smile then was from the last one before, in its own standard deviations, and how much wider
    than as of the checkpoint; what was wrong with the checkpoint, and with what the subscriber heard.
    """

    age_s: float
    ready: Started
    away_sds: tuple[float, ...]
    wider: tuple[float, ...]
    torn: str
    unheard: str


async def kills(scale: Scale) -> Sequence[Row]:
    """The trial; in the short form its parts run side by side."""
    if scale.short:
        killed, full = await asyncio.gather(_killed(scale), full_checkpoint(scale))
        return [*killed, *full]
    return [*await _killed(scale), *await full_checkpoint(scale)]


async def _killed(scale: Scale) -> Sequence[Row]:
    """Kills, side by side, and what comes of the checkpoints that they have left once these are torn."""
    each, drawn = scale.of(50, 2), random.Random(scale.seed)
    seeds = [drawn.randrange(2**32) for _ in range(scale.of(SIDE_BY_SIDE, 1))]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(tempfile.mkdtemp(dir=folder)) for _ in seeds]
        async with exchange("--seed", scale.seed, *MARKET) as url:
            async with asyncio.TaskGroup() as group:
                lives = [
                    _kill_often(Victim(own, free_port(), url, KVD_CHECKPOINT_EVERY_S=every_s), each, seed, scale)
                    for own, seed, every_s in zip(folders, seeds, EVERY_S, strict=False)
                ]
                tasks = [group.create_task(life) for life in lives]
            async with Victim(folders[0], free_port(), url) as daemon:
                torn = await tears(daemon, scale)
    done = [task.result() for task in tasks]
    ages = _timing("age of the checkpoint at the kill", [kill.age_s for kill in done[0]], OLDEST_S * scale.of(1, SLACK))
    return [ages, *_rows([kill for kills in done for kill in kills], scale.short), *torn]


async def _kill_often(victim: Victim, times: int, seed: int, scale: Scale) -> list[Kill]:
    """Kill one daemon `times` times at random instants of its life, and now and then of its start."""
    drawn, listener = random.Random(seed), Listener(victim.port)
    done: list[Kill] = []
    async with victim as daemon, asyncio.TaskGroup() as group:
        listening = group.create_task(listener.listen())
        await daemon.start()
        await until(lambda: bool(listener.told))
        await asyncio.sleep(3.0)  # till the chain is all there
        for i in range(times):
            await asyncio.sleep(drawn.uniform(0.0, LIVES_S))
            done.append(await _kill_once(daemon, listener, drawn.uniform(0.0, 2.0) if i % 10 == 9 else None))
            if i % 10 == 9:
                scale.say(f"{i + 1} kills, ready in {statistics.median(kill.ready.seconds for kill in done):.2f} s")
        listening.cancel()
    return done


async def _kill_once(daemon: Victim, listener: Listener, again_s: float | None) -> Kill:
    """Kill the daemon, again after `again_s` of its next start if that is said, and let it come back."""
    killed_s = time.time()
    await daemon.kill()
    kept, torn = _kept(daemon.path)
    age_s = killed_s - kept.header.written_us / 1e6 if kept else float("inf")
    if again_s is not None:
        starting = asyncio.create_task(daemon.start())
        await asyncio.wait((starting,), timeout=again_s)
        await daemon.kill()
        starting.cancel()
        await asyncio.wait((starting,))
        kept, again = _kept(daemon.path)
        torn = torn or again
    backs = len(listener.backs)
    ready = await daemon.start()
    await listener.came_back(backs + 1)
    back = listener.backs[-1]
    away_sds, wider = _compared(listener, back, kept, killed_s)
    return Kill(age_s, ready, away_sds, wider, torn or _wrongly_taken(daemon, kept), _unheard(listener, kept))


def _kept(path: Path) -> tuple[Checkpoint | None, str]:
    """What a kill has left in the file, and what is wrong with it."""
    try:
        return unpack(read(path)), ""
    except UnfitError as unfit:
        return None, f"the file {unfit}"


def _wrongly_taken(daemon: Victim, kept: Checkpoint | None) -> str:
    """Why a start was not from what the kill has left, as its log says."""
    restored, aside = daemon.said("checkpoint.restored"), daemon.said("checkpoint.set_aside")
    if aside or len(restored) != 1:
        return f"set aside {aside}, restored {restored}"
    if kept is not None and restored[0]["epoch"] != kept.header.epoch:
        return f"restored {restored[0]}, and there was that of epoch {kept.header.epoch}"
    return ""


def _compared(
    listener: Listener, back: Back, kept: Checkpoint | None, killed_s: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How far smiles shown at once are from the newest before the kill, and how much wider than in the checkpoint."""
    newest = listener.smiles(killed_s)
    taken = listener.smiles(kept.header.written_us / 1e6) if kept else newest
    shown = {expiry: smile for expiry, smile in back.smiles.items() if smile.reason == "restarted"}
    away = [_away_sds(newest[expiry], smile) for expiry, smile in shown.items() if expiry in newest]
    wider = [smile.sd / taken[expiry].sd for expiry, smile in shown.items() if expiry in taken]
    return tuple(away), tuple(wider)


def _away_sds(before: Smile, after: Smile) -> float:
    return abs(after.atm_vol - before.atm_vol) / after.sd


def _unheard(listener: Listener, kept: Checkpoint | None) -> str:
    """What the subscriber was not told, or told wrongly, in the newest start."""
    *earlier, back = listener.backs
    if listener.complaints:
        return listener.complaints[0]
    if back.epoch in {one.epoch for one in earlier}:
        return f"epoch {back.epoch} twice"
    if back.first != "new_epoch":
        return f"began with {back.first} instead of a gap"
    number = listener.number(kept.header.epoch, kept.header.written_us / 1e6) if kept else 0
    if back.seq < number:
        return f"began with {back.seq}, and the checkpoint had come to {number}"
    return ""


def _rows(done: Sequence[Kill], busy: bool) -> Sequence[Row]:
    """Where the machine is `busy` with other tests a start is held to the time that it had a core."""
    n = len(done)
    ready = [kill.ready.cpu_s if busy else kill.ready.seconds for kill in done]
    torn, unheard = [kill.torn for kill in done if kill.torn], [kill.unheard for kill in done if kill.unheard]
    away, wider = [x for kill in done for x in kill.away_sds], [x for kill in done for x in kill.wider]
    near = len(wider) >= 5 * n and min(wider) > 1.0 and max(away) <= NEAR_SDS
    measured = f"least {min(wider):.4f} times as wide, furthest {max(away):.2f} sd, n {len(wider)}" if wider else "none"
    return [
        _timing(f"ready after kill -9{', CPU time' if busy else ''}", ready, READY_WITHIN_S),
        Row(
            "R6",
            "torn or passed over after kill -9",
            f"{len(torn)} of {n} {' '.join(torn)[:200]}".strip(),
            "0",
            not torn,
        ),
        Row("R6", "smiles shown at once after the start", measured, f"wider, within {NEAR_SDS:g} sd", near),
        Row(
            "R5",
            "subscriber hears a gap, a new epoch, numbers that go on",
            f"{n - len(unheard)} of {n} {' '.join(unheard)[:200]}".strip(),
            "all",
            not unheard,
        ),
    ]


def _timing(what: str, seconds: Sequence[float], limit_s: float) -> Row:
    n, worst_s = len(seconds), max(seconds)
    measured = f"{statistics.median(seconds):.2f} s median, {worst_s:.2f} s worst, n {n}"
    return Row("R6", what, measured, f"<= {limit_s:g} s", worst_s <= limit_s)
