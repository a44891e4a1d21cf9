"""The limit of open files, in processes of their own: it cannot be raised again once lowered."""

import subprocess
import sys

from command_line import ROOT

PROGRAM = """
import resource, sys
from kvd.app.descriptors import make_room
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
make_room(connections)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limit_after(soft: int, hard: int, connections: int) -> tuple[int, bool]:
    """The limit in force after room was made, and whether it was said to be too low."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(connections)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *said, limit = ran.stdout.splitlines()
    return int(limit), "descriptors.few" in "".join(said) + ran.stderr


def test_the_limit_is_raised_to_what_is_needed_and_no_further():
    assert limit_after(100, 1000, 300) == (364, False)


def test_a_limit_that_is_enough_stays():
    assert limit_after(500, 1000, 300) == (500, False)


def test_where_the_system_allows_less_it_is_said():
    assert limit_after(100, 200, 300) == (200, True)
