"""The pulse of a real event loop, and of one that is stuck."""

import asyncio
import time

from structlog.testing import capture_logs

from kvd.app.pulse import BEAT_S, Pulse


async def beating(pulse, seconds, *acts):
    """Let it beat, with `acts` each after so many seconds."""
    task = asyncio.create_task(pulse.beat())
    for act in acts:
        await asyncio.sleep(seconds)
        act()
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])


def busy(seconds):
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        pass


def test_every_beat_says_how_late_it_is():
    lags = []
    asyncio.run(beating(Pulse(lags.append), 0.5, lambda: busy(0.3)))
    assert 5 < len(lags) <= 1.0 / BEAT_S + 1
    assert min(lags) >= 0.0 and max(lags) > 0.3 - 2 * BEAT_S


def test_a_loop_that_is_stuck_is_spoken_of_once_where_it_is_and_counted_when_it_comes_back():
    pulse = Pulse(lambda _: None, stuck_after_s=0.5)
    with capture_logs() as events:
        asyncio.run(beating(pulse, 0.1, lambda: busy(1.5), lambda: busy(0.05)))
    assert [event["event"] for event in events] == ["loop.stuck", "loop.resumed"]
    stuck, resumed = events
    assert stuck["stack"][-1].endswith(" busy") and 0.5 <= stuck["late_s"] < resumed["late_s"]
    assert pulse.stalls == 1


def test_each_time_is_spoken_of_anew():
    pulse = Pulse(lambda _: None, stuck_after_s=0.2)
    with capture_logs() as events:
        asyncio.run(beating(pulse, 0.1, lambda: busy(0.6), lambda: busy(0.6)))
    assert [event["event"] for event in events] == ["loop.stuck", "loop.resumed"] * 2
    assert pulse.stalls == 2
