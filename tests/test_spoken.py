"""What the topic `status` says of a feed, looked at now and then."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kvd.app.spoken import Spoken
from kvd.feeds.live import FeedStatistics

QUIET = FeedStatistics(0, 0, 0, {}, 0, 0, 0, False, False, None, None, 0, 0, 0, "")


def said(*looks):
    """The states, after looks at (flowing, gaps)."""
    spoken = Spoken()
    return [
        [status["state"] for status in spoken.news({"deribit": QUIET._replace(flowing=flowing, gaps=gaps)})]
        for flowing, gaps in looks
    ]


def test_changes_alone_are_said():
    assert said((False, 0), (False, 0), (True, 0), (True, 0), (False, 1), (False, 1), (True, 1)) == [
        ["lost"], [], ["connected"], [], ["lost"], [], ["connected"],
    ]  # fmt: skip
    assert said((True, 0), (True, 0)) == [["connected"], []]


def test_an_outage_that_was_over_before_anybody_looked_is_said_too():
    assert said((True, 0), (True, 1), (True, 3)) == [["connected"], ["lost", "connected"], ["lost", "connected"]]
    assert said((False, 0), (True, 1), (False, 2), (False, 3)) == [["lost"], ["connected"], ["lost"], []]


def test_the_reason_is_said():
    (status,) = Spoken().news({"deribit": QUIET._replace(last_error="stale")})
    assert status == {"venue": "deribit", "state": "lost", "reason": "stale"}


@given(st.lists(st.booleans(), max_size=60), st.data())
def test_whoever_hears_all_of_it_knows_how_it_stands_and_hears_of_every_spell(flows, data):
    """`flows` is the truth; it is looked at now and then."""
    spoken, gaps, before, heard, spells = Spoken(), 0, False, [], 0
    for flowing in flows:
        gaps += before and not flowing
        before = flowing
        if data.draw(st.booleans()):
            news = spoken.news({"x": QUIET._replace(flowing=flowing, gaps=gaps)})
            heard += [status["state"] for status in news]
            assert heard[-1] == ("connected" if flowing else "lost")
            spells = heard.count("lost")
            assert all(one != other for one, other in pairwise(heard))
    assert spells <= gaps + 1
