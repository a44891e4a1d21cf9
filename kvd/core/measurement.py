"""From a bid and an ask to a vol and its noise."""

from msgspec import Struct


class Measurement(Struct, frozen=True, forbid_unknown_fields=True):
    """[measurement]: placeholder while the house is being built."""
