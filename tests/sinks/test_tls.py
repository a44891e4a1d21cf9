"""The stream in TLS: what is refused at start, and what is served. The keys of tests/golden/tls open nothing else."""

import asyncio
import json
import socket
import ssl
from pathlib import Path

import pytest
from smiles import CHRISTMAS, DAY, smile, update
from test_publish import publisher, subscribe
from websockets.asyncio.client import connect

from kvd.config import ConfigError

FOLDER = Path(__file__).parents[1] / "golden" / "tls"
CERTIFICATE, KEY = str(FOLDER / "certificate.pem"), str(FOLDER / "key.pem")
EXPIRIES = tuple(CHRISTMAS + day * DAY for day in range(12))


def trusting():
    return ssl.create_default_context(cafile=CERTIFICATE)


def secure(server, **options):
    return connect(f"wss://localhost:{server.port}/v1/stream", ssl=trusting(), **options)


def test_the_stream_and_the_pages_are_served_in_tls():
    async def run():
        async with publisher(tls_certificate=CERTIFICATE, tls_key=KEY) as server, secure(server) as client:
            server.publish(update(smile()))
            (snapshot,) = await subscribe(client, "surface.deribit.BTC")
            assert snapshot["seq"] == 1
            assert client.transport.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
            reader, writer = await asyncio.open_connection("localhost", server.port, ssl=trusting())
            writer.write(b"GET /livez HTTP/1.1\r\nHost: kvd\r\n\r\n")
            assert (await reader.read()).endswith(b"alive\n")
            writer.close()

    asyncio.run(run())


def test_whoever_speaks_plainly_or_an_older_tls_gets_nothing():
    old = trusting()
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED

    def try_old(server):
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
        with socket.create_connection(("localhost", server.port)) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain, server_hostname="localhost")

    async def run():
        async with publisher(tls_certificate=CERTIFICATE, tls_key=KEY) as server:
            reader, writer = await asyncio.open_connection("localhost", server.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: kvd\r\n\r\n")
            assert b"kvd_up" not in await reader.read()
            writer.close()
            await asyncio.to_thread(try_old, server)
            async with secure(server) as client:
                assert await subscribe(client, "status") == []

    with pytest.warns(DeprecationWarning):
        asyncio.run(run())


def test_a_client_that_stalls_behind_tls_is_cut_and_holds_little():
    async def run():
        async with publisher(tls_certificate=CERTIFICATE, tls_key=KEY, stalled_after_s=0.5) as server:
            whole = update(*map(smile, EXPIRIES))
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", server.port))
            async with secure(server, sock=deaf, max_queue=1, ping_interval=None, close_timeout=0.1) as client:
                server.publish(whole)
                await client.send(json.dumps({"op": "subscribe", "topics": ["surface.*.*", "smile.*.*.*"]}))
                while not server.statistics().cut:
                    server.publish(whole)
                    await asyncio.sleep(0.001)
                    assert server.statistics().buffered_bytes < 400_000
                assert server.statistics().cut == {"stalled": 1}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("certificate.pem", "other_key.pem", "publish.tls_key: the key in .*other_key.pem' is not that of"),
        ("certificate.pem", "encrypted_key.pem", "publish.tls_key: .* holds no private key .* not encrypted"),
        ("certificate.pem", "certificate.pem", "publish.tls_key: .* holds no private key"),
        ("key.pem", "key.pem", "publish.tls_certificate: .* holds no certificate"),
        ("absent.pem", "key.pem", r"publish.tls_certificate: .* cannot be read \(No such file"),
        ("certificate.pem", "", r"publish.tls_key: .* cannot be read \(Is a directory\)"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(certificate, key, says):
    async def run():
        async with publisher(tls_certificate=str(FOLDER / certificate), tls_key=str(FOLDER / key)):
            pass

    with pytest.raises(ConfigError, match=says):
        asyncio.run(run())
