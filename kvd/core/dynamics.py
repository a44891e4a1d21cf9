"""Process noise: how fast each coordinate of a slice wanders, and how the expiries move together."""

from msgspec import Struct


class Dynamics(Struct, frozen=True, forbid_unknown_fields=True):
    """[dynamics]: placeholder while the house is being built."""
