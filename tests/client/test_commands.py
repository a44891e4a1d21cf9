"""The commands that ask a running kvd, in processes of their own: what they print, how they end, how they refuse."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import signal
import subprocess

import pytest
from command_line import COMMAND, ROOT, ended, environment, line_with, run, running, stream_of
from served import publisher, url, way
from smiles import CHRISTMAS, DAY, NOON, SECOND, smile, update

from kvd.surface import Locked

LOCKED = Locked("1f0c9a3b", "vol", 60_000.0, 0.55, 0.002, "desk", NOON + 900 * SECOND, 0.53)
READER, DESK = "read-read-read-read", "lock-lock-lock-lock"
TOKENS = (f"reader:read:{READER}", f"desk:read+lock:{DESK}")


def batch(second, *smiles):
    return update(*(one._replace(publish_us=NOON + second * SECOND) for one in smiles))


async def asked(*arguments, **environ):
    """A command to its end, while this process serves."""
    return await asyncio.to_thread(run, *arguments, **environ)


def refusal(done):
    """The one sentence of a command that refused."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("kvd: ") and done.stderr.count("\n") == 1
    return done.stderr.strip()


# kvd surface


def test_a_surface_as_a_table_as_json_and_as_csv():
    async def scenario():
        async with publisher(within_s=60.0) as server:
            where = {"KVD_URL": url(server.port)}
            server.publish(batch(0, smile(), smile(CHRISTMAS + DAY, state="widened", reason="nis", locked=(LOCKED,))))
            server.publish(batch(60, smile(parameters=smile().parameters._replace(atm_vol=0.6), inside=0.96, nis=18.0)))
            return [
                await asked("surface", "BTC", **where),
                await asked("surface", "BTC", "--format", "json", "--url", url(server.port)),
                await asked("surface", "BTC", "--format", "csv", **where),
                await asked("surface", "BTC", "--at", "2026-07-02T12:00:30Z", **where),
                await asked("surface", "BTC", "--at", "2026-07-02T14:00:30+02:00", "--format", "json", **where),
                await asked("surface", "BTC", "--at", "2026-07-01", **where),
                await asked("surface", "BTC", "--venue", "okx", **where),
            ]

    table, body, rows, then, then_body, never, nowhere = asyncio.run(scenario())
    assert (table.returncode, table.stderr) == (0, "")
    heading, christmas, boxing = (line.split() for line in table.stdout.splitlines())
    assert heading[:5] == ["surface", "expiry", "forward", "ATM", "%"]
    assert christmas[:6] == ["deribit.BTC", "2026-12-25", "64,250.50", "60.00", "-0.0731", "0.0008"]
    assert christmas[-1] == "live" and "96%" in christmas and "0.90" in christmas  # NIS of 18 for 20
    assert " ".join(boxing[-4:]) == "widened nis locked: vol@60000"
    told = json.loads(body.stdout)
    assert [s["atm_vol"] for s in told["surfaces"][0]["smiles"]] == [0.6, 0.5512]
    read = list(csv.DictReader(io.StringIO(rows.stdout)))
    assert [row["expiry"] for row in read] == ["2026-12-25T08:00:00.000000Z", "2026-12-26T08:00:00.000000Z"]
    assert [float(row["atm_vol"]) for row in read] == [0.6, 0.5512]
    assert (then.returncode, then.stderr) == (0, "as it was at 2026-07-02T12:00:00.000000Z\n")
    assert "55.12" in then.stdout and "60.00" not in then.stdout
    assert json.loads(then_body.stdout)["surfaces"][0]["smiles"][0]["atm_vol"] == 0.5512
    assert "nothing is kept" in refusal(never)
    assert "there is no surface of 'BTC of okx'" in refusal(nowhere)


# kvd tail


def test_tail_prints_each_message_on_a_line_until_ctrl_c():
    async def scenario():
        async with (
            publisher(within_s=60.0) as server,
            running("tail", "surface.*.*", "status", KVD_URL=url(server.port)) as tail,
        ):
            server.publish(batch(0, smile()))
            first = json.loads(await tail.stdout.readline())
            assert (first["type"], first["topic"]) == ("snapshot", "surface.deribit.BTC")
            server.publish(batch(1, smile()))
            server.status({"venue": "deribit", "state": "connected"})
            lines = [json.loads(await tail.stdout.readline()) for _ in range(2)]
            assert [line["type"] for line in lines] == ["update", "status"]
            tail.send_signal(signal.SIGINT)
            assert await ended(tail) == 0
            assert await tail.stderr.read() == b""

    asyncio.run(scenario())


