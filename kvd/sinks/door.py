"""Who comes in: what an HTTP request gets before there is a websocket, and how it is said in HTTP."""

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from kvd.config import Publish
from kvd.sinks.pages import Call, Page, Sources, answer, refusal


class Door:
    """Pages for whoever asks for one, and the stream for whoever may have it while there is a place.

    `taken` says how many places are; `errors` counts refusals by code.
    """

    def __init__(self, settings: Publish, sources: Sources, taken: Callable[[], int], errors: Counter[str]) -> None:
        self._settings = settings
        self._sources = sources
        self._taken = taken
        self._errors = errors

    def pass_or_page(self, request: Request) -> Page | None:
        """The page that answers plain HTTP, or None to go on with a websocket's handshake."""
        authorizations = request.headers.get_all("Authorization")
        call = Call(
            getattr(request, "method", "GET"),  # older libraries refuse other methods themselves
            request.path,
            authorizations[0] if len(authorizations) == 1 else None,
            tuple(request.headers.get_all("Origin")),
        )
        found = answer(call, self._sources, self._settings.token)
        if found is None and self._taken() >= self._settings.max_clients:
            found = refusal(503, "full", f"all {self._settings.max_clients} places are taken: try again later")
            self._errors["full"] += 1
        return found


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
