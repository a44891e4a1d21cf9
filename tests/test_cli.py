"""The commands as a user meets them: what they print, how they refuse, how they end."""

import asyncio
import gzip
import json
import os
import pty
import re
import signal
import socket
import subprocess

import pytest
from command_line import (
    COMMAND,
    NOBODY,
    PATIENCE_S,
    ROOT,
    ended,
    environment,
    exchange,
    line_with,
    run,
    running,
    stream_of,
    until,
)
from websockets.asyncio.client import connect

import kvd
from kvd.config import KEYS
from kvd.sinks import chain

COMMANDS = {
    "run": ["--config", "--seconds", "--record", "no key is needed"],
    "demo": ["--config", "--seconds", "--seed", "without network or configuration"],
    "replay": ["TAPE...", "--output", "--speed", "--json", ".ndjson.zst", "Withhold a fifth"],
    "report": ["TAPE", "--config", "--json", "--html", "a cold refit", "needs plotly"],
    "tune": ["TAPE...", "--judge", "--toml", "--json", "--rounds", "--only", "Ctrl-C keeps the best so far"],
    "record": ["[TAPE|FOLDER]", "--venue", "--seconds", "the folder of [recorder]"],
    "check": ["--config", "--json", "secrets are masked"],
    "checkpoint": ["FILE", "--json", "checkpoint.path"],
    "bench": ["--json", "a bare floor"],
    "schema": ["asyncapi", "openapi", "AsyncAPI 3 and OpenAPI 3.1"],
    "simulate": ["--port", "--seed", "--rate", "--instruments", "--families", "prints its address"],
    "top": ["[UNDERLYING...]", "--url", "--token-file", "plain lines where there is no terminal"],
    "tail": ["TOPIC...", "--url", "NDJSON"],
    "surface": ["UNDERLYING", "--venue", "--at", "--format", "As it is, or as it was"],
    "lock": [
        "UNDERLYING",
        "EXPIRY",
        "--of",
        "--vol-at",
        "--value",
        "--sd",
        "--for",
        "--until",
        "--venue",
        "kvd unlock",
    ],
    "unlock": ["ID", "--token-file", "before its time"],
    "healthcheck": ["--config", "Exit code 0", "1 with what is missing"],
    "audit": ["verify", "Look for any change"],
}
TOKEN = "desk:read:0123456789abcdef"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def words(text):
    return " ".join(text.split())


