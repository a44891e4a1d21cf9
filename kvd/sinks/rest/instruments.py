"""Which options are followed."""

from itertools import dropwhile, islice

from kvd.quotes import Instrument
from kvd.sinks.answers import Followed, Page, answer
from kvd.sinks.rest.asked import LONGEST, Query, Refused, perhaps
from kvd.wire import iso

MOST = 1000  # in one answer


def instruments(query: Query, followed: Followed) -> Page:
    """The options of an underlying, a venue, or all, in the order in which they were first heard of. Where there are
    more than fit, ``next`` says after which to go on.
    """
    every = iter(followed(perhaps(query, "venue"), perhaps(query, "underlying")))
    after = perhaps(query, "after")
    if after is not None:
        every = dropwhile(lambda one: one[0].name != after, every)
        if next(every, None) is None:
            raise Refused(400, "bad_query", f"no {after[:LONGEST]!r} is followed: leave out after= and begin anew")
    found = list(islice(every, MOST + 1))
    more = {"next": found[MOST - 1][0].name} if len(found) > MOST else {}
    return answer({"instruments": [_told(*one) for one in found[:MOST]], **more})


def _told(instrument: Instrument, counts: bool) -> dict[str, object]:
    step = {} if instrument.tick_size is None else {"tick_size": instrument.tick_size}
    return {
        "name": instrument.name,
        "venue": instrument.venue,
        "underlying": instrument.underlying,
        "expiry": iso(instrument.expiry_us),
        "strike": instrument.strike,
        "type": instrument.option_type,
        "inverse": instrument.inverse,
        "counts": counts,
        **step,
    }
