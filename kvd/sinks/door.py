"""Who comes in: what an HTTP request gets before there is a websocket, and how it is said in HTTP."""

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from kvd.config import Publish, is_loopback
from kvd.sinks.answers import Page, Sources, refusal
from kvd.sinks.pages import PROBES, Call, answer
from kvd.sinks.tokens import Holder, Keyring

OFFERED = "bearer."  # before a token among the sub-protocols that a browser, which cannot set headers, offers


class Door:
    """Pages for whoever may ask for one, and the stream for whoever may have it while there is a place.

    `taken` says how many places are, `now_s` the time of the message limits; `errors` counts refusals by code.
    """

    def __init__(
        self,
        settings: Publish,
        sources: Sources,
        taken: Callable[[], int],
        errors: Counter[str],
        now_s: Callable[[], float],
    ) -> None:
        self.keyring = Keyring(settings, now_s())
        self._settings = settings
        self._sources = sources
        self._taken = taken
        self._errors = errors
        self._now_s = now_s

    def holder(self, request: Request) -> Holder | None:
        """Whose token the request brings, or None where it is nobody's."""
        return self.keyring.holder(presented(request.headers))

    def pass_or_page(self, request: Request) -> Page | None:
        """The page that answers plain HTTP, or None to go on with a websocket's handshake."""
        method = getattr(request, "method", "GET")  # older libraries refuse other methods themselves
        call = Call(method, request.path)
        if request.path.partition("?")[0] in PROBES:
            return answer(call, self._sources)
        holder = self.holder(request)
        if holder is None:
            words = "send a token of this kvd as the header 'Authorization: Bearer ...'"
            return self._refuse(401, "unauthorised", words)
        if not holder.take(self._now_s()):
            limit = f"{self._settings.max_messages_per_s_per_token:g} messages a second of this token"
            return self._refuse(429, "too_many_messages", f"more than {limit}: ask again later", holder)
        return answer(call, self._sources) or self._keep_out(request, holder)

    def _keep_out(self, request: Request, holder: Holder) -> Page | None:
        """The refusal of who may read but not have the stream, or not now; None for everyone else."""
        settings = self._settings
        if not all(map(self._welcome, request.headers.get_all("Origin"))):
            words = "pages of this site may not connect: name it in publish.origins"
            return self._refuse(403, "bad_origin", words, holder)
        if self._taken() >= settings.max_clients:
            words = f"all {settings.max_clients} places are taken: try again later"
            return self._refuse(503, "full", words, holder)
        if holder.full:
            words = f"all {settings.max_clients_per_token} places of this token are taken: close one of its connections"
            return self._refuse(503, "too_many_clients", words, holder)
        return None

    def _welcome(self, origin: str) -> bool:
        """No Origin is a program, not a browser; a browser's page must come from this machine or a site of the list."""
        try:
            return origin in self._settings.origins or is_loopback(urlsplit(origin).hostname)
        except ValueError:
            return False

    def _refuse(self, status: int, code: str, words: str, holder: Holder | None = None) -> Page:
        self._errors[code] += 1
        if holder is not None:
            holder.refused[code] += 1
        return refusal(status, code, words)


def presented(headers: Headers) -> str | None:
    """The one token that a request brings: as ``Authorization: Bearer``, or as the sub-protocol ``bearer.TOKEN``."""
    given = headers.get_all("Authorization")
    if given:
        scheme, _, token = given[0].partition(" ")
        return token.strip() if len(given) == 1 and scheme.lower() == "bearer" else None
    offers = [offer.strip() for line in headers.get_all("Sec-WebSocket-Protocol") for offer in line.split(",")]
    tokens = [offer.removeprefix(OFFERED) for offer in offers if offer.startswith(OFFERED)]
    return tokens[0] if len(tokens) == 1 else None


def response(found: Page) -> Response:
    """A page in HTTP."""
    status = HTTPStatus(found.status)
    headers = Headers()
    headers["Content-Type"] = found.content_type
    headers["Content-Length"] = str(len(found.body))
    headers["Cache-Control"] = "no-store"
    headers["Connection"] = "close"
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET"
    return Response(status, status.phrase, headers, found.body)