def test_tail_ends_with_its_reader():
    async def scenario():
        async with publisher(within_s=60.0) as server:
            server.publish(batch(0, smile()))
            end, other_end = os.pipe()
            tail = await asyncio.create_subprocess_exec(
                *COMMAND, "tail", "surface.*.*", cwd=ROOT, env=environment(KVD_URL=url(server.port)), stdout=other_end,
                stderr=subprocess.PIPE,
            )  # fmt: skip
            os.close(other_end)
            with os.fdopen(end, "rb") as reader:
                assert b"snapshot" in await asyncio.to_thread(reader.readline)
            server.publish(batch(1, smile()))
            assert await ended(tail) == 0
            assert await tail.stderr.read() == b""

    asyncio.run(scenario())


# kvd top


def test_top_says_when_the_connection_is_lost():
    async def scenario():
        async with publisher("e1", within_s=60.0) as first, way(first.port) as (made, address):
            first.publish(batch(0, smile(locked=(LOCKED,))))
            async with running("top", KVD_URL=address) as top:
                shown = await line_with(top.stdout, "2026-12-25")
                assert "64,250.50" in shown and shown.endswith("live locked: vol@60000")
                assert "1 smiles" in await line_with(top.stdout, address)
                made.to = None
                made.cut()
                lost = await line_with(top.stdout, "the connection is lost")
                assert "and is being made anew" in lost
                async with publisher("e2", within_s=60.0) as second:
                    second.publish(batch(9, smile(state="held", reason="not_repairable")))
                    made.to = second.port
                    assert (await line_with(top.stdout, "not_repairable")).endswith("held not_repairable")
                    top.send_signal(signal.SIGTERM)
                    assert await ended(top) == 0
                assert await top.stderr.read() == b""

    asyncio.run(scenario())


def test_top_on_a_terminal_is_drawn_in_place():
    async def scenario():
        async with publisher(within_s=60.0) as server:
            server.publish(batch(0, smile()))
            ours, theirs = pty.openpty()
            with os.fdopen(ours, "rb", buffering=0) as terminal:
                top = await asyncio.create_subprocess_exec(
                    *COMMAND, "top", "BTC", cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE,
                    env=environment(KVD_URL=url(server.port), TERM="xterm-256color"),
                )  # fmt: skip
                os.close(theirs)
                shown = b""
                while shown.count(b"2026-12-25") < 3:
                    shown += await asyncio.to_thread(terminal.read, 4096)
                assert b"\x1b[1A" in shown and b"RR25" in shown  # the cursor goes up again
                top.send_signal(signal.SIGINT)
                try:
                    while block := await asyncio.to_thread(terminal.read, 4096):
                        shown += block
                except OSError:  # how Linux says that the far end of a terminal is closed
                    pass
                assert await ended(top) == 0 and await top.stderr.read() == b""
                assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"2026-12-25")  # it is given back its cursor

    asyncio.run(scenario())


# kvd lock, and the whole of it with a daemon


