"""kvd against bare floors, on loopback, in one run: what a frame, a core, a slice and a delivery cost."""

from typing import Any

from kvd.bench.fanout import delivery_costs
from kvd.bench.slices import refit_ratio
from kvd.bench.stream import stream_costs

__all__ = ["measure"]


async def measure() -> dict[str, Any]:
    """All figures by name; times in microseconds of CPU unless the name says otherwise."""
    return {**await stream_costs(), **refit_ratio(), **await delivery_costs()}
