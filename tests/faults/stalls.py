"""R4: subscribers who stop reading, read too little, or ask without reading, among others who must not notice."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from caps import caps
from flooder import flooding
from reading import Process, Seen, reading
from verdicts import Row, Scale
from watching import Daemon, following

RATE = 700.0
EVERYTHING = ("surface.*.*", "smile.*.*.*", "atm.*.*")
HELD_MIB, LATE_SHARE = 1.0, 0.1
SIPPERS, ASKERS = 5, 5
LOOK_S = 0.25


class Crowd(NamedTuple):
    """How many subscribers there are of each kind, and after how long who takes nothing is cut."""

    small: int  # who listen to the levels of a surface,
    single: int  # to one smile,
    whole: int  # to a surface
    stalling: int
    after_s: float
    room_s: float  # how far from that it may be: a tenth; in the short form the machine is not ours
    late_s: float  # how much later the others may hear, beside a tenth
    places: int

    @property
    def steady(self) -> int:
        """All who read all they can."""
        return self.small + self.single + self.whole


async def stalls(scale: Scale) -> Sequence[Row]:
    """Twenty of two hundred stop reading at instants of their own; some sip from then on, some ask and never read."""
    crowd = Crowd(30, 12, 3, 5, 2.0, 1.5, 2.0, 70) if scale.short else Crowd(100, 60, 20, 20, 5.0, 0.5, 0.05, 260)
    settings = {"KVD_PUBLISH_STALLED_AFTER_S": str(crowd.after_s), "KVD_PUBLISH_MAX_CLIENTS": str(crowd.places)}
    async with flooding(scale.seed, RATE) as flood, following(flood.url, **settings) as daemon, reading() as readers:
        await _come(readers, daemon.port, crowd, await _a_smile(daemon))
        held = Held(daemon)
        await held.during(scale.of(2, 0))
        await readers.look()
        await held.during(scale.of(10, 1))
        before = await readers.look()
        await readers.stop(scale.of(4, 1), scale.seed)
        await readers.join(daemon.port, "asks", ASKERS, *EVERYTHING, op="subscribe", topics=["surface.*.*"])
        await held.during(scale.of(4, 1) + crowd.after_s + 0.8)
        during, page = await readers.look(), await daemon.metrics()
        rows = [*_stalled(crowd, during, page, held.most_mib), *_others(crowd, before, during)]
        return [*rows, *await caps(daemon.port, crowd.places, sockets=not scale.short)]


async def _come(readers: Process, port: int, crowd: Crowd, smile: str) -> None:
    await readers.join(port, "steady", crowd.small, "atm.deribit.BTC")
    await readers.join(port, "steady", crowd.single, smile)
    await readers.join(port, "steady", crowd.whole, "surface.deribit.ETH")
    await readers.join(port, "stalls", crowd.stalling, *EVERYTHING)
    await readers.join(port, "sips", SIPPERS, *EVERYTHING)


async def _a_smile(daemon: Daemon) -> str:
    """The topic of one that is quoted."""
    expiries = sorted(re.findall(r'kvd_smile_age_seconds\{expiry="([^"]{10})', "\n".join(await daemon.metrics())))
    return f"smile.deribit.BTC.{expiries[len(expiries) // 2]}"


class Held:
    """The most that any client has held."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.most_mib = 0.0

    async def during(self, seconds: float) -> None:
        """Look for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            page = await self._daemon.metrics()
            self.most_mib = max(self.most_mib, page["kvd_client_held_bytes"] / 2**20)
            await asyncio.sleep(LOOK_S)


def _stalled(crowd: Crowd, during: Seen, page: dict[str, float], held_mib: float) -> list[Row]:
    cut, counted = during.cut_after_s, page.get('kvd_clients_cut_total{reason="stalled"}', 0.0)
    when = f"{min(cut, default=0):.2f} to {max(cut, default=0):.2f} s after they stopped, n {len(cut)}"
    in_time = len(cut) == crowd.stalling and all(abs(s - crowd.after_s) <= crowd.room_s for s in cut)
    limit = f"{crowd.after_s:g} s +- {crowd.room_s:g} s, {crowd.stalling} of {crowd.stalling}"
    asked, sipped = during.ended.get("asks", 0), during.ended.get("sips", 0)
    gaps, holes = during.gaps.get("sips", 0), during.holes.get("sips", 0)
    told, total = f"{SIPPERS - sipped} of {SIPPERS} stay, {gaps} gaps, {holes} holes", crowd.steady + crowd.stalling
    most = f"{held_mib:.2f} MiB, n {total + SIPPERS + ASKERS}"
    return [
        Row("R4", "held by a client at most, kernel included", most, "<= 1 MiB", 0.2 <= held_mib <= HELD_MIB),
        Row("R4", "stalled clients cut", when, limit, in_time),
        Row("R4", "who asks without reading is cut", f"{asked} of {ASKERS}", "all", asked == ASKERS),
        Row(
            "R4", "cuts counted with their reason", f"{counted:.0f}", f"{len(cut) + asked}", counted == len(cut) + asked
        ),
        Row("R4", "who reads just enough stays, and is told", told, "all, no hole", gaps > 0 == sipped == holes),
    ]


def _others(crowd: Crowd, before: Seen, during: Seen) -> list[Row]:
    holes, gaps = during.holes.get("steady", 0), during.gaps.get("steady", 0)
    heard = during.messages["steady"] - before.messages["steady"]
    said = f"{heard:,} messages to {crowd.steady}, {holes} holes, {gaps} gaps, {during.lost} lost their connection"
    at, then = ([seen.delays_s[len(seen.delays_s) * p // 100] for p in (50, 99)] for seen in (before, during))
    delays = f"p50 {then[0] * 1e3:.1f} ms, p99 {then[1] * 1e3:.1f} ms, n {len(during.delays_s)}"
    limit = f"as before, {at[0] * 1e3:.1f} and {at[1] * 1e3:.1f} ms, within 10 % and {crowd.late_s * 1e3:.0f} ms"
    unmoved = all(now <= (1 + LATE_SHARE) * was + crowd.late_s for was, now in zip(at, then, strict=True))
    return [
        Row("R4", "the others lose nothing", said, "0, 0 and 0", holes == gaps == during.lost == 0 and heard > 0),
        Row("R4", "their delay from publishing", delays, limit, unmoved),
    ]