def test_a_desk_watches_locks_and_unlocks(tmp_path):
    token = tmp_path / "token"
    token.write_text(f"{DESK}\n")
    environ = {"KVD_PUBLISH_TOKENS": ",".join(TOKENS), "KVD_AUDIT_PATH": str(tmp_path / "audit.ndjson")}

    async def scenario():
        async with running("demo", **environ) as daemon:
            where = {"KVD_URL": await stream_of(daemon)}
            await line_with(daemon.stdout, "deribit.BTC")
            desk, reader = where | {"KVD_TOKEN_FILE": str(token)}, where | {"KVD_TOKEN": READER}
            shown = await asked("surface", "BTC", "--format", "csv", **reader)
            expiries = [row["expiry"][:10] for row in csv.DictReader(io.StringIO(shown.stdout))]
            assert len(expiries) == 12
            what = ("lock", "BTC", expiries[-1], "--of", "skew", "--value", "-0.3", "--sd", "0.001", "--for", "15m")
            assert "this takes a token with the scope lock" in refusal(await asked(*what, **reader))
            assert "it asks for a token" in refusal(await asked(*what, **where))
            assert "it does not know this token" in refusal(await asked(*what, **where, KVD_TOKEN="wrong"))
            assert re.search("expir", refusal(await asked("lock", "BTC", "2020-01-01", *what[3:], **desk)))
            locked = await asked(*what, **desk)
            assert locked.returncode == 0 and re.match(r"held until 20\S+Z; `kvd unlock ", locked.stderr)
            topic = f"smile.deribit.BTC.{expiries[-1]}"
            async with running("tail", topic, **reader) as tail:
                smile = await said(tail, lambda smile: smile.get("locked"))
                (lock,) = smile["locked"]
                assert (lock["id"], lock["author"], lock["of"]) == (locked.stdout.strip(), "desk", "skew")
                assert abs(smile["skew"] + 0.3) < 0.01 < abs(lock["market"] + 0.3)
                forever = ("--vol-at", "60000", "--value", "0.8", "--sd", "0.001", "--until", "2100-01-01")
                assert "lock.longest_h" in refusal(await asked("lock", "BTC", expiries[-1], *forever, **desk))
                done = await asked("unlock", locked.stdout.strip(), "--token-file", token, **where)
                assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
                await said(tail, lambda smile: not smile.get("locked"))
            assert locked.stdout.strip() in refusal(await asked("unlock", locked.stdout.strip(), **desk))

    async def said(tail, condition):
        async with asyncio.timeout(20):
            while True:
                message = json.loads(await tail.stdout.readline())
                for smile in message.get("smiles", [message.get("smile")]):
                    if smile and condition(smile):
                        return smile

    asyncio.run(scenario())


# Refusals


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        ("surface BTC", {}, ["publish.port is 0", "--url or KVD_URL"]),
        ("surface BTC", {"KVD_PUBLISH_PORT": "1"}, ["no kvd answers at ws://127.0.0.1:1/v1/stream", "`kvd run`"]),
        ("top", {"KVD_PUBLISH_PORT": "1", "KVD_PUBLISH_HOST": "0.0.0.0", "KVD_PUBLISH_ALLOW_OPEN": "true"},
         ["no kvd answers at ws://127.0.0.1:1/v1/stream"]),
        ("tail status", {"KVD_URL": "ws://127.0.0.1:1"}, ["no kvd answers at ws://127.0.0.1:1/v1/stream"]),
        ("tail status --url http://127.0.0.1:1", {}, ["is not the address of a stream: write it as ws://"]),
        ("surface BTC --token-file nowhere --url ws://127.0.0.1:1", {}, ["the token file nowhere cannot be read"]),
        ("surface BTC --url ws://127.0.0.1:1", {"KVD_TOKEN": "two words"}, ["the token has characters"]),
        ("surface BTC --at noon", {"KVD_URL": "ws://127.0.0.1:1"}, ["'noon' is no instant", "2026-12-24T12:00Z"]),
        ("lock BTC 2026-12-25 --value 1 --sd 1 --for 1h", {}, ["either --of a parameter or --vol-at a strike"]),
        ("lock BTC 2026-12-25 --value 1 --sd 1 --of skew --vol-at 1 --for 1h", {}, ["either --of"]),
        ("lock BTC 2026-12-25 --value 1 --sd 1 --of rho --for 1h", {}, ["--of rho", "atm_vol, skew, curvature"]),
        ("lock BTC 2026-12-25 --value 1 --sd 1 --of skew", {}, ["needs its end", "--for 15m"]),
        ("lock BTC 2026-12-25 --value 1 --sd 1 --of skew --for ever", {}, ["--for ever", "90s, 15m, 2h or 1d"]),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence_with_the_mend(arguments, environ, says):
    said = refusal(run(*arguments.split(), **environ))
    assert [part for part in says if part not in said] == [], said
    assert "words" not in said


def test_a_bad_topic_is_refused_by_kvd_itself():
    async def scenario():
        async with publisher(within_s=60.0) as server:
            return await asked("tail", "nope", KVD_URL=url(server.port))

    assert "no topic begins with 'nope'" in refusal(asyncio.run(scenario()))
