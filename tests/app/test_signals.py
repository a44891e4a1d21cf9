"""Two signals to processes of their own, one of them stuck."""

import signal
import subprocess
import sys

import pytest
from command_line import PATIENCE_S, ROOT

LOOP = """
import asyncio
from kvd.app.signals import stop_on_signals

async def main():
    with stop_on_signals() as stop:
        print("waiting", flush=True)
        await stop.wait()
        print("asked", flush=True)
        {then}

asyncio.run(main())
"""
WAIT, STUCK = "await asyncio.sleep(60)", "while True: pass"


def python(code):
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("then", [WAIT, STUCK])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_even_what_is_stuck(then, number):
    with python(LOOP.format(then=then)) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 128 + number


def test_after_the_block_signals_are_as_they_were():
    code = LOOP.format(then="return") + "\nimport signal\nprint(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    with python(code) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        assert [line.strip() for line in process.stdout] == ["asked", "True"]
        assert process.wait(PATIENCE_S) == 0
