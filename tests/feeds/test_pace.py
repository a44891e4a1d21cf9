import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.feeds.pace import Pacer, TokenBucket, backoff_s
from kvd.venues import Quota

STEPS = st.lists(st.floats(0, 5) | st.just(0.0), min_size=1, max_size=120)
QUOTAS = st.builds(Quota, rate_per_s=st.floats(0.1, 50), burst=st.integers(1, 20))


@given(QUOTAS, STEPS)
def test_a_bucket_never_exceeds_its_quota_in_any_span(quota: Quota, steps: list[float]):
    bucket, now_s, taken = TokenBucket(quota), 1000.0, []
    for step in steps:
        now_s += step
        taken += [now_s] * bucket.take(now_s)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= quota.burst + quota.rate_per_s * (taken[last] - begin) + 1e-6


@given(QUOTAS, STEPS)
def test_after_the_wait_there_is_a_token_and_not_before(quota: Quota, steps: list[float]):
    bucket, now_s = TokenBucket(quota), 1000.0
    for step in steps:
        now_s += step
        wait_s = bucket.wait_s(now_s)
        assert 0 <= wait_s <= 1 / quota.rate_per_s
        if wait_s > 1e-3:
            assert not bucket.take(now_s + 0.9 * wait_s)
        assert bucket.take(now_s + wait_s + 1e-9)
        now_s += wait_s + 1e-9


@given(QUOTAS, QUOTAS, st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.floats(0, 2)), max_size=80))
def test_a_pacer_keeps_every_quota_and_loses_nothing(a: Quota, b: Quota, asked):
    pacer, now_s, sent = Pacer({"a": a, "b": b}), 0.0, []
    for number, (quota, step) in enumerate(asked):
        now_s += step
        pacer.add(b"%s %d" % (str(quota).encode(), number), quota)
        due = pacer.due(now_s)
        assert quota is not None or due[0].endswith(b" %d" % number)
        sent += [(now_s, request) for request in due]
    while (wait_s := pacer.wait_s(now_s)) is not None:
        now_s += wait_s + 1e-9
        sent += [(now_s, request) for request in pacer.due(now_s)]
    assert len(sent) == len(asked)
    for name, quota in (("a", a), ("b", b)):
        lane = [(at, int(request.split()[1])) for at, request in sent if request.startswith(name.encode())]
        assert [number for _, number in lane] == sorted(number for _, number in lane)
        for first in range(len(lane)):
            for last in range(first, len(lane)):
                assert last - first + 1 <= quota.burst + quota.rate_per_s * (lane[last][0] - lane[first][0]) + 1e-6


def test_a_pacer_beside_another_shares_what_was_spent_and_nothing_that_waits():
    pacer = Pacer({"a": Quota(1.0, 2)})
    for _ in range(3):
        pacer.add(b"x", "a")
    assert len(pacer.due(0.0)) == 2
    other = pacer.beside()
    assert other.wait_s(0.0) is None
    other.add(b"y", "a")
    assert other.due(0.5) == []
    assert other.wait_s(0.5) == pytest.approx(0.5)
    assert other.due(1.0) == [b"y"] and pacer.due(1.0) == []
    assert pacer.due(2.0) == [b"x"]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_a_share_of_a_doubling_capped_wait(attempt: int, jitter: float):
    wait_s = backoff_s(attempt, 0.25, 30.0, jitter)
    assert 0 <= wait_s <= 30
    assert wait_s == jitter * min(30.0, 0.25 * 2.0 ** min(attempt, 60))
    assert backoff_s(0, 0.25, 30.0, jitter) <= 0.25
