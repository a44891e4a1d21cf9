"""Which trial puts which promises to the test, in the order in which they run."""

from verdicts import Trial

TRIALS: dict[str, Trial] = {}
