"""How good are the published smiles, and how good is everybody else? Definitions that treat every contender alike.

A quote counts if it is out of the money, two-sided, its half-spread is below a quarter of its mid vol and its expiry is
more than an hour away. Its yardstick is the venue's own bid and ask vol, at ``k = ln(strike / forward)`` with the
forward that came with it. Every minute of tape time the newest counted quote of each instrument, if no older than three
minutes, is held against what each contender makes of it at that moment; and each counted quote, when it arrives,
against what each had to say before.
"""

from kvd.quality.contenders import Contender, LastValue, Mark, Published
from kvd.quality.contest import Contest
from kvd.quality.counted import Counted, Counts, columns, count, tenor_bucket
from kvd.quality.ledger import Ledger
from kvd.quality.refit import Refit, fit
from kvd.quality.replayed import Quality
from kvd.quality.tally import BUCKETS, Tally

__all__ = [
    "BUCKETS", "Contender", "Contest", "Counted", "Counts", "LastValue", "Ledger", "Mark", "Published", "Quality",
    "Refit", "Tally", "columns", "count", "fit", "tenor_bucket",
]  # fmt: skip
