"""The datagrams that systemd would get, on sockets of every kind that it uses."""

import asyncio
import os
import socket
import time
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from kvd.app.systemd import Systemd


@contextmanager
def listening(address):
    """Where notifications are heard."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + address[1:] if address.startswith("@") else address)
        heard.settimeout(10)
        yield heard


@pytest.fixture(params=["file", "abstract"])
def address(request, tmp_path):
    return str(tmp_path / "notify") if request.param == "file" else f"@kvd-test-{os.getpid()}"


def test_it_is_told_what_it_has_to_know(address):
    with listening(address) as heard, Systemd({"NOTIFY_SOCKET": address}) as systemd:
        systemd.served()
        assert heard.recv(1000) == b"READY=1"
        systemd.stopping()
        assert heard.recv(1000) == b"STOPPING=1\nSTATUS=stopping"


def test_the_watchdog_is_fed_twice_in_its_time_and_the_status_told_when_it_changes(address):
    lines, got = iter(["not ready; smiles: none", "not ready; smiles: none", "ready"]), []

    async def duties(systemd, heard):
        asyncio.get_running_loop().add_reader(heard, lambda: got.append(heard.recv(1000)))
        tasks = [
            asyncio.create_task(systemd.ping()),
            asyncio.create_task(systemd.follow(lambda: next(lines, "ready"))),
        ]
        began_s = time.monotonic()
        async with asyncio.timeout(30):
            while b"STATUS=ready" not in got or got.count(b"WATCHDOG=1") < 5:  # noqa: ASYNC110 a socket fills it
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return time.monotonic() - began_s

    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000", "WATCHDOG_PID": str(os.getpid())}
    with listening(address) as heard, Systemd(environ) as systemd:
        heard.setblocking(False)
        took_s = asyncio.run(duties(systemd, heard))
    assert got.count(b"WATCHDOG=1") <= took_s / 0.2 + 2
    assert [line for line in got if line != b"WATCHDOG=1"] == [b"STATUS=not ready; smiles: none", b"STATUS=ready"]


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "1000000"}])
def test_elsewhere_nothing_is_said_and_the_duties_end(environ):
    async def duties(systemd):
        async with asyncio.timeout(5):
            await systemd.ping()
            await systemd.follow(lambda: "ready")

    with Systemd(environ) as systemd:
        systemd.served()
        systemd.stopping()
        asyncio.run(duties(systemd))


def test_the_watchdog_of_another_process_is_not_ours(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Systemd(environ).watchdog_s == 0.0
    assert Systemd(environ | {"WATCHDOG_PID": str(os.getpid())}).watchdog_s == 1.0
    assert Systemd(environ | {"WATCHDOG_PID": str(os.getpid()), "WATCHDOG_USEC": "soon"}).watchdog_s == 0.0


def test_a_manager_that_does_not_listen_is_mentioned_once(tmp_path):
    address = str(tmp_path / "notify")
    with Systemd({"NOTIFY_SOCKET": address}) as systemd, capture_logs() as events:
        systemd.served()
        systemd.served()
        with listening(address) as heard:
            systemd.served()
            assert heard.recv(1000) == b"READY=1"
        systemd.served()
    assert [event["event"] for event in events] == ["systemd.unreachable"] * 2
