"""R10: no bytes on any socket bring kvd down or make it grow. A million cases, some led by coverage, and the zoo."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence
from importlib.util import find_spec

from beside import HERE, beside
from verdicts import Row, Scale
from zoo import client_zoo

CASES, FEW = 1_050_000, 4_000
GROWTH_MIB = 16.0
GUIDED = ("deribit", "requests", "msgpack", "client")
GUIDED_S = 20


async def hostile_input(scale: Scale) -> Sequence[Row]:
    """R10."""
    rows = await fuzzed(scale)
    if not scale.short and find_spec("atheris"):
        rows.append(await guided(scale))
    return [*rows, *await client_zoo(scale)]


async def fuzzed(scale: Scale) -> list[Row]:
    """The seeded cases of all targets; a case that gets through ends the bench with the command that does it again."""
    parts = await beside("fuzzing.py", {"--cases": scale.of(CASES, FEW), "--seed": scale.seed}, scale.of(2, 1))
    cases = {name: sum(part[name]["cases"] for part in parts) for name in parts[0]}
    grown = {name: max(part[name]["grown_bytes"] for part in parts) / 2**20 for name in parts[0]}
    for name, count in cases.items():
        scale.say(f"{name}: {count:,} cases, {grown[name]:+.1f} MiB, {parts[0][name]['seconds']} s")
    worst = max(grown, key=lambda name: grown[name])
    told = ", ".join(f"{name} {count:,}" for name, count in cases.items())
    least = scale.of(1_000_000, FEW * 9 // 10)
    return [
        Row("R10", "fuzz cases without a crash or a number that is none", f"n {sum(cases.values()):,}: {told}",
            f"{least:,} cases", sum(cases.values()) >= least),
        Row("R10", "growth of the process over a target's cases, after the first quarter",
            f"{grown[worst]:+.1f} MiB worst ({worst})", f"{GROWTH_MIB:g} MiB", grown[worst] <= GROWTH_MIB),
    ]  # fmt: skip


async def guided(scale: Scale) -> Row:
    """The same doors with atheris, two at a time."""
    runs: dict[str, int] = {}
    turns = asyncio.Semaphore(2)

    async def one(name: str) -> None:
        async with turns:
            runs[name] = await _guided(name, scale.seed)

    async with asyncio.TaskGroup() as group:
        for name in GUIDED:
            group.create_task(one(name))
    told = ", ".join(f"{name} {count:,}" for name, count in runs.items())
    measured = f"n {sum(runs.values()):,}: {told}"
    return Row(
        "R10", f"the same led by coverage (atheris), {GUIDED_S} s each", measured, "no finding", all(runs.values())
    )


async def _guided(name: str, seed: int) -> int:
    command = (sys.executable, HERE / "coverage_guided.py", name, "--seconds", str(GUIDED_S), "--seed", str(seed))
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=STDOUT)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    done = re.search(rb"Done (\d+) runs", said)
    if process.returncode or done is None:
        raise RuntimeError(f"{name}:\n{said.decode(errors='replace')[-6000:]}")
    return int(done[1])
