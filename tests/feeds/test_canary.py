import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.feeds.live.canary import LOOKS, MARGIN, MEMORY_MINUTES, Canary, Delay

LIMIT_S = 3.0
SECOND = 1_000_000
MINUTE = 60 * SECOND
NOON = 1_700_000_000 * SECOND


def noticed(words, until_s, skew_s=0.0, looks=None):
    """When the canary is first called dead and why; `words` are (said at, arrived at), seconds."""
    canary, words = Canary(LIMIT_S, 0.0), sorted(words, key=lambda word: word[1])
    looks = looks or [n * canary.look_s for n in range(1, int(until_s / canary.look_s))]
    for look_s in looks:
        while words and words[0][1] <= look_s:
            said_s, arrived_s = words.pop(0)
            canary.hear(NOON + round((said_s - skew_s) * SECOND), NOON + round(arrived_s * SECOND), arrived_s)
        if reason := canary.dead(look_s):
            return look_s, reason
    return None


@given(st.floats(-3600, 3600), st.lists(st.floats(0.3, 1.2), min_size=30, max_size=30), st.floats(0.0, 1.0))
def test_a_canary_that_speaks_in_time_lives_whatever_the_clocks_say(skew_s, pauses, journey_s):
    at_s, words = 0.0, []
    for pause_s in pauses:
        at_s += pause_s
        words.append((at_s, at_s + journey_s))
    assert noticed(words, at_s, skew_s) is None


@given(st.floats(0.1, 20))
def test_silence_is_noticed_before_the_limit_and_not_much_before(last_s):
    words = [(n * last_s / 20, n * last_s / 20) for n in range(1, 21)]
    at_s, reason = noticed(words, 40)
    assert reason == "stale"
    assert LIMIT_S * (1 - MARGIN) < at_s - last_s <= LIMIT_S * (1 - MARGIN + 1 / LOOKS) + 1e-9


def test_a_connection_on_which_it_never_speaks_is_dead_too():
    at_s, reason = noticed([], 10)
    assert reason == "stale" and at_s <= LIMIT_S


def test_data_that_come_but_grow_old_are_late():
    words = [(float(n), n * 1.25) for n in range(60)]  # a line too slow by a quarter: a word each 1.25 s
    at_s, reason = noticed(words, 60)
    assert reason == "late"
    assert LIMIT_S * (1 - MARGIN) < at_s * 0.2 < LIMIT_S * (1 - MARGIN) + 0.5  # what arrives then is that old


def test_a_line_slow_by_a_hair_is_found_within_the_hour():
    words = [(float(n), n * 1.001) for n in range(4000)]
    at_s, reason = noticed(words, 4000)
    assert reason == "late" and 0 < at_s - LIMIT_S * (1 - MARGIN) / 0.001 < 100


def test_a_backlog_being_worked_off_is_not_late():
    words = [(float(n), float(n)) for n in range(10)]
    words += [(9.0 + n / 2, 11.4 + n / 100) for n in range(1, 6)]  # a stall, and then all of it at once
    words += [(12.0 + n, 12.0 + n) for n in range(30)]
    assert noticed(words, 40) is None


def test_it_is_forgiven_once_if_it_was_us_who_slept():
    words = [(1.0, 1.0), (9.05, 9.05)]
    assert noticed(words, 9, looks=[1.0, 1.1, 9.0, 9.1, 9.2]) is None
    assert noticed(words[:1], 9, looks=[1.0, 1.1, 9.0, 9.1]) == (9.1, "stale")
    assert noticed(words[:1], 9, looks=[1.0, 2.0, 3.0, 4.0, 5.0]) == (4.0, "stale")  # a busy loop hides nothing


def test_without_a_name_any_data_are_its_breath():
    canary = Canary(LIMIT_S, 0.0)
    assert not canary.spoke
    for n in range(1, 200):
        if n < 100:
            canary.breathe(n * 0.1)
        reason = canary.dead(n * 0.1)
        if n < 124:
            assert canary.spoke and not reason
    assert reason == "stale"


@given(st.lists(st.tuples(st.integers(0, 100 * 60), st.integers(-5000, 5000)), min_size=1, max_size=80))
def test_the_skew_is_the_least_of_the_last_minute_or_two(words):
    delay, words = Delay(), [(NOON + s * SECOND, ms * 1000) for s, ms in sorted(words)]
    assert delay.skew_s is None
    for n, (receive_us, late_us) in enumerate(words):
        behind_s = delay.hear(receive_us - late_us, receive_us)
        minutes = list(dict.fromkeys(us // MINUTE for us, _ in words[: n + 1]))
        by_minute = {m: min(late for us, late in words[: n + 1] if us // MINUTE == m) for m in minutes}
        assert delay.skew_s == min(by_minute[m] for m in minutes[-2:]) / 1e6
        kept = minutes[-MEMORY_MINUTES:]
        assert behind_s == pytest.approx((late_us - min(by_minute[m] for m in kept)) / 1e6)
        assert behind_s >= 0
