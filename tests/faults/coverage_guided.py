"""The fuzzing led by coverage: atheris (libFuzzer) looks for bytes that take a branch of kvd that none took before.

    PYTHONPATH=tests python tests/faults/coverage_guided.py deribit [--seconds 30] [--seed 1]

It begins with the corpus and the words of a target of `fuzzing.py`. A finding ends it with the traceback and the bytes,
which `fuzzing.py --only TARGET --bytes HEX` takes.
"""

import argparse
import asyncio
import logging
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["kvd"]):
    import fuzzing

import structlog

LONGEST = 4096


def main() -> None:
    """Fuzz one target for so many seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=fuzzing.TARGETS)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    warnings.simplefilter("error")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    target, loop = fuzzing.TARGETS[asked.target], asyncio.new_event_loop()
    mutator, subject = target.mutator(asked.seed), target.subject()
    case = loop.run_until_complete(subject.__aenter__())

    def one(data: bytes) -> None:
        try:
            loop.run_until_complete(case(data))
        except Exception:
            print(f"{asked.target} --bytes {data.hex()}", file=sys.stderr)
            raise

    with TemporaryDirectory(prefix="kvd-fuzz-") as folder:
        seeds, words = Path(folder, "seeds"), Path(folder, "words")
        seeds.mkdir()
        for number, message in enumerate(mutator.corpus):
            seeds.joinpath(str(number)).write_bytes(message)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in mutator.words if word))
        options = (f"-max_total_time={asked.seconds}", f"-seed={asked.seed}", f"-max_len={LONGEST}", f"-dict={words}")
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(seeds)], one)
        atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main()
