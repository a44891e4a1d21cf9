"""Work that goes on side by side: the same script in several processes, each with its own part of it."""

import argparse
import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


async def beside(script: str, options: Mapping[str, object], parts: int) -> list[Any]:
    """Run `script` of this folder in as many processes as `parts`; the objects that each prints as its last line.

    Raises a group of RuntimeError with what it said if one fails; the others end with it.
    """
    said = [str(word) for option in options.items() for word in option]
    path = os.pathsep.join(sys.path)
    environ = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    async def one(part: int) -> Any:
        command = (sys.executable, HERE / script, *said, "--part", f"{part}/{parts}")
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=PIPE)
        try:
            out, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"{script} {' '.join(said)}:\n{errors.decode()[-6000:]}")
        return json.loads(out.splitlines()[-1])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(part)) for part in range(parts)]
    return [task.result() for task in tasks]


def arguments(*counts: str) -> argparse.Namespace:
    """What a script was asked for: options `counts`, whole numbers, the seed, and which part of the work is its own."""
    parser = argparse.ArgumentParser()
    for name in counts:
        parser.add_argument(name, type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="0/1")
    return parser.parse_args()


def own(asked: argparse.Namespace, numbers: range) -> range:
    """Of all `numbers` those of this part."""
    part, parts = map(int, asked.part.split("/"))
    return numbers[part::parts]
