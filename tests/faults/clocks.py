"""R13: a daemon whose wall clock jumps an hour either way while it runs (Debian's faketime)."""

import asyncio
import json
import re
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from command_line import until
from framing import Frame
from mischief import unharmed
from verdicts import Row, Scale
from watched import Watched, watched
from websockets.asyncio.client import connect

from kvd.feeds.simulate import Exchange

LIBRARIES = Path("/usr/lib"), "*/faketime/libfaketimeMT.so.1"
JUMPS_S = (3600, 0, -3600, 3600, -3600)
YEAR_S = 365 * 86_400
TIMESTAMP = re.compile(rb'"timestamp":(\d{13})')


class WallClock:
    """What a process with `environment` takes for the time of day: ours, plus what was said last."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "clock"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, ahead_s: int) -> None:
        """From now on, be ahead of the true time by that much."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{ahead_s:+d}\n")
        part.replace(self._file)


class Said:
    """Every instant that the venue has said, milliseconds, in order."""

    def __init__(self) -> None:
        self.at_ms: list[int] = []

    def __call__(self, frames: Sequence[Frame]) -> list[bytes]:
        for frame in frames:
            for found in TIMESTAMP.finditer(frame.payload):
                if not self.at_ms or int(found[1]) > self.at_ms[-1]:
                    self.at_ms.append(int(found[1]))
        return unharmed(frames)

    def nearest_s(self, at_s: float) -> float:
        """How far from `at_s` the nearest of them is, seconds."""
        place = bisect_left(self.at_ms, at_s * 1000)
        return min(abs(ms / 1000 - at_s) for ms in self.at_ms[max(0, place - 1) : place + 1])


class Taus:
    """What the published smiles take for the present: their expiry less their tau."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self.smiles = 0
        self.off_s = 0.0  # from what the venue said
        self.old_s = 0.0  # behind what it said last

    async def listen(self, url: str) -> None:
        """Look at every smile, until cancelled."""
        async with connect(url, max_queue=None, compression=None) as client:
            await client.send('{"op":"subscribe","topics":["smile.*.*.*"]}')
            async for frame in client:
                message = json.loads(frame)
                if message["type"] == "update" and "tau" in message["smile"]:
                    self._look(message["smile"])

    def _look(self, smile: dict[str, object]) -> None:
        expiry_s = datetime.fromisoformat(str(smile["expiry"])).timestamp()
        now_s = expiry_s - float(str(smile["tau"])) * YEAR_S
        self.smiles += 1
        self.off_s = max(self.off_s, self._said.nearest_s(now_s))
        self.old_s = max(self.old_s, self._said.at_ms[-1] / 1000 - now_s)


async def clocks(scale: Scale) -> Sequence[Row]:
    """Jump the clock to and fro, and look at all that might heed it."""
    library = next(LIBRARIES[0].glob(LIBRARIES[1]), None)
    if library is None:
        return [Row("R13", "wall clock +/- 1 h", "skipped: faketime is not installed", "to be measured", scale.short)]
    with tempfile.TemporaryDirectory() as folder:
        wall = WallClock(library, Path(folder))
        async with Exchange(scale.seed, instruments=40, expiries=2, rate=60.0) as exchange:
            environ = wall.environment | {"KVD_LOG_FORMAT": "json"}
            async with watched(exchange.url, 0, scale.seed, **environ) as one:
                return await _jump(one, wall, scale)


async def _jump(one: Watched, wall: WallClock, scale: Scale) -> list[Row]:
    said = Said()
    one.proxy.harm(said)
    await until(lambda: len(said.at_ms) > 10)
    taus = Taus(said)
    listening = asyncio.create_task(taus.listen(one.url))
    unready, looks, skews = 0, 0, []
    began_s = time.monotonic()
    for ahead_s in JUMPS_S[: scale.of(len(JUMPS_S), 3)]:
        wall.jump(ahead_s)
        for _ in range(scale.of(16, 3)):
            await asyncio.sleep(0.4)
            unready += (await one.page("/readyz")).strip() != "ready"
            looks += 1
        skews.append(await one.figure("kvd_feed_clock_skew_seconds"))
    reconnects = await one.figure("kvd_feed_reconnects_total") + len(one.proxy.opened) - 1
    lost = one.has_heard("lost", began_s)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    seen_s = await _wall_clock_of(one) - time.time()
    off, old_s = taus.off_s / YEAR_S, taus.old_s
    return [
        Row("R13", "wall clock +/- 1 h: reconnects", f"{reconnects:.0f} in {looks} looks", "0", not reconnects + lost),
        Row("R13", "tau off what the venue said", f"{off:.1e} a, n {taus.smiles}", "<= 1e-9 a", off <= 1e-9),
        Row("R13", "tau behind the venue's time", f"{old_s:.2f} s at most", "<= 3 s", taus.smiles > 0 and old_s <= 3),
        Row("R13", "not ready meanwhile", f"{unready} of {looks}", "0", unready == 0),
        Row("R13", "skew exported", f"{min(skews):.3f} to {max(skews):.3f} s", "within 1 s", max(map(abs, skews)) < 1),
        Row("R13", "the process saw the jump", f"{seen_s:+.0f} s", "-3600 s", abs(seen_s + 3600) < 60),
    ]


async def _wall_clock_of(one: Watched) -> float:
    """What time the daemon takes it to be: the stamp of the line that it logs when its feed is cut."""
    began_s, lines = time.monotonic(), len(one.logs)
    one.proxy.cut()
    await one.hears("lost", since_s=began_s)
    await until(lambda: any("feed.lost" in line for line in one.logs[lines:]))
    line = next(line for line in one.logs[lines:] if "feed.lost" in line)
    return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