def refusal(result):
    """The one sentence of a command that refused, with nothing else said or done."""
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert result.stderr.startswith("kvd: ") and result.stderr.count("\n") == 1
    return result.stderr.strip()


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A few seconds of the synthetic exchange, as `kvd record` writes them."""
    tape = tmp_path_factory.mktemp("recorded") / "synthetic.ndjson.gz"

    async def scenario():
        async with (
            exchange("--instruments", 200, "--rate", 400) as url,
            running("record", tape, "--seconds", 4, KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC") as process,
        ):
            assert await ended(process, PATIENCE_S) == 0
            return (await process.stderr.read()).decode()

    said = asyncio.run(scenario())
    frames = int(re.search(r"([\d,]+) frames written to", said)[1].replace(",", ""))
    lines = gzip.decompress(tape.read_bytes()).splitlines()
    assert len(lines) == frames > 1000
    return tape


# Help


def test_the_list_of_commands_fits_and_names_each():
    shown = run("--help").stdout
    assert set(re.findall(r"^  (\w+) +\w.*\.$", shown.partition("Commands:")[2], re.MULTILINE)) == set(COMMANDS)
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    shown = run(command, "--help")
    assert shown.returncode == 0
    assert [phrase for phrase in COMMANDS[command] if phrase not in words(shown.stdout)] == []
    assert shown.stdout.startswith(f"Usage: kvd {command} ")


def test_version():
    assert run("--version").stdout == f"{kvd.__version__}\n"


# Bad input


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        ("check", {"KVD_PUBLISH_PROT": "1"}, ["KVD_PUBLISH_PROT (environment)", "did you mean KVD_PUBLISH_PORT?"]),
        ("run", {"KVD_FLAVOUR": "red"}, ["KVD_FLAVOUR (environment) is not a setting", "`kvd check`"]),
        ("run --config nowhere.toml", {}, ["nowhere.toml cannot be read", "--config or KVD_CONFIG"]),
        ("healthcheck", {"KVD_CONFIG": "nowhere.toml"}, ["nowhere.toml cannot be read"]),
        ("run", {"KVD_DERIBIT_URL": "wss://:1"}, ["deribit.url", "write it as wss://host/path"]),
        ("run", {"KVD_PUBLISH_HOST": "0.0.0.0"}, ["open to the network without a token", "set KVD_PUBLISH_TOKENS"]),
        ("run", {"KVD_PUBLISH_HOST": "192.0.2.1", "KVD_PUBLISH_TOKENS": TOKEN}, ["cannot listen on 192.0.2.1:0"]),
        ("replay nowhere.ndjson.gz", {}, ["nowhere.ndjson.gz: No such file", "check the path"]),
        ("replay README.md", {}, ["README.md, line 1: not a tape line", "kvd record"]),
        ("replay pyproject.toml --output o --json", {}, ["--output, --speed and --json", "choose one"]),
        ("replay pyproject.toml --speed 1 --json", {}, ["--output, --speed and --json", "choose one"]),
        ("replay pyproject.toml --output README.md", {}, ["README.md exists already", "choose another name"]),
        ("replay pyproject.toml --output no/such/folder", {}, ["no/such/folder: No such file", "can be written to"]),
        ("record README.md", {}, ["README.md exists already", "choose another name"]),
        ("record no/such/folder", {}, ["no/such/folder: No such file", "can be written to"]),
        ("record tape --venue okx", {}, ["there is no venue 'okx'", "one of: deribit"]),
        ("record no/such/folder/tape.zst", {}, ["no/such/folder/tape.zst: No such file", "can be written to"]),
        ("record", {"KVD_RECORDER_FOLDER": "README.md"}, ["README.md exists already and is no folder"]),
        ("run --record README.md", {"KVD_LOG_LEVEL": "warning"}, ["README.md exists already"]),
        ("run", {"KVD_RECORDER_KEEP_GIB": "0.1"}, ["recorder.keep_gib = 0.1 is less than one tape", "to keep every"]),
        ("replay docs", {}, ["docs: a folder without tapes of deribit", "name the tapes themselves"]),
        ("run", {"KVD_AUDIT_PATH": "no/such/folder"}, ["audit.path: no/such/folder cannot be opened"]),
        ("audit verify nowhere.ndjson", {}, ["nowhere.ndjson: No such file", "name the file that audit.path names"]),
        ("checkpoint nowhere.checkpoint", {}, ["nowhere.checkpoint is no file", "checkpoint.path names"]),
        ("run", {"KVD_CHECKPOINT_PATH": "/dev/null"}, ["checkpoint.path: /dev/null is no file", "name another"]),
        ("run", {"KVD_CHECKPOINT_PATH": "nowhere/kvd"}, ["path: nowhere/kvd", "(No such file", "a folder that"]),
        ("audit verify README.md --head 12", {}, ["--head takes a SHA-256", "audit.head"]),
        ("simulate --families BTC,DOGE", {}, ["there is no family 'DOGE'", "BTC, ETH, XRP_USDC"]),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence_with_the_mend(arguments, environ, says):
    before = (ROOT / "README.md").read_bytes()
    said = refusal(run(*arguments.split(), **environ))
    assert [part for part in says if part not in said] == [], said
    assert (ROOT / "README.md").read_bytes() == before
    assert not any((ROOT / name).exists() for name in ("o", "tape", "no"))


def test_an_unknown_key_is_named_with_its_line(tmp_path):
    config = tmp_path / "kvd.toml"
    config.write_text("[publish]\nhost = '127.0.0.1'\nprot = 9000\n")
    assert f"publish.prot ({config}:3) is not a setting; did you mean publish.port?" in refusal(
        run("run", "--config", config)
    )


@pytest.mark.parametrize("command", ["run", "demo", "replay --speed 1", "simulate --port {}"])
def test_a_port_in_use(command, busy_port, tmp_path):
    (tmp_path / "empty.ndjson").touch()
    arguments = command.format(busy_port).replace("replay", f"replay {tmp_path}/empty.ndjson").split()
    said = refusal(run(*arguments, KVD_PUBLISH_PORT=busy_port))
    assert f"cannot listen on 127.0.0.1:{busy_port}" in said and "end what holds" in said


def test_a_port_in_use_leaves_no_tape_behind(busy_port, tmp_path):
    for name in ("tape.zst", "folder"):
        refusal(run("run", "--record", tmp_path / name, KVD_PUBLISH_PORT=busy_port))
        assert not (tmp_path / name).exists()


def test_a_damaged_tape_keeps_what_was_written(recorded, tmp_path):
    cut = tmp_path / "cut.ndjson.gz"
    content = recorded.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3] + b"damage" + content[len(content) * 2 // 3 :])
    said = refusal(run("replay", cut, "--output", tmp_path / "cut.out"))
    assert re.search(r"cut\.ndjson\.gz, after line \d+: .*; fetch the tape again", said)
    assert run("replay", recorded, "--output", tmp_path / "whole.out").returncode == 0
    whole, part = (tmp_path / "whole.out").read_bytes(), (tmp_path / "cut.out").read_bytes()
    assert part.endswith(b"\n") and whole.startswith(part) and len(whole) > len(part) > 1000


def test_a_tape_that_ends_in_the_middle_is_read_up_to_there(recorded, tmp_path):
    cut = tmp_path / "cut.ndjson.gz"
    cut.write_bytes(recorded.read_bytes()[: recorded.stat().st_size * 2 // 3])
    replayed = run("replay", cut)
    assert replayed.returncode == 0
    frames, torn = re.search(
        r"([\d,]+) frames, 0 of them bad, .*; torn: the last ([\d,]+) bytes", replayed.stderr
    ).groups()
    assert int(frames.replace(",", "")) > 500 and int(torn.replace(",", "")) < cut.stat().st_size / 2


def test_a_line_cut_off_by_a_crash_is_left_out_and_said(recorded, tmp_path):
    torn = tmp_path / "torn.ndjson"
    lines = gzip.decompress(recorded.read_bytes()).splitlines(keepends=True)
    torn.write_bytes(b"".join(lines)[:-20])
    replayed = run("replay", torn)
    assert replayed.returncode == 0
    assert (
        f"{len(lines) - 1:,} frames, 0 of them bad" in replayed.stderr
        and f"torn: the last {len(lines[-1]) - 20:,} bytes" in replayed.stderr
    )


# What the commands say and do


def test_check_says_where_each_value_comes_from_and_masks_the_tokens(tmp_path):
    config = tmp_path / "[bold]kvd.toml"
    config.write_text("[feed]\nstale_after_s = 2.5\n")
    environ = {"KVD_PUBLISH_TOKENS": "desk:read:hush-hush-hush-hush", "KVD_CONFIG": str(config)}
    shown = run("check", **environ)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "hush" not in shown.stdout
    rows = {line.split()[0]: words(line) for line in shown.stdout.splitlines()}
    assert rows["publish.tokens"] == "publish.tokens ******** environment KVD_PUBLISH_TOKENS"
    assert rows["deribit.currencies"] == 'deribit.currencies ["BTC", "ETH", "USDC"] default'
    as_json = run("check", "--json", **environ).stdout
    values = json.loads(as_json)
    assert list(values) == list(KEYS) and "hush" not in as_json
    assert values["feed.stale_after_s"] == {"value": "2.5", "source": f"file {config}:2"}
    assert values["publish.port"] == {"value": "0", "source": "environment KVD_PUBLISH_PORT"}


def test_audit_verify_says_what_is_wrong_and_what_it_cannot_see(tmp_path):
    log, head, lines = tmp_path / "audit.ndjson", chain.BEGINNING, []
    for kind in ("started", "lock", "stopped"):
        line, head = chain.link(head, "2026-07-02T12:00:00.000000Z", kind, {})
        lines.append(line + b"\n")
    log.write_bytes(b"".join(lines))
    whole = run("audit", "verify", log)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.splitlines()[:2] == [f"{log}: 3 lines, none changed", f"head {head.digest}"]
    assert "an end that was cut off would not show" in whole.stdout
    known = run("audit", "verify", log, "--head", head.digest)
    assert known.returncode == 0 and "the digest asked for is that of number 3" in known.stdout
    log.write_bytes(b"".join(lines[:2]))
    assert run("audit", "verify", log).returncode == 0
    cut = run("audit", "verify", log, "--head", head.digest, "--json")
    assert cut.returncode == 1 and cut.stderr == ""
    assert json.loads(cut.stdout) | {"head": "", "why": ""} == {
        "file": str(log), "whole": False, "lines": 2, "head": "", "torn": [], "line": 2, "why": "",
        "head_found_at": None,
    }  # fmt: skip
    log.write_bytes(lines[0] + lines[2])
    changed = run("audit", "verify", log)
    assert (changed.returncode, changed.stdout) == (1, "")
    assert f"{log}: CHANGED: line 2 has the number 3 where 2 belongs" in changed.stderr


def test_healthcheck_of_a_daemon_that_serves_in_tls():
    folder = ROOT / "tests" / "golden" / "tls"
    files = {name: str(folder / file) for name, file in [("CERTIFICATE", "certificate.pem"), ("KEY", "key.pem")]}
    tls = {f"KVD_PUBLISH_TLS_{name}": file for name, file in files.items()}

    async def scenario():
        async with running("demo", **tls) as daemon:
            port = re.search(r"wss://127\.0\.0\.1:(\d+)/v1/stream", await line_with(daemon.stderr, "wss://"))[1]
            await line_with(daemon.stdout, "deribit.BTC")
            ready = await asyncio.to_thread(run, "healthcheck", KVD_PUBLISH_PORT=port, **tls)
            assert (ready.returncode, ready.stdout, ready.stderr) == (0, "ready\n", "")
            plain = await asyncio.to_thread(run, "healthcheck", KVD_PUBLISH_PORT=port)
            assert plain.returncode == 1

    asyncio.run(scenario())


def test_the_documents_are_printed_as_json():
    stream, pages = (json.loads(run("schema", *which).stdout) for which in ([], ["openapi"]))
    assert (stream["asyncapi"], pages["openapi"]) == ("3.0.0", "3.1.0")
    assert stream["info"]["version"] == pages["info"]["version"] == kvd.__version__


def test_healthcheck_with_and_without_a_daemon(busy_port):
    async def scenario():
        async with running("run", KVD_DERIBIT_URL=NOBODY, KVD_PUBLISH_TOKENS=TOKEN) as daemon:
            port = re.search(r":(\d+)/", await stream_of(daemon))[1]
            unready = await asyncio.to_thread(run, "healthcheck", KVD_PUBLISH_PORT=port)
            assert (unready.returncode, unready.stdout) == (1, "")
            assert unready.stderr.splitlines()[0] == "not ready"
            assert "missing deribit: no data from the venue: cannot connect" in unready.stderr
        async with running("demo") as daemon:
            port = re.search(r":(\d+)/", await stream_of(daemon))[1]
            await line_with(daemon.stdout, "deribit.BTC")
            ready = await asyncio.to_thread(run, "healthcheck", KVD_PUBLISH_PORT=port)
            assert (ready.returncode, ready.stdout, ready.stderr) == (0, "ready\n", "")

    asyncio.run(scenario())
    nobody = run("healthcheck", KVD_PUBLISH_PORT="1")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("no kvd answers at 127.0.0.1:1: ") and nobody.stderr.count("\n") == 1
    silent = run("healthcheck", KVD_PUBLISH_PORT=busy_port)
    assert (silent.returncode, silent.stderr.count("\n")) == (1, 1)


def test_simulate_prints_its_address_and_ends_with_its_input():
    async def scenario():
        async with running("simulate", "--port", "0", "--until-eof") as process:
            url = await line_with(process.stdout, "ws://")
            async with asyncio.timeout(PATIENCE_S), connect(url) as client:
                await client.send('{"jsonrpc":"2.0","id":1,"method":"public/test","params":{}}')
                assert json.loads(await client.recv())["result"] == {"version": "1.2.26"}
            process.stdin.close()
            assert await ended(process) == 0

    asyncio.run(scenario())


def test_a_recorded_tape_replays_to_the_same_bytes(recorded, tmp_path):
    outputs = [tmp_path / "first", tmp_path / "second"]
    for output in outputs:
        shown = run("replay", recorded, "--output", output)
        assert shown.returncode == 0
        assert len(re.findall(r"^deribit\.BTC  \d{4}-\d\d-\d\d ", shown.stdout, re.MULTILINE)) == 12
        assert re.fullmatch(r"[\d,]+ frames, 0 of them bad, in [\d.]+ s\n", shown.stderr)
    first, second = (output.read_bytes() for output in outputs)
    assert first == second
    updates = [json.loads(line) for line in first.splitlines()]
    assert {update["type"] for update in updates} == {"update"}
    assert {update["epoch"] for update in updates} == {"replay"}


def test_a_recording_into_a_folder_replays_as_one(tmp_path):
    """By the setting, for as long as it takes to have a few tapes; their frames add up to what was recorded."""
    tapes = tmp_path / "tapes"
    following = {"KVD_DERIBIT_CURRENCIES": "BTC", "KVD_RECORDER_ROTATE_H": "0.001", "KVD_RECORDER_FOLDER": str(tapes)}

    async def scenario():
        async with (
            exchange("--instruments", 50, "--rate", 100) as url,
            running("record", KVD_DERIBIT_URL=url, **following) as process,
        ):
            await until(lambda: len(list(tapes.glob("*"))) > 2)
            process.send_signal(signal.SIGTERM)
            assert await ended(process, PATIENCE_S) == 0
            return (await process.stderr.read()).decode()

    said = re.search(rf"([\d,]+) frames written to {re.escape(str(tapes))}\n", asyncio.run(scenario()))
    names = sorted(path.name for path in tapes.iterdir())
    assert all(re.fullmatch(r"deribit-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.ndjson\.zst", name) for name in names)
    for arguments in ([tapes], [tapes / name for name in names]):
        replayed = run("replay", *arguments)
        assert replayed.stderr.startswith(f"{said[1]} frames, 0 of them bad") and "torn" not in replayed.stderr


def test_replay_measures_quality(recorded):
    measured = run("replay", recorded, "--json", KVD_LOG_LEVEL="warning")
    assert measured.returncode == 0
    report = json.loads(measured.stdout)
    assert report["frames"] > 1000 and report["bad_frames"] == 0 and report["seconds"] > 0
    assert list(report["underlyings"]) == ["BTC"]
    assert report["underlyings"]["BTC"]["smiles_published"] > 12


def test_a_tape_is_served_at_a_pace(recorded):
    async def scenario():
        async with running("replay", recorded, "--speed", "0.5") as process:
            async with asyncio.timeout(PATIENCE_S), connect(await stream_of(process)) as client:
                await client.send('{"op":"subscribe","topics":["atm.*.*"]}')
                heard = set()
                while len(heard) < 12:
                    message = json.loads(await client.recv())
                    heard |= {smile["expiry"] for smile in message.get("smiles", [message.get("smile")]) if smile}
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0

    asyncio.run(scenario())


def test_a_terminal_sees_progress(recorded):
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as far_end:
            process = subprocess.Popen(
                [*COMMAND, "replay", recorded], cwd=ROOT, env=environment(TERM="xterm-256color"),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=far_end,
            )  # fmt: skip
        shown = b""
        try:
            while block := terminal.read(4096):
                shown += block
        except OSError:  # how Linux says that the far end of a terminal is closed
            pass
        table, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and b"deribit.BTC" in table
    assert b"replaying synthetic.ndjson.gz" in shown and b"%" in shown


# How they end


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("command", ["run", "demo", "simulate --port 0"])
def test_a_signal_ends_it_cleanly(command, number):
    async def scenario():
        async with running(*command.split(), **({"KVD_DERIBIT_URL": NOBODY} if command == "run" else {})) as process:
            if command.startswith("simulate"):
                await line_with(process.stdout, "ws://")
            else:
                await stream_of(process)
            process.send_signal(number)
            assert await ended(process) == 0
            assert "Traceback" not in (await process.stderr.read()).decode()

    asyncio.run(scenario())


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_a_recording_with_a_whole_tape(number, tmp_path):
    async def scenario():
        tape = tmp_path / "tape.ndjson.zst"
        async with (
            exchange("--instruments", 50) as url,
            running("record", tape, KVD_DERIBIT_URL=url, KVD_DERIBIT_CURRENCIES="BTC") as process,
        ):
            await line_with(process.stderr, "feed.connected")
            process.send_signal(number)
            assert await ended(process) == 0
            said = (await process.stderr.read()).decode()
        frames = re.search(r"([\d,]+) frames written", said)[1]
        replayed = await asyncio.to_thread(run, "replay", tape)
        assert replayed.returncode == 0 and replayed.stderr.startswith(f"{frames} frames, 0 of them bad")

    asyncio.run(scenario())


def test_an_interrupted_replay_keeps_what_it_has_written(recorded, tmp_path):
    """The tape is a pipe that stays open, so that the replay cannot come to its end before the signal does."""
    pipe, output = tmp_path / "tape.ndjson", tmp_path / "output"
    os.mkfifo(pipe)

    async def scenario():
        async with running("replay", pipe, "--output", output) as process:
            with await asyncio.to_thread(pipe.open, "wb") as tape:
                await asyncio.to_thread(tape.write, gzip.decompress(recorded.read_bytes()))
                tape.flush()
                await until(lambda: output.exists() and output.stat().st_size > 0)
                process.send_signal(signal.SIGINT)
                assert await ended(process) == 130
                assert "Traceback" not in (await process.stderr.read()).decode()

    asyncio.run(scenario())
    whole = run("replay", recorded, "--output", tmp_path / "whole")
    assert whole.returncode == 0
    part = output.read_bytes()
    assert part.endswith(b"\n") and (tmp_path / "whole").read_bytes().startswith(part)


def test_a_second_signal_ends_it_at_once():
    """A subscriber that never answers the close keeps a daemon waiting for a second: time for a second signal."""

    async def scenario():
        async with running("run", KVD_DERIBIT_URL=NOBODY) as process:
            port = int(re.search(r":(\d+)/", await stream_of(process))[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: kvd\r\n{upgrade}{key}\r\n".encode())
            assert b" 101 " in await reader.readline()
            process.send_signal(signal.SIGTERM)
            await line_with(process.stderr, "daemon.stopping")
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 128 + signal.SIGTERM
            writer.close()

    asyncio.run(scenario())


def test_a_killed_demo_leaves_no_exchange_behind():
    async def scenario():
        async with running("demo") as process:
            url = json.loads(await line_with(process.stderr, "feed.connected"))["url"]
            process.kill()
            await ended(process)
            port = int(re.search(r":(\d+)/", url)[1])
            await until(lambda: not listens(port), 5.0)

    def listens(port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    asyncio.run(scenario())
