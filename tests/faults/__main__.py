"""The fault bench: every promise of docs/operations.md put to the test, and a table of what it came to.

    PYTHONPATH=tests python tests/faults [--short] [--only R1,R4] [--seed 1] [--json FILE]

Every random choice follows from the seed. Exits with 1 if a figure misses its limit.
"""

import argparse
import asyncio
import json
import sys
import time
import traceback
from pathlib import Path

from trials import TRIALS
from verdicts import Row, Scale, table


def main() -> int:
    """Run the trials that were asked for, one after another, and print the table."""
    asked = _arguments()
    only = set(filter(None, asked.only.split(",")))
    if unknown := only - set(" ".join(TRIALS).split()):
        sys.exit(f"no trial of {', '.join(sorted(unknown))}; there are {' '.join(TRIALS)}")
    rows: list[Row] = []
    began_s = time.monotonic()
    for promises, trial in TRIALS.items():
        if only and only.isdisjoint(promises.split()):
            continue

        def say(line: str, promises: str = promises) -> None:
            print(f"[{time.monotonic() - began_s:6.0f} s] {promises}: {line}", file=sys.stderr, flush=True)

        say("begins")
        try:
            found = asyncio.run(trial(Scale(asked.short, asked.seed, say)))
        except Exception as error:  # what the others have found is worth its table
            traceback.print_exc()
            found = [Row(promises, "the trial itself", type(error).__name__, "comes to its end", False)]
        for row in found:
            say(f"{'pass' if row.passed else 'FAIL'}: {row.what}: {row.measured} ({row.limit})")
        rows += found
    print(table(rows))
    print(f"\nseed {asked.seed}, {time.monotonic() - began_s:.0f} s, {sum(not row.passed for row in rows)} failed")
    if asked.json:
        Path(asked.json).write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    return int(not all(row.passed for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="the two minutes that are in make test")
    parser.add_argument("--only", default="", help="promises, such as R1,R4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="also write the rows to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
