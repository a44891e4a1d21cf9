"""Which trial puts which promises to the test, in the order in which they run."""

from clocks import clocks
from disks import disks
from floods import floods
from hostile_input import hostile_input
from hostile_markets import hostile_markets
from kills import kills
from lag import lag
from outages import outages
from replays import replays
from shutdowns import shutdowns
from soak import soak
from stalls import stalls
from verdicts import Trial

TRIALS: dict[str, Trial] = {
    "R1 R2": outages,
    "R3": floods,
    "R4": stalls,
    "R5 R6": kills,
    "R7": replays,
    "R8": hostile_markets,
    "R9": shutdowns,
    "R10": hostile_input,
    "R11": lag,
    "R12": soak,
    "R13": clocks,
    "disk": disks,
}
