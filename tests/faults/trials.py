"""Which trial puts which promises to the test, in the order in which they run."""

from replays import replays
from verdicts import Trial

TRIALS: dict[str, Trial] = {
    "R7": replays,
}
