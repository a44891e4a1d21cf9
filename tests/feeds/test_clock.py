import time

from kvd.feeds.clock import ArrivalClock


def test_it_agrees_with_the_wall_clock_and_never_runs_backwards():
    clock = ArrivalClock()
    before_us = time.time_ns() // 1000
    stamps = [clock.now_us() for _ in range(10_000)]
    assert stamps == sorted(stamps)
    assert abs(stamps[0] - before_us) < 1_000_000
