"""deploy/kvd.service: what systemd makes of it, and kvd with the environment that systemd would give it."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from command_line import NOBODY, PATIENCE_S, ROOT, ended, running, stream_of

UNIT = ROOT / "deploy" / "kvd.service"
SECTIONS = {"Unit", "Service", "Install"}
SERVICE = {
    "Type": "notify",
    "ExecStart": "/opt/kvd/bin/kvd run",
    "WatchdogSec": "10",
    "Restart": "on-failure",
    "RestartPreventExitStatus": "2",
    "StateDirectory": "kvd",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
}


def parsed():
    """(section, name, value) of every line that says something."""
    section = None
    for line in UNIT.read_text().splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            section = head[1]
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals and re.fullmatch(r"[A-Z]\w+", name), line
            yield section, name, value


def test_the_unit_says_what_the_documents_promise():
    lines = list(parsed())
    assert {section for section, _, _ in lines} == SECTIONS
    service = {name: value for section, name, value in lines if section == "Service"}
    assert service.items() >= SERVICE.items()
    once = [name for section, name, _ in lines if name not in ("Environment", "SystemCallFilter")]
    assert len(once) == len(set(once))


def test_systemd_finds_nothing_to_say(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze not found: apt-get install --no-install-recommends systemd")
    unit = tmp_path / "kvd.service"
    unit.write_text(UNIT.read_text().replace("/opt/kvd/bin/kvd", sys.executable))  # what it names must be there
    checked = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    ours = [line for line in checked.stderr.splitlines() if "kvd.service" in line]
    assert (checked.returncode, ours) == (0, []), checked.stderr


def test_kvd_as_systemd_sees_it(tmp_path):
    """From READY to STOPPING, with a watchdog that is fed as long as the loop turns."""

    async def scenario():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
            address = str(tmp_path / "notify")
            heard.bind(address)
            heard.setblocking(False)
            environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
            async with running("run", KVD_DERIBIT_URL=NOBODY, **environ) as process:
                told = [await hear(heard)]
                await stream_of(process)  # it was served before systemd was told
                while told.count("WATCHDOG=1") < 3 or len([line for line in told if "STATUS" in line]) < 1:
                    told.append(await hear(heard))
                process.send_signal(signal.SIGTERM)
                while "STOPPING" not in told[-1]:
                    told.append(await hear(heard))
                assert await ended(process) == 0
        others = [line for line in told if line != "WATCHDOG=1"]
        assert others[0] == "READY=1" and others[-1] == "STOPPING=1\nSTATUS=stopping"
        assert others[1].startswith("STATUS=not ready; deribit: no data from the venue: ")

    asyncio.run(scenario())


async def hear(heard):
    async with asyncio.timeout(PATIENCE_S):
        return (await asyncio.get_running_loop().sock_recv(heard, 4096)).decode()


STUCK = """
import asyncio, ctypes, os
from kvd.app.systemd import Systemd

async def main():
    with Systemd(os.environ) as systemd:
        ping = asyncio.create_task(systemd.ping())
        await asyncio.sleep(0.5)
        ctypes.PyDLL(None).sleep(60)  # with the interpreter's lock in its hand

asyncio.run(main())
"""


def test_a_stuck_loop_starves_the_watchdog_and_says_where_it_is_when_it_is_ended(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.settimeout(PATIENCE_S)
        environ = os.environ | {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000", "PYTHONFAULTHANDLER": "1"}
        with subprocess.Popen([sys.executable, "-c", STUCK], cwd=ROOT, env=environ, stderr=subprocess.PIPE) as process:
            assert heard.recv(100) == b"WATCHDOG=1"
            heard.settimeout(3)
            with pytest.raises(TimeoutError):
                while True:
                    heard.recv(100)
            process.send_signal(signal.SIGABRT)
            assert b'File "<string>", line 9 in main' in process.stderr.read()
            assert process.wait(PATIENCE_S) == -signal.SIGABRT
