"""R6, of `kills`: the disk of the checkpoint is full for a while, and a kill -9 comes while it is."""

import asyncio
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from command_line import PATIENCE_S, exchange
from following import Listener
from verdicts import Row, Scale
from victims import Victim, free_port, get

DISK_BYTES = 2 << 20
FULL_S = 4.0


class Disk(NamedTuple):
    """A disk that can be filled and emptied for the process that writes to it, and what it is."""

    folder: Path
    fill: Callable[[int], object]
    empty: Callable[[int], object]
    what: str


async def full_checkpoint(scale: Scale) -> Sequence[Row]:
    """The trial."""
    with _disk() as disk:
        async with exchange("--seed", scale.seed, "--instruments", 400, "--rate", 300) as url:
            port = free_port()
            listener = Listener(port)
            async with Victim(disk.folder, port, url) as daemon, asyncio.TaskGroup() as group:
                listening = group.create_task(listener.listen())
                row = await _filled(disk, daemon, listener, port)
                listening.cancel()
    return [row]


async def _filled(disk: Disk, daemon: Victim, listener: Listener, port: int) -> Row:
    """Fill it, empty it, fill it again and kill."""
    await daemon.start()
    await _metric(port, "kvd_checkpoint_writes_total", lambda value: value >= 2)
    disk.fill(daemon.process.pid)
    await _metric(port, "kvd_checkpoint_failing", lambda value: value == 1)
    heard = len(listener.told)
    await asyncio.sleep(FULL_S)
    published = (len(listener.told) - heard) / FULL_S
    failures = await _metric(port, "kvd_checkpoint_failures_total", lambda value: value >= 2)
    disk.empty(daemon.process.pid)
    await _metric(port, "kvd_checkpoint_failing", lambda value: value == 0)
    disk.fill(daemon.process.pid)
    await _metric(port, "kvd_checkpoint_failing", lambda value: value == 1)
    said = [len(daemon.said(f"checkpoint.{event}")) for event in ("failed", "recovered")]
    await daemon.kill()
    await daemon.start()
    restored = len(daemon.said("checkpoint.restored"))
    measured = (
        f"{published:.0f} smiles/s while full, {failures:.0f} failures counted, said {said[0]} and {said[1]} times, "
        f"{'warm' if restored else 'cold'} after kill -9; {disk.what}"
    )
    passed = published > 1 and said == [2, 1] and restored == 1 and not listener.complaints
    return Row("R6", "disk of the checkpoint full", measured, "published, counted, recovered, warm", passed)


async def _metric(port: int, name: str, wanted: Callable[[float], bool]) -> float:
    """A series once it is as it is wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for line in (await get(port, "/metrics")).decode().splitlines():
                if line.startswith(f"{name} ") and wanted(float(line.split()[1])):
                    return float(line.split()[1])
            await asyncio.sleep(0.1)


@contextmanager
def _disk() -> Iterator[Disk]:
    """A tmpfs of its own where one may be mounted; elsewhere a limit on the size of what the process writes."""
    folder = Path(tempfile.mkdtemp())
    size = f"size={DISK_BYTES}"
    mounted = not subprocess.run(
        ("mount", "-t", "tmpfs", "-o", size, "tmpfs", folder), capture_output=True, check=False
    ).returncode
    try:
        if mounted:
            ballast = folder / "ballast"
            yield Disk(folder, lambda _: _fill(ballast), lambda _: ballast.unlink(), "tmpfs of 2 MiB")
        else:
            yield Disk(
                folder, lambda pid: _limit(pid, 4096), lambda pid: _limit(pid, resource.RLIM_INFINITY), "RLIMIT_FSIZE"
            )
    finally:
        if mounted:
            subprocess.run(("umount", folder), check=True)
        shutil.rmtree(folder)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def _limit(pid: int, bytes_: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (bytes_, hard))
