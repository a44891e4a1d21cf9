"""Which smiles there are, and which of them are held."""

from kvd.surface import SurfaceUpdate

NAMED = 3  # of those held
Key = tuple[str, str, int]  # venue, underlying, expiry (us)


class Smiles:
    """Follows what is published."""

    def __init__(self) -> None:
        self._there: set[Key] = set()
        self._held: set[Key] = set()

    def see(self, update: SurfaceUpdate) -> None:
        """An update was published."""
        for smile in update.smiles:
            key = smile.venue, smile.underlying, smile.expiry_us
            self._there.add(key)
            (self._held.add if smile.state == "held" else self._held.discard)(key)
        gone = {(update.venue, update.underlying, expiry_us) for expiry_us in update.withdrawn}
        self._there -= gone
        self._held -= gone

    def missing(self) -> dict[str, str]:
        """Said until there is one."""
        return {} if self._there else {"smiles": "no smile has been published yet"}

    def degraded(self) -> dict[str, str]:
        """Said while any is held."""
        if not self._held:
            return {}
        named = sorted({f"{underlying} of {venue}" for venue, underlying, _ in self._held})
        count = "1 smile is" if len(self._held) == 1 else f"{len(self._held)} smiles are"
        more = ", and others" if len(named) > NAMED else ""
        return {"held": f"{count} held, no arbitrage-free one being near enough: {', '.join(named[:NAMED])}{more}"}
