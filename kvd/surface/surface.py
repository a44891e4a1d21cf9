"""All smiles of one underlying at one time."""

from typing import NamedTuple

from kvd.surface.smile import Smile


class Surface(NamedTuple):
    """The newest smiles of one underlying of one venue, in ascending expiry."""

    venue: str
    underlying: str
    smiles: tuple[Smile, ...]

    @property
    def publish_us(self) -> int:
        """When the newest of its smiles was published."""
        return max(smile.publish_us for smile in self.smiles)
