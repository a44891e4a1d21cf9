"""A surface put together from its smiles, whole batches at a time."""

from collections.abc import Iterable

from kvd.client.frames import Body
from kvd.surface import Surface


class Assembly:
    """The newest smiles of one surface: what one batch changed is shown together, or not yet.

    The smiles of a batch have one publish time. They are kept aside until a smile of another batch comes, or until the
    owner calls `settle` because none has come for a while; then `changed` says whether there is a new surface.
    `overwrites` counts surfaces that nobody looked at.
    """

    def __init__(self, venue: str, underlying: str) -> None:
        self.changed = False
        self.overwrites = 0
        self._venue = venue
        self._underlying = underlying
        self._shown: dict[str, Body] = {}
        self._coming: dict[str, Body] = {}
        self._batch_time = ""

    def put(self, body: Body) -> None:
        """One smile of a batch, or the news that it is withdrawn."""
        if body.publish_time != self._batch_time:
            self.settle()
            self._batch_time = body.publish_time
        if body.state == "withdrawn":
            self._coming.pop(body.expiry, None)
        else:
            self._coming[body.expiry] = body

    def replace(self, bodies: Iterable[Body]) -> None:
        """A snapshot: there are these smiles and no others."""
        self._coming = {}
        for body in bodies:
            held = self._shown.get(body.expiry)
            self._coming[body.expiry] = held if held is not None and body.same(held) else body
        self._batch_time = max((body.publish_time for body in self._coming.values()), default="")

    def settle(self) -> None:
        """Show what has come: its batch is whole."""
        if self._coming != self._shown:
            self._shown = dict(self._coming)
            self.overwrites += self.changed
            self.changed = True

    def surface(self) -> Surface:
        """The surface to show, in ascending expiry; until more comes it has not `changed`."""
        self.changed = False
        return Surface(
            self._venue, self._underlying, tuple(self._shown[expiry].smile for expiry in sorted(self._shown))
        )
