import json

from hypothesis import given
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

from kvd.sinks.history import History
from kvd.wire import Encoder

MINUTE = 60 * SECOND
BTC = ("deribit", "BTC")


def told(history, encoder, *updates):
    for one in updates:
        history.before(one, encoder)
        encoder.encode(one)


def at(publish_us, quotes=0, **changes):
    return update(smile(publish_us=publish_us, quotes=quotes, **changes))


def quotes_of(kept):
    return [body["quotes"] for body in json.loads(kept.smiles)]


steps = st.lists(st.integers(1, 200) | st.sampled_from([60, 120]), min_size=1, max_size=12)


@given(steps, st.integers(-30, 3000))
def test_a_kept_surface_is_what_stood_at_its_instant_and_until_asked_for(seconds, asked_s):
    encoder, history = Encoder("e"), History(1.0)
    instants = [NOON + sum(seconds[: i + 1]) * SECOND for i in range(len(seconds))]
    told(history, encoder, *(at(instant, quotes) for quotes, instant in enumerate(instants)))
    asked_us = NOON + asked_s * SECOND

    def stood(us):
        """What had been published at or before an instant: the number of the newest update."""
        return max((quotes for quotes, instant in enumerate(instants) if instant <= us), default=None)

    # what stood at each whole minute, as far as that is certain: before the newest update
    minutes = range(NOON, instants[-1], MINUTE)
    certain = [us for us in minutes if us <= asked_us and stood(us) is not None]
    kept = history.at(BTC, asked_us)
    if not certain:
        assert kept is None
    else:
        assert (kept.instant_us % MINUTE, kept.instant_us <= certain[-1]) == (0, True)
        assert quotes_of(kept) == [stood(kept.instant_us)] == [stood(certain[-1])]
        assert kept.seq == stood(kept.instant_us) + 1


def test_hours_bound_what_is_kept():
    encoder, history = Encoder("e"), History(0.05)  # three minutes
    told(history, encoder, *(at(NOON + minute * MINUTE, minute) for minute in range(10)))
    first, last = history.span(BTC)
    assert ((first - NOON) // MINUTE, (last - NOON) // MINUTE) == (6, 8)
    assert history.at(BTC, first - 1) is None
    told(history, encoder, at(NOON + 60 * MINUTE), at(NOON + 62 * MINUTE))
    assert [(us - NOON) // MINUTE for us in history.span(BTC)] == [60, 60]


def test_no_hours_keep_nothing():
    encoder, history = Encoder("e"), History(0.0)
    told(history, encoder, *(at(NOON + minute * MINUTE) for minute in range(5)))
    assert history.span(BTC) is None


def test_each_underlying_has_its_own_past():
    encoder, history = Encoder("e"), History(1.0)
    told(history, encoder, at(NOON), at(NOON + MINUTE, underlying="ETH"), at(NOON + 2 * MINUTE, 1))
    assert history.span(("deribit", "ETH")) is None
    assert quotes_of(history.at(BTC, NOON + MINUTE)) == [0]


def test_an_expiry_that_left_is_in_no_later_surface():
    encoder, history = Encoder("e"), History(1.0)
    both = update(smile(), smile(CHRISTMAS + DAY))
    told(history, encoder, both, update(smile(publish_us=NOON + MINUTE), withdrawn=(CHRISTMAS + DAY,)))
    told(history, encoder, at(NOON + 3 * MINUTE))
    assert len(quotes_of(history.at(BTC, NOON))) == 2
    assert len(quotes_of(history.at(BTC, NOON + MINUTE))) == 1


def test_a_surface_takes_little():
    encoder, history = Encoder("e"), History(1.0)
    smiles = [smile(CHRISTMAS + day * DAY) for day in range(12)]
    told(history, encoder, update(*smiles), at(NOON + MINUTE))
    kept = history.at(BTC, NOON)
    assert len(kept.smiles) > 36_000 and 2 * len(kept.packed) < len(kept.smiles)
