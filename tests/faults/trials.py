"""Which trial puts which promises to the test, in the order in which they run."""

from kills import kills
from lag import lag
from replays import replays
from shutdowns import shutdowns
from verdicts import Trial

TRIALS: dict[str, Trial] = {
    "R5 R6": kills,
    "R7": replays,
    "R9": shutdowns,
    "R11": lag,
}
