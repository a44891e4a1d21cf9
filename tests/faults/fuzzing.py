"""The fuzzing: a million cases of bytes that are nearly right, target by target.

    PYTHONPATH=tests python tests/faults/fuzzing.py --cases 100000 [--seed 1] [--only deribit,client] [--part 0/2]
    PYTHONPATH=tests python tests/faults/fuzzing.py --only deribit --seed 1 --case 4711
    PYTHONPATH=tests python tests/faults/fuzzing.py --only deribit --bytes 7b7d

The first runs, and ends at the first case that brings down what it was put to, saying the other two: that case with
what its subject had lived through before, and its bytes alone. The last line is an object of what was done.
"""

import argparse
import asyncio
import json
import logging
import sys
import warnings
from pathlib import Path

import fuzz_checkpoint
import fuzz_feed
import fuzz_pages
import fuzz_port
import fuzz_reading
import fuzz_stream
import structlog
from targets import Target, plain

TARGETS: dict[str, Target] = {
    "deribit": Target(fuzz_feed.deribit_frames, fuzz_feed.deribit_session, 0.5),
    "tape": Target(fuzz_feed.tapes, fuzz_feed.tape, 0.005),
    "requests": Target(fuzz_stream.json_frames, fuzz_stream.conversation("json"), 0.15),
    "msgpack": Target(fuzz_stream.msgpack_frames, fuzz_stream.conversation("msgpack"), 0.1),
    "pages": Target(fuzz_pages.requests, fuzz_pages.door, 0.1),
    "port": Target(fuzz_port.streams, fuzz_port.port, 0.01),
    "client": Target(fuzz_reading.messages, plain(fuzz_reading.heard), 0.115),
    "checkpoint": Target(fuzz_checkpoint.states, plain(fuzz_checkpoint.taken_up), 0.002),
    "configuration": Target(fuzz_reading.configurations, fuzz_reading.configuration, 0.02),
}
PAGE_BYTES = 4096
WARM_UP = 0.25  # of a target's cases, in which what is cached for ever may grow


class Finding(Exception):
    """A case that came through a door as it must not."""


async def survived(name: str, seed: int, numbers: range) -> int:
    """Put those cases to a target; returns by how many bytes the process has grown since its warm-up."""
    target = TARGETS[name]
    mutator, warm_bytes, warm = target.mutator(seed), 0, numbers[int(len(numbers) * WARM_UP)]
    for first in range(numbers.start, numbers.stop, target.life):
        async with target.subject() as case:
            for number in range(first, min(first + target.life, numbers.stop)):
                data = mutator.case(number)
                try:
                    await case(data)
                except (Exception, asyncio.CancelledError) as error:  # cancelled: what serves it has failed
                    raise Finding(_told(name, seed, number, data)) from error
                if number == warm:
                    warm_bytes = rss_bytes()
    return rss_bytes() - warm_bytes


async def again(name: str, seed: int, number: int) -> None:
    """One case, and before it what its subject had lived through."""
    first = number - number % TARGETS[name].life
    await survived(name, seed, range(first, number + 1))


def rss_bytes() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def _told(name: str, seed: int, number: int, data: bytes) -> str:
    command = f"PYTHONPATH=tests python tests/faults/fuzzing.py --only {name}"
    return (
        f"{name}: {data[:2000]!r}\n  {command} --seed {seed} --case {number}\n  {command} --bytes {data[:2000].hex()}"
    )


async def _run(asked: argparse.Namespace) -> dict[str, dict[str, int]]:
    chosen = {name: TARGETS[name] for name in (asked.only.split(",") if asked.only else TARGETS)}
    part, parts = map(int, asked.part.split("/"))
    shares, done = sum(target.share for target in chosen.values()), {}
    for name, target in chosen.items():
        if asked.bytes is not None:
            async with target.subject() as case:
                await case(bytes.fromhex(asked.bytes))
        elif asked.case is not None:
            await again(name, asked.seed, asked.case)
        else:
            count = max(int(asked.cases * target.share / shares / parts), 4)
            first = part * -(-count // target.life) * target.life
            began_s = asyncio.get_running_loop().time()
            grown = await survived(name, asked.seed, range(first, first + count))
            took_s = asyncio.get_running_loop().time() - began_s
            done[name] = {"cases": count, "grown_bytes": grown, "seconds": round(took_s, 1)}
            print(f"{name}: {done[name]}", file=sys.stderr, flush=True)
    return done


def main() -> None:
    """Fuzz, or do one case again."""
    parser = argparse.ArgumentParser(prog="fuzzing.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="targets, such as deribit,client")
    parser.add_argument("--part", default="0/1", help="which of so many processes this is")
    parser.add_argument("--case", type=int)
    parser.add_argument("--bytes")
    warnings.simplefilter("error")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(json.dumps(asyncio.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
