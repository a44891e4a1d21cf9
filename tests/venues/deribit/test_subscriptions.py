from hypothesis import given
from hypothesis import strategies as st

from kvd.venues.deribit.subscriptions import MAX_TRIES, MOST_CHANNELS, Request, Subscriptions


def test_one_request_is_out_at_a_time_and_holds_at_most_a_chunk():
    subscriptions = Subscriptions(2)
    subscriptions.want("abc")
    assert subscriptions.next() == Request("subscribe", ("a", "b"))
    assert subscriptions.next() is None
    subscriptions.confirm(frozenset("ba"))
    assert subscriptions.next() == Request("subscribe", ("c",))


def test_a_channel_left_before_it_was_asked_for_is_not_asked_for():
    subscriptions = Subscriptions(2)
    subscriptions.want("ab")
    subscriptions.leave("a")
    assert subscriptions.next() == Request("subscribe", ("b",))


def test_a_channel_left_after_it_was_asked_for_is_unsubscribed_from():
    subscriptions = Subscriptions(2)
    subscriptions.want("a")
    subscriptions.next()
    subscriptions.leave("a")
    subscriptions.confirm(frozenset("a"))
    assert subscriptions.next() == Request("unsubscribe", ("a",))
    subscriptions.confirm(frozenset("a"))
    assert not subscriptions.acked


def test_a_passing_failure_sends_the_same_again():
    subscriptions = Subscriptions(2)
    subscriptions.want("abc")
    request = subscriptions.next()
    subscriptions.repeat()
    assert subscriptions.next() == request


@given(
    channels=st.sets(st.integers(0, 500).map(str), max_size=80),
    chunk=st.integers(1, 40),
    limit=st.integers(1, 40),
    refused=st.sets(st.integers(0, 500).map(str), max_size=5),
    whole=st.booleans(),
)
def test_whatever_the_exchange_refuses_the_rest_is_subscribed(channels, chunk, limit, refused, whole):
    """Too large a request is refused; a bad channel fails its whole request or is left out of the ack."""
    subscriptions = Subscriptions(chunk)
    subscriptions.want(sorted(channels))
    sent = 0
    while request := subscriptions.next():
        sent += 1
        assert len(request.channels) <= chunk
        if len(request.channels) > limit:
            subscriptions.refuse(too_large=True)
        elif whole and refused.intersection(request.channels):
            subscriptions.refuse(too_large=False)
        else:
            subscriptions.confirm(frozenset(request.channels) - refused)
        assert sent < 20 * (len(channels) + 1)
    assert subscriptions.acked == channels - refused
    assert subscriptions.dropped == channels & refused
    assert MAX_TRIES == 3


def test_no_listing_makes_it_ask_for_more_channels_than_there_is_room_for():
    subscriptions = Subscriptions(2)
    subscriptions.want(f"ticker.{number}" for number in range(MOST_CHANNELS + 10))
    assert len(subscriptions.wanted) == MOST_CHANNELS
    subscriptions.leave("ticker.0")
    subscriptions.want(["one more", "and another"])
    assert "one more" in subscriptions.wanted and "and another" not in subscriptions.wanted


def test_a_channel_to_renew_is_left_and_then_asked_for():
    subscriptions = Subscriptions(4)
    subscriptions.want("abc")
    subscriptions.next()
    assert subscriptions.confirm(frozenset("abcd")) == frozenset("abc")
    assert subscriptions.settled
    subscriptions.renew("bx")
    assert not subscriptions.settled
    assert subscriptions.next() == Request("unsubscribe", ("b",))
    assert subscriptions.confirm(frozenset("b")) == frozenset() and subscriptions.acked == set("ac")
    assert subscriptions.next() == Request("subscribe", ("b",))
    assert subscriptions.confirm(frozenset("b")) == frozenset("b")
    assert subscriptions.acked == subscriptions.wanted == set("abc")


def test_a_channel_left_while_it_is_renewed_stays_left():
    subscriptions = Subscriptions(4)
    subscriptions.want("ab")
    subscriptions.next()
    subscriptions.confirm(frozenset("ab"))
    subscriptions.renew("ab")
    subscriptions.leave("a")
    assert subscriptions.next() == Request("unsubscribe", ("a", "b"))
    subscriptions.confirm(frozenset("ab"))
    assert subscriptions.next() == Request("subscribe", ("b",))
