"""What may be asked over HTTP: request lines, headers, tokens, origins, and the queries of every page."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from mutation import Mutator
from smiles import CHRISTMAS, DAY, NOON, smile, update
from targets import Case
from websockets.http11 import Request
from websockets.streams import StreamReader

from kvd.config import Publish
from kvd.quotes import Instrument
from kvd.sinks.answers import JSON, Sources
from kvd.sinks.door import Door, response
from kvd.sinks.history import History
from kvd.wire import Encoder

SECRET = "0123456789abcdef0123"
SETTINGS = Publish(
    tokens=(f"screen:read:{SECRET}",), origins=("https://desk.example.org",), max_messages_per_s_per_token=1e12
)
TARGETS = (
    "/livez", "/readyz?verbose", "/metrics", "/v1/stream", "/v1/surface/BTC",
    "/v1/surface/BTC?venue=deribit&at=2026-07-02T12:00:00Z",
    "/v1/vol?underlying=BTC&expiry=2026-12-25&strike=60000&strike=1e5", "/v1/tenors/BTC?venue=deribit",
    "/v1/instruments?venue=deribit&underlying=BTC", "/v1/asyncapi.json", "/v1/openapi.json", "/",
)  # fmt: skip
HEADS = (
    f"Host: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\n",
    f"Host: kvd\r\nOrigin: https://desk.example.org\r\nSec-WebSocket-Protocol: kvd.v1.json, bearer.{SECRET}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    "Host: kvd\r\nOrigin: http://[::1]:3000\r\nAuthorization: Basic QQ==\r\n",
)
WORDS = (
    "strike=", "&" * 200, "at=", "venue=", "underlying=%ff", "%00", "%ed%a0%80", "//", "http://[", "?", "#",
    "Origin: null\r\n", "bearer.", "Origin: https://desk.example.org.evil\r\n", "Authorization: Bearer ", "POST",
    "Content-Length: 99999999\r\n", "1e309", "nan", "2026-07-02T12:00:00+99:00", "0001-01-01",
    "9999-12-31T23:59:59Z", "\r\n\r\n", "Transfer-Encoding: chunked\r\n",
)  # fmt: skip
STATUSES = {200, 400, 401, 403, 404, 405, 429, 503}
MOST_CODES = 20


def requests(seed: int) -> Mutator:
    """Whole requests, as bytes."""
    corpus = [f"GET {target} HTTP/1.1\r\n{head}\r\n".encode() for target in TARGETS for head in HEADS]
    return Mutator(seed, corpus, WORDS, "bytes")


@asynccontextmanager
async def door() -> AsyncIterator[Case]:
    """The door of a publisher that has two smiles to show."""
    encoder, history, errors = Encoder("e"), History(1.0), Counter[str]()
    for minute in range(3):
        news = update(smile(publish_us=NOON + minute * 60_000_000), smile(CHRISTMAS + DAY))
        history.before(news, encoder)
        encoder.encode(news)
    option = Instrument("BTC-25DEC26-60000-C", "deribit", "BTC", CHRISTMAS, 60_000.0, "call", True, 0.0005)
    sources = Sources(encoder, dict, lambda: b"# EOF\n", lambda *_: [(option, True)], history)
    made = Door(SETTINGS, sources, lambda: 0, errors, lambda: 0.0)

    async def case(data: bytes) -> None:
        request = _parsed(data)
        if request is None:
            return
        page = made.pass_or_page(request)
        if page is None:
            return
        assert page.status in STATUSES and response(page).serialize()
        assert SECRET.encode() not in page.body
        if page.content_type == JSON:
            orjson.loads(page.body)

    yield case
    holder = made.keyring.holder(SECRET)
    assert holder is not None
    assert len({*errors, *holder.refused}) < MOST_CODES, errors


def _parsed(data: bytes) -> Request | None:
    """The request that the library reads in `data`; None where it hangs up, or waits for more."""
    stream = StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    reading = Request.parse(stream.read_line)
    try:
        next(reading)
    except StopIteration as done:
        found: Request = done.value
        return found
    except Exception:  # whatever it raises, it answers with 400 or hangs up
        return None
    return None
