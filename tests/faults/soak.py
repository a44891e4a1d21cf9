"""R12: two and a half million frames, with everything that comes and goes on the way."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from flooder import Flood, flooding
from reading import Process, reading
from verdicts import Row, Scale
from watching import Daemon, following

RATE = 15_000.0  # frames a second
MILLION = 1e6
SLOPE_MIB = 1.0
STAYING = 5  # subscribers
LOOKS = 5  # between two disturbances
VISITORS, HANG_UP_EVERY = 10, 4


class Look(NamedTuple):
    """The process at an instant at which nobody is there but those who stay."""

    frames: float
    rss_mib: float
    fds: int
    tasks: float


async def soak(scale: Scale) -> Sequence[Row]:
    """Let it run, with reconnects, visitors and stalled ones, and see whether anything grows."""
    settings = {"KVD_PUBLISH_RESUME_MIB": str(scale.of(16, 1))}  # full within the frames that do not count
    frames, begun_s, number, looks = scale.of(2_500_000, 30_000), time.monotonic(), 0, list[Look]()
    async with flooding(scale.seed, RATE) as flood, following(flood.url, **settings) as daemon, reading() as readers:
        await readers.join(daemon.port, "steady", STAYING, "atm.*.*", "surface.deribit.BTC")
        await daemon.comes_to(_is_quiet)
        while not looks or looks[-1].frames < frames:
            looks += await _look(daemon, scale.of(5, 2) / 10)
            number += 1
            await _disturb(number, flood, daemon, readers, scale.of(2, 0))
            scale.say(f"{looks[-1].frames:,.0f} frames, {looks[-1].rss_mib:.0f} MiB")
        seen, page, seconds = await readers.look(), await daemon.metrics(), time.monotonic() - begun_s
    gaps, cut, read = page["kvd_feed_gaps_total"], page.get("kvd_clients_cut_total", 0.0), looks[-1].frames
    lived = f"{read:,.0f} in {seconds:.0f} s: {gaps:.0f} gaps, {cut:.0f} cut, {number * VISITORS} visits"
    holes = seen.holes.get("steady", 0) + seen.lost
    return [
        Row("R12", "frames", lived, f">= {frames:,}", read >= frames and gaps > 0),
        *_growth([look for look in looks if look.frames >= frames / 5], scale),
        Row("R12", "lost by those who stay", str(holes), "0", holes == 0),
    ]


async def _look(daemon: Daemon, every_s: float) -> list[Look]:
    """The process, a few times."""
    found = []
    for _ in range(LOOKS):
        page, used = await daemon.metrics(), daemon.used()
        found.append(Look(page["kvd_feed_frames_total"], used.rss_mib, used.fds, page["kvd_tasks"]))
        await asyncio.sleep(every_s)
    return found


async def _disturb(number: int, flood: Flood, daemon: Daemon, readers: Process, stalling: int) -> None:
    """Let visitors come and go, a few of them stall till they are cut, and the feed be lost now and then."""
    if number % HANG_UP_EVERY == 1:
        await flood.order(hang_up=True)
    await readers.join(daemon.port, "visits", VISITORS - stalling, "surface.*.*")
    await readers.join(daemon.port, "stalls", stalling, "surface.*.*", "smile.*.*.*")
    await readers.stop(0.1, number)
    await daemon.comes_to(lambda page: page["kvd_clients"] >= STAYING + VISITORS // 2)
    await readers.leave()
    await daemon.comes_to(_is_quiet)


def _is_quiet(page: dict[str, float]) -> bool:
    complete = page["kvd_feed_channels_acked"] >= page["kvd_feed_channels_wanted"] > 100
    return complete and page["kvd_clients"] == STAYING


def _growth(looks: Sequence[Look], scale: Scale) -> list[Row]:
    columns = np.array(looks)
    millions, rss_mib = columns[:, 0] / MILLION, columns[:, 1]
    away = millions - millions.mean()
    slope = float(away @ rss_mib / max(away @ away, 1e-9))  # by least squares; none where it stood still
    memory = f"{slope:+.2f} MiB per million, {rss_mib[0]:.0f} to {rss_mib[-1]:.0f} MiB, n {len(looks)}"
    most = SLOPE_MIB * scale.of(1, 100)  # of so few frames, a slope is noise
    rows = [Row("R12", "resident memory by regression", memory, f"< {most:g} MiB per million", slope < most)]
    third = max(len(looks) // 3, 1)
    for at, name in ((2, "descriptors"), (3, "tasks")):
        first, last = (float(np.median(part)) for part in (columns[:third, at], columns[-third:, at]))
        said = f"{first:g} at first, {last:g} at last, {columns[:, at].min():g} to {columns[:, at].max():g}"
        rows.append(Row("R12", name, said, "constant", abs(last - first) <= 1))  # the page's own comes and goes
    return rows
