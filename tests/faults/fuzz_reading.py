"""What a subscriber of kvd's reads, and what an operator writes."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from mutation import Mutator
from smiles import smile, update
from targets import Case

from kvd.client.frames import read
from kvd.config import ConfigError, load
from kvd.config.tokens import parse
from kvd.wire import Encoder, decode, decode_atm

FILES = (
    b'venues = ["deribit"]\n[deribit]\ncurrencies = ["BTC", "ETH"]\nchunk_channels = 10\n[publish]\nport = 8765\n',
    b'[publish]\nhost = "127.0.0.1"\norigins = ["https://desk.example.org"]\nmax_clients = 10\n[log]\nlevel = "info"\n',
    b'[measurement]\nstudent_nu = 4.0\n[calendar]\nevents = ["2026-12-09T19:00Z 2 4"]\nweekend_weight = 0.5\n',
)
ENVIRONMENTS = (
    b"KVD_PUBLISH_PORT=9000\nKVD_DERIBIT_CURRENCIES=BTC,ETH\nKVD_LOG_LEVEL=debug",
    b"KVD_PUBLISH_TOKENS=screen:read:0123456789abcdef0123,desk:read+lock:fedcba98765432100000\nKVD_PUBLISH_ALLOW_OPEN=true",
    b"KVD_FEED_STALE_AFTER_S=3e0\nKVD_DERIBIT_URL=wss://www.deribit.com/ws/api/v2\nKVD_PUBLISH_HOST=0.0.0.0",
)
WORDS = (
    "[publish]", "KVD_", "KVD_CONFIG=", "KVD_PUBLISH_TOKENS_FILE=", "[[deribit]]", "wss://", "read+lock",
    "limits:read:", "= 1979-05-27", "= 0x", "= inf", "= nan", "'''", '"""', "venues.x = 1", "true",
    "2026-12-09T19:00Z 1e9 4",
)  # fmt: skip


def messages(seed: int) -> Mutator:
    """Everything that kvd says on its stream."""
    encoder = Encoder("e")
    said = [message.payload for message in encoder.encode(update(smile()))]
    said += [encoder.snapshot(topic) for topic in encoder.topics()]
    said += [message.payload for message in encoder.encode(update(withdrawn=(smile().expiry_us,)))]
    said += [b'{"type":"gap","topic":"atm.deribit.BTC","from_seq":2,"to_seq":3,"epoch":"e","reason":"slow"}',
             b'{"type":"ack","op":"lock","id":"a","until":"2026-12-25T08:00:00Z"}']  # fmt: skip
    return Mutator(seed, said, ("withdrawn", "update", "snapshot", "live", "smile", "expiry", "2026-12-25", "status"))


def heard(data: bytes) -> None:
    """What the client's readers make of a message: a record, or a DecodeError."""
    for reader in (decode, decode_atm, _whole):
        try:
            reader(data)
        except msgspec.DecodeError:
            continue


def _whole(data: bytes) -> None:
    for body in read(data)[1]:
        assert body.state == "withdrawn" or body.smile.covariance.shape


def configurations(seed: int) -> Mutator:
    """Files, environments and entries of tokens."""
    return Mutator(seed, (*FILES, *ENVIRONMENTS), WORDS, "bytes")


@asynccontextmanager
async def configuration() -> AsyncIterator[Case]:
    """What is made of them: settings, or a ConfigError of one sentence."""
    with TemporaryDirectory(prefix="kvd-fuzz-") as folder:
        path = Path(folder, "kvd.toml")

        async def case(data: bytes) -> None:
            path.write_bytes(data)  # noqa: ASYNC240
            lines = [os.fsdecode(line).partition("=") for line in data.replace(b"\x00", b"").split(b"\n")]
            environ = {name: value for name, _, value in lines if name and name.startswith("KVD_")}
            for attempt in (
                lambda: load(path, {}),
                lambda: load(None, environ),
                lambda: parse([os.fsdecode(entry) for entry in data.split(b",")]),
            ):
                try:
                    attempt()
                except ConfigError as error:
                    assert str(error)

        yield case
