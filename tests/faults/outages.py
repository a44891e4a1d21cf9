"""R1, R2: whole daemons whose feeds fail in every way there is: how soon it is said, and how soon data flow again."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from statistics import median

from command_line import until
from mischief import NOT_DERIBIT, NOT_JSON, duplicate, garbage, mute, reorder
from newest import newest_agree
from proxy import Proxy
from verdicts import Row, Scale
from watched import PATIENCE_S, Watched, watched

from kvd.feeds.simulate import Exchange

DAEMONS, ROUNDS = 10, 5
OPTIONS, CHUNKS = 40, 10  # as many subscribe requests, so that there is something to pace
RATE = 6.0  # tickers a second; the index and the futures come on top
STARTING = 2  # at once: a start is all processor
SETTLED_S = 10.5  # longer than feed.settled_after_s: the waits between attempts begin anew
OUTAGE_S = 0.2
SUBSCRIBES, LISTINGS = (10, 10 / 3), (5, 1.0)  # Deribit's pools, in requests: at once, and a second

Fault = Callable[[Proxy], Awaitable[None]]


def at_once(fault: Callable[[Proxy], object]) -> Fault:
    """A fault that does not wait."""

    async def do(proxy: Proxy) -> None:
        fault(proxy)

    return do


FAULTS: dict[str, Fault] = {
    "cut": at_once(Proxy.cut),
    "stalled": at_once(Proxy.stall),
    "half-open": at_once(Proxy.half_open),
    "truncated": at_once(Proxy.truncate),
    "dripping": at_once(lambda proxy: proxy.drip(200.0)),
    "canary dead": at_once(lambda proxy: proxy.harm(mute("deribit_price_index."))),
    "heartbeats alone": at_once(lambda proxy: proxy.harm(mute(""))),
    "refused": Proxy.refuse,
    "hung up on": at_once(Proxy.hang_up),
    "broken framing": at_once(Proxy.break_framing),
}

LASTING = ("stalled", "half-open", "dripping", "canary dead", "heartbeats alone", "refused", "hung up on")


async def outages(scale: Scale) -> Sequence[Row]:
    """All that R1 and R2 say, on daemons side by side behind proxies of their own before one exchange."""
    exchange = Exchange(scale.seed, instruments=OPTIONS, expiries=2, rate=RATE)
    async with AsyncExitStack() as stack:
        target = (await stack.enter_async_context(exchange)).url
        daemons: list[Watched] = []
        for first in range(0, scale.of(DAEMONS, 2), STARTING):
            async with asyncio.TaskGroup() as group:
                chunk = {"KVD_DERIBIT_CHUNK_CHANNELS": str(OPTIONS // CHUNKS)}
                both = [watched(target, n, scale.seed, **chunk) for n in range(first, first + STARTING)]
                tasks = [group.create_task(stack.enter_async_context(one)) for one in both]
            daemons += [task.result() for task in tasks]
        scale.say(f"{len(daemons)} daemons run")
        noticed, back = await _rounds(daemons, scale)
        rows = [*_noticed(noticed), *_back(back)]
        rows += await _soiled(daemons, scale)
        rows += await _storms(daemons, scale)
        rows += _quotas([one.proxy for one in daemons])
    return rows


# noticed, and back


async def _rounds(daemons: Sequence[Watched], scale: Scale) -> tuple[list[tuple[str, float]], list[float]]:
    noticed: list[tuple[str, float]] = []
    back: list[float] = []
    kinds = list(FAULTS)
    Random(scale.seed).shuffle(kinds)

    async def one_after_another(one: Watched) -> None:
        for number in range(scale.of(ROUNDS, 1)):
            if number:
                await asyncio.sleep(SETTLED_S)
            await asyncio.sleep(one.random.uniform(0.0, 1.0))
            back.append(await _short_outage(one))
            await asyncio.sleep(one.random.uniform(0.0, 1.0))
            kind = kinds[(one.number + number) % len(kinds)]
            noticed.append((kind, await _fault(one, kind)))
            scale.say(f"daemon {one.number}: {kind} noticed in {noticed[-1][1]:.2f} s ({one.reason})")

    async with asyncio.TaskGroup() as group:
        for one in daemons:
            group.create_task(one_after_another(one))
    return noticed, back


async def _short_outage(one: Watched) -> float:
    """Nobody there for 200 ms; the seconds from then until data flow, as a subscriber hears it."""
    began_s = time.monotonic()
    await one.proxy.refuse()
    await asyncio.sleep(OUTAGE_S)
    await one.proxy.listen()
    ended_s = time.monotonic()
    await one.hears("lost", "widened", since_s=began_s)
    return await one.hears("connected", "fresh", since_s=ended_s)


async def _fault(one: Watched, kind: str) -> float:
    """The seconds from a fault until a subscriber has heard that the feed is lost, and of a smile that it is wider."""
    began_s = time.monotonic()
    await FAULTS[kind](one.proxy)
    took_s = await one.hears("lost", "widened", since_s=began_s)
    if kind in LASTING:
        assert "no data from the venue" in await one.page("/readyz?verbose")
    one.proxy.well()
    if kind == "refused":
        await one.proxy.listen()
    await one.hears("connected", "fresh", since_s=began_s)
    return took_s


def _noticed(noticed: Sequence[tuple[str, float]]) -> list[Row]:
    took = sorted(seconds for _, seconds in noticed)
    within = sum(seconds <= 3.0 for seconds in took)
    measured = f"{within} of {len(took)} in {len({kind for kind, _ in noticed})} ways, worst {took[-1]:.2f} s"
    return [Row("R1", "feed lost until said in-band", measured, "all <= 3 s", within == len(took))]


def _back(back: Sequence[float]) -> list[Row]:
    middle, worst = median(back), max(back)
    measured = f"{middle:.2f} s median, {worst:.2f} s worst, n {len(back)}"
    return [
        Row("R2", "data again after 200 ms", measured, "median <= 2 s, worst <= 5 s", middle <= 2.0 and worst <= 5.0)
    ]


# who refuses


async def _storms(daemons: Sequence[Watched], scale: Scale) -> list[Row]:
    """One daemon is cut off, one hung up on, others told when to come back; and then all are let in again."""
    answers = [(429, scale.of(4, 2)), (418, 3), (503, 5)][: len(daemons) - 1]
    span_s = scale.of(8, 2)
    await _cut_off(daemons[0 if scale.short else -1], 3)  # whose waits are long after it
    async with asyncio.TaskGroup() as group:
        attempts = group.create_task(_hung_up_on(daemons[0], span_s))
        paused = [group.create_task(_told(one, *told)) for one, told in zip(daemons[1:], answers, strict=False)]
    tried, early = attempts.result(), [task.result() for task in paused]
    said = ", ".join(f"{least_s:.1f} of {after} s" for least_s, after in early)
    rows = [
        Row("R2", "attempts at a server that hangs up", f"{tried} in {span_s} s", "<= 15", tried <= 15),
        Row("R2", "Retry-After heeded", said, "never earlier", all(least_s >= after for least_s, after in early)),
    ]
    return rows if scale.short else [*rows, await _let_in(daemons[: len(answers) + 1])]


async def _let_in(daemons: Sequence[Watched]) -> Row:
    began_s = time.monotonic()
    back = await asyncio.gather(*[one.hears("fresh", since_s=began_s) for one in daemons])
    measured = f"{sum(map(math.isfinite, back))} of {len(back)}, worst {max(back):.0f} s"
    return Row("R2", "back by themselves after it", measured, "all, <= 31 s", max(back) <= 31)


async def _cut_off(one: Watched, cuts: int) -> None:
    """Cut `cuts` times, each in the midst of its requests."""
    for _ in range(cuts):
        asked = len(one.proxy.requests)
        one.proxy.cut()
        await until(partial(_asks, one.proxy, asked), PATIENCE_S)


async def _hung_up_on(one: Watched, span_s: float) -> int:
    """Hung up on for `span_s`: the attempts made in that."""
    before = len(one.proxy.opened)
    one.proxy.hang_up()
    await asyncio.sleep(span_s)
    tried = len(one.proxy.opened) - before
    one.proxy.well()
    return tried


def _asks(proxy: Proxy, before: int) -> bool:
    """Whether somebody is connected and busy asking."""
    return proxy.links > 0 and len(proxy.requests) > before + CHUNKS // 2


async def _told(one: Watched, status: int, after_s: int) -> tuple[float, int]:
    """The least time between the first refusal and the next attempt."""
    before = len(one.proxy.opened)
    one.proxy.answer(status, str(after_s))
    one.proxy.cut()
    await until(lambda: len(one.proxy.opened) >= before + 2, PATIENCE_S)
    one.proxy.well()
    return one.proxy.opened[before + 1] - one.proxy.opened[before], after_s


# what is in the frames


async def _soiled(daemons: Sequence[Watched], scale: Scale) -> list[Row]:
    """Frames out of order, twice, among garbage, and a stream broken off by bytes that are none of it."""
    each_s = 0.5 if scale.short else 3.0
    found, *_ = await asyncio.gather(newest_agree(scale.seed, each_s), *[_soil(one, each_s) for one in daemons])
    bad = [await one.figure("kvd_feed_bad_frames_total") for one in daemons]
    scale.say(f"{found}")
    agreed = f"{found.agreed} of {found.instruments} instruments, {found.bad_frames} bad frames"
    return [
        Row(
            "R2", "reordered, twice, garbage", f"{len(daemons)} daemons live, {sum(bad):.0f} bad frames counted",
            "none ends, all counted", all(count > 0 for count in bad),
        ),
        Row(
            "R2", "newest values after it", agreed, "all as the exchange said",
            found.agreed == found.instruments > 0 and found.bad_frames > 0,
        ),
    ]  # fmt: skip


async def _soil(one: Watched, each_s: float) -> None:
    random = one.proxy.random
    for mischief in (
        reorder(random), duplicate(random), garbage(random, NOT_JSON, 0.5), garbage(random, NOT_DERIBIT, 0.5)
    ):  # fmt: skip
        one.proxy.harm(mischief)
        await asyncio.sleep(each_s)
    broken_s = time.monotonic()
    one.proxy.break_framing()
    one.proxy.well()
    await one.hears("lost", "connected", "fresh", since_s=broken_s)


# never above quota


def _quotas(proxies: Sequence[Proxy]) -> list[Row]:
    """What the exchange refused, and the most that any daemon asked in any span, over all of its connections."""
    refused = sum(b"10028" in error for proxy in proxies for error in proxy.errors)
    at = [_instants(proxy) for proxy in proxies]
    subscribes = max(_beyond(times["subscribe"], SUBSCRIBES[1]) for times in at)
    listings = max(_beyond(times["get_instruments"], LISTINGS[1]) for times in at)
    asked = sum(len(times) for by_kind in at for times in by_kind.values())
    measured = f"10028: {refused}; at once {subscribes:.1f} subscribes, {listings:.1f} listings; n {asked}"
    kept = refused == 0 and subscribes <= SUBSCRIBES[0] and listings <= LISTINGS[0]
    return [Row("R2", "requests within the venue's quotas", measured, "0; 10; 5", kept and asked > 0)]


def _instants(proxy: Proxy) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"subscribe": [], "get_instruments": []}
    for request in proxy.requests:
        method = str(json.loads(request.text or b"{}").get("method", "")) if request.text.startswith(b"{") else ""
        kind = method.removeprefix("public/").removeprefix("un")
        if kind in found:
            found[kind].append(request.at_s)
    return found


def _beyond(times: Sequence[float], rate_per_s: float) -> float:
    """The most requests in any span, less what `rate_per_s` allows of it: what must have been a burst."""
    most, least = 0.0, 0.0
    for number, at_s in enumerate(times):
        least = min(least, number - rate_per_s * (at_s - times[0]))
        most = max(most, number + 1 - rate_per_s * (at_s - times[0]) - least)
    return most
