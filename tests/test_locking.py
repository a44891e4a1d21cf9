"""A trader's lock from end to end: a synthetic exchange, the daemon, a client with the scope and one without."""

import asyncio
import json
import signal
from datetime import datetime

import msgspec
from command_line import PATIENCE_S, ended, exchange, run, running, stream_of
from websockets.asyncio.client import connect

from kvd.app.daemon import Daemon
from kvd.app.daemon import running as running_here
from kvd.config import Settings
from kvd.feeds.simulate import Exchange
from kvd.wire import decode

LOCK, READ = "lock-0123456789abcdef", "read-0123456789abcdef"
TOKENS = f"desk:read+lock:{LOCK},screen:read:{READ}"


def bearer(token):
    return {"additional_headers": {"Authorization": f"Bearer {token}"}, "max_queue": None}


async def update_of(client, expiry, is_it):
    """The first update of a smile that is what is looked for."""
    async with asyncio.timeout(PATIENCE_S):
        async for frame in client:
            smile = json.loads(frame).get("smile", {})
            if smile.get("expiry", "")[:10] == expiry and is_it(smile):
                return smile, decode(frame).smiles[0]


async def ask(client, **request):
    """Ask, and pass over what was published meanwhile."""
    await client.send(json.dumps(request))
    async with asyncio.timeout(PATIENCE_S):
        async for frame in client:
            answer = json.loads(frame)
            if answer["type"] in ("ack", "error"):
                return answer


async def metrics(url):
    host, port = url.removeprefix("ws://").partition("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {READ}\r\n\r\n".encode())
    page = (await reader.read()).decode()
    writer.close()
    return page


def seconds(smile, field="publish_time"):
    return datetime.fromisoformat(smile[field]).timestamp()


def test_a_lock_at_a_strike_moves_the_smile_is_released_at_its_time_and_is_on_record(tmp_path):
    log = tmp_path / "audit.ndjson"

    async def scenario():
        environ = {"KVD_PUBLISH_TOKENS": TOKENS, "KVD_AUDIT_PATH": str(log), "KVD_DERIBIT_CURRENCIES": "BTC"}
        async with (
            exchange("--instruments", 300, "--rate", 400) as venue,
            running("run", KVD_DERIBIT_URL=venue, KVD_LOG_LEVEL="debug", **environ) as daemon,
        ):
            url = await stream_of(daemon)
            async with connect(url, **bearer(LOCK)) as desk, connect(url, **bearer(READ)) as screen:
                await ask(desk, op="subscribe", topics=["smile.deribit.BTC.*"])
                expiry = await far_expiry(desk)
                _, market = await update_of(desk, expiry, lambda smile: smile["state"] == "live")
                strike = round(market.forward.value * 1.05)
                wanted = float(market.vol(strike)) + 0.05
                of = {"venue": "deribit", "underlying": "BTC", "expiry": expiry, "of": "vol", "strike": strike}
                wish = {"op": "lock", **of, "value": wanted, "sd": 0.001, "for_s": 2.0}

                forbidden = await ask(screen, **wish)
                assert forbidden["code"] == "forbidden" and "screen the scope read+lock" in forbidden["message"]

                ack = await ask(desk, **wish)
                until_s = seconds(ack, "until")
                locked, smile = await update_of(desk, expiry, lambda smile: "locked" in smile)
                (told,) = locked["locked"]
                assert {name: told[name] for name in ("id", "of", "strike", "author")} == {
                    "id": ack["id"], "of": "vol", "strike": strike, "author": "desk",
                }  # fmt: skip
                assert abs(float(smile.vol(strike)) - wanted) < 0.01 < abs(wanted - told["market"])
                assert smile.certificate.butterfly >= 0 and (smile.certificate.calendar or 0) >= 0

                free, smile = await update_of(desk, expiry, lambda smile: "locked" not in smile)
                assert 0 <= seconds(free) - until_s < 0.5  # 0.1 s, and what a busy machine adds
                assert abs(float(smile.vol(strike)) - told["market"]) < 0.02

                again = await ask(desk, **wish | {"for_s": 600})
                assert (await ask(desk, op="unlock", id=again["id"]))["type"] == "ack"
                left = await ask(desk, **wish | {"for_s": 600})
                page = await metrics(url)
            daemon.send_signal(signal.SIGTERM)
            assert await ended(daemon) == 0
            return page, [ack["id"], again["id"], left["id"]], (await daemon.stderr.read()).decode()

    page, ids, said = asyncio.run(scenario())
    for line in (
        'kvd_client_errors_total{reason="forbidden"} 1.0',
        'kvd_token_refusals_total{reason="forbidden",token="screen"} 1.0',
        'kvd_token_clients{token="desk"} 1.0',
    ):
        assert line in page
    verified = run("audit", "verify", log, "--json")
    assert verified.returncode == 0, verified.stdout
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    acts = [(line["kind"], line["content"].get("id")) for line in lines]
    assert acts == [
        ("started", None), ("refused", None), ("lock", ids[0]), ("released", ids[0]), ("lock", ids[1]),
        ("unlock", ids[1]), ("lock", ids[2]), ("published", None), ("stopped", None),
    ]  # fmt: skip
    assert lines[-1]["content"]["locks"] == [ids[2]]
    assert lines[-2]["content"]["topics"]["surface.deribit.BTC"]["smiles"] > 50
    assert f'"digest": "{json.loads(verified.stdout)["head"]}"' in said
    for secret in (LOCK, READ):
        assert secret not in said + page + log.read_text("utf-8")


def test_a_lock_comes_and_goes_while_no_quote_does(tmp_path):
    """The venue has gone silent: the daemon's own clock releases, and what is shown follows."""
    changes = {
        "deribit": {"currencies": ("BTC",)},
        "feed": {"stale_after_s": 60.0},
        "publish": {"port": 0, "tokens": tuple(TOKENS.split(","))},
        "audit": {"path": str(tmp_path / "audit.ndjson")},
    }

    async def scenario():
        async with Exchange(7, instruments=300, rate=400.0) as venue:
            changes["deribit"]["url"] = venue.url
            daemon = Daemon(msgspec.convert(changes, Settings))
            async with running_here(daemon), connect(daemon.url, **bearer(LOCK)) as desk:
                await ask(desk, op="subscribe", topics=["smile.deribit.BTC.*"])
                expiry = await far_expiry(desk)
                before, _ = await update_of(desk, expiry, lambda smile: smile["state"] == "live")
                venue.silence("ticker", "deribit_price_index")
                wish = {"op": "lock", "venue": "deribit", "underlying": "BTC", "expiry": expiry, "of": "atm_vol"}
                wanted = before["atm_vol"] + 0.02
                ack = await ask(desk, **wish, value=wanted, sd=0.0005, for_s=0.5)
                locked, _ = await update_of(desk, expiry, lambda smile: "locked" in smile)
                assert abs(locked["atm_vol"] - wanted) < 0.005 < abs(wanted - locked["locked"][0]["market"])
                free, _ = await update_of(desk, expiry, lambda smile: "locked" not in smile)
                assert abs(free["atm_vol"] - locked["locked"][0]["market"]) < 0.005
                assert 0 <= seconds(free) - seconds(ack, "until") < 0.5

    asyncio.run(scenario())


async def far_expiry(client):
    """An expiry well away, as in topics, of a surface that is all there."""
    seen = set()
    async with asyncio.timeout(PATIENCE_S):
        async for frame in client:
            smile = json.loads(frame).get("smile")
            if smile and smile["state"] == "live" and smile["tau"] > 0.15:
                seen.add(smile["expiry"][:10])
            if len(seen) >= 3:
                return min(seen)
