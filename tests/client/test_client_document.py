"""docs/client.md as a reader tries it: every example is run against a running kvd, and every name in it exists."""

import asyncio
import inspect
import os
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from served import publisher
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

import kvd

DOCUMENT = (Path(__file__).parents[2] / "docs" / "client.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)
TOKEN = "hush-hush-hush-hush"
FIRST_LINES = (
    rf"{CHRISTMAS} live 0\.5512 0\.5\d+ 0\.00\d+",
    r"0\.5\d+",
    rf"\[\({CHRISTMAS}, -0\.0731\), \({CHRISTMAS + DAY}, -0\.0731\)\]",
    rf"{CHRISTMAS} 64250\.5 0\.5512 -0\.0731 live",
    r"\d+",
    "True",
)


@asynccontextmanager
async def certified(folder):
    """A certificate for 127.0.0.1 and its key, as settings of [publish]."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=kvd", "-addext", "subjectAltName=IP:127.0.0.1"]
    await asyncio.to_thread(
        subprocess.run, [*make, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    yield {"tls_certificate": str(certificate), "tls_key": str(key), "tokens": (f"desk:read:{TOKEN}",)}


async def first_line(code, **environ):
    """What an example prints first."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            line = await process.stdout.readline()
            return line.decode().strip() or (await process.stderr.read()).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_there_is_a_first_line_for_every_example():
    assert len(FIRST_LINES) == len(EXAMPLES)


@pytest.mark.parametrize("number", [i for i, code in enumerate(EXAMPLES) if "DESK_URL" not in code])
def test_an_example_runs(number):
    async def run():
        async with publisher() as server:
            for at_us in (NOON, NOON + 60 * SECOND):
                server.publish(update(smile(publish_us=at_us), smile(CHRISTMAS + DAY, publish_us=at_us)))
            return await first_line(EXAMPLES[number].replace("127.0.0.1:8765", f"127.0.0.1:{server.port}"))

    assert re.fullmatch(FIRST_LINES[number], asyncio.run(run()))


def test_the_example_with_a_token_and_tls_runs(tmp_path):
    (code,) = (code for code in EXAMPLES if "DESK_URL" in code)

    async def run():
        async with certified(tmp_path) as settings, publisher(**settings) as server:
            desk = {"DESK_URL": f"wss://127.0.0.1:{server.port}", "DESK_TOKEN": TOKEN}
            good = await first_line(code, **desk, DESK_CA=settings["tls_certificate"])
            assert good == FIRST_LINES[EXAMPLES.index(code)]
            # unknown to this machine it is refused, on the stream and on the pages, with the mend
            with pytest.raises(kvd.client.Refused, match=r"is not trusted .*: set SSL_CERT_FILE"):
                async with kvd.connect(desk["DESK_URL"], token=TOKEN, patience_s=9.0):
                    pass
            with pytest.raises(kvd.client.Refused, match="is not trusted"):
                at = kvd.client.address(desk["DESK_URL"], TOKEN)
                await asyncio.to_thread(kvd.client.surface_page, at, "BTC")
            with pytest.raises(kvd.client.Unreachable):
                async with kvd.connect(desk["DESK_URL"].replace("wss", "ws"), token=TOKEN):
                    pass

    asyncio.run(run())


def test_the_table_of_methods_is_that_of_both_streams():
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", DOCUMENT, re.MULTILINE)
    assert [name for name, _ in rows] == [
        "surfaces", "smiles", "atm", "messages", "surface", "lock", "unlock", "statistics",
    ]  # fmt: skip
    for name, arguments in rows:
        asked = [re.split(r"[=*]", argument.strip().lstrip("*"))[0] for argument in arguments.split(",") if argument]
        for stream in (kvd.client.Stream, kvd.client.SyncStream):
            assert [p for p in inspect.signature(getattr(stream, name)).parameters if p != "self"] == asked


def test_the_table_of_errors_is_that_of_the_client():
    raised = re.findall(r"^\| `(\w+)` \| ", DOCUMENT.partition("| raised |")[2], re.MULTILINE)
    errors = {name for name in kvd.client.__all__ if str(name).endswith(("Error", "Refused", "able", "rupted"))}
    assert set(raised) == errors
