"""R3: ten times as much as the daemon can read, for a minute."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from flooder import Counts, Flood, flooding
from verdicts import Row, Scale
from watching import Daemon, Follower, following

NOMINAL = 700.0  # frames a second of a venue's usual day
ENDLESS = 1e6  # frames a second: more than any socket takes
TIMES = 10


class Limits(NamedTuple):
    """What is promised; the short form, on a machine that others use, asks less."""

    oldest_s: float
    flat: float
    normal_s: float
    overwritten: float


PROMISED, IN_SHORT = Limits(1.0, 0.05, 0.25, 0.01), Limits(8.0, 0.1, 4.0, 0.5)


class Window(NamedTuple):
    """What happened in a stretch of time: `rss_mib` is as it was each second from `settled_s` on."""

    seconds: float
    counts: Counts
    read: float
    overwrites: float
    ages_s: list[float]
    rss_mib: list[float]

    @property
    def ages(self) -> str:
        """The ages in words."""
        middle = self.ages_s[len(self.ages_s) // 2]
        return f"{self.ages_s[-1]:.3f} s worst, {middle:.3f} s median, n {len(self.ages_s)}"


async def floods(scale: Scale) -> Sequence[Row]:
    """Measure what it can read, offer ten times that, and go back to the usual."""
    follower = Follower()
    ring_mib = scale.of(32, 2)  # full before the flood begins: until then memory grows by design
    async with (
        flooding(scale.seed, NOMINAL) as flood,
        following(flood.url, KVD_PUBLISH_RESUME_MIB=str(ring_mib)) as daemon,
        asyncio.TaskGroup() as tasks,
    ):
        task = tasks.create_task(follower.follow(daemon.stream, ["atm.*.*", "surface.deribit.BTC"]))
        watch = Watch(flood, daemon, follower)
        before = await watch.window(NOMINAL, scale.of(5, 1))
        await flood.order(rate=ENDLESS)
        await daemon.comes_to(lambda page: page["kvd_ring_bytes"] > 0.97 * ring_mib * 2**20, within_s=180.0)
        capacity = await watch.window(ENDLESS, scale.of(5, 1))
        readable = capacity.read / capacity.seconds
        scale.say(f"it reads {readable:,.0f} frames a second")
        during = await watch.window(TIMES * readable, scale.of(60, 4), settled_s=scale.of(10, 1))
        await flood.order(rate=NOMINAL)
        await asyncio.sleep(scale.of(5, 1))
        after = await watch.window(NOMINAL, scale.of(5, 1))
        task.cancel()
    limits = IN_SHORT if scale.short else PROMISED
    return _rows(limits, readable, (before, during, after), follower)


class Watch:
    """A flood, the daemon in it, and who listens to the daemon."""

    def __init__(self, flood: Flood, daemon: Daemon, follower: Follower) -> None:
        self._flood, self._daemon, self._follower = flood, daemon, follower

    async def window(self, rate: float, seconds: float, settled_s: float = 0.0) -> Window:
        """What happens while `rate` frames a second are offered for so long."""
        before = await self._flood.order(rate=rate)
        first, began_s = await self._daemon.metrics(), time.time()
        rss_mib: list[float] = []
        while (now_s := time.time()) < began_s + seconds:
            if now_s >= began_s + settled_s:
                rss_mib.append(self._daemon.used().rss_mib)
            await asyncio.sleep(min(1.0, seconds / 5))
        after, last, ended_s = await self._flood.order(), await self._daemon.metrics(), time.time()
        read, overwrites = (
            last[name] - first[name] for name in ("kvd_feed_frames_total", "kvd_inbox_overwrites_total")
        )
        counts = Counts(after.offered - before.offered, after.taken - before.taken)
        ages_s = self._follower.ages_s(began_s, ended_s)
        return Window(ended_s - began_s, counts, read, overwrites, ages_s, rss_mib)


def _rows(limits: Limits, readable: float, windows: Sequence[Window], follower: Follower) -> list[Row]:
    before, during, after = windows
    s, offered = during.seconds, during.counts.offered / during.seconds
    rates = f"{offered:,.0f} frames/s offered, {during.read / s:,.0f} read, of {readable:,.0f} possible, for {s:.0f} s"
    low, high = min(during.rss_mib), max(during.rss_mib)
    memory = f"{low:.0f} to {high:.0f} MiB, {high / low - 1:.1%}"
    again = f"{after.ages}; {before.ages_s[-1]:.3f} s worst before"
    lost = after.overwrites / max(after.read, 1)
    chain = follower.chain
    gaps = sum(chain.heard.count(reason) for reason in ("slow", "too_old", "unknown_seq"))
    heard = f"{len(chain.heard):,} messages, {gaps} gaps, all said"
    oldest, normal = f"<= {limits.oldest_s:g} s", max(limits.normal_s, before.ages_s[-1])
    enough = during.counts.offered >= 0.95 * TIMES * readable * s
    return [
        Row("R3", "flood", rates, "ten times what it reads", enough),
        Row("R3", "age of the newest applied quote in it", during.ages, oldest, during.ages_s[-1] <= limits.oldest_s),
        Row("R3", "resident memory in it", memory, f"flat within {limits.flat:.0%}", high <= (1 + limits.flat) * low),
        Row("R3", "age of it 5 s after", again, f"< {normal:.2f} s", after.ages_s[-1] <= normal),
        Row(
            "R3",
            "quotes overwritten by then",
            f"{lost:.2%}",
            f"<= {limits.overwritten:.0%}",
            lost <= limits.overwritten,
        ),
        Row("R3", "chains of numbers", heard, "no hole unsaid", len(chain.heard) > 0),
    ]
