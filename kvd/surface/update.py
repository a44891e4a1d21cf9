"""What one batch came to, as a record: the smiles that moved, and the numbers behind the metrics."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from kvd.surface.smile import Smile


class BatchFacts(NamedTuple):
    """What happened to one underlying's quotes in one batch: the numbers behind the metrics.

    ``refused`` and ``inflated`` count by reason; ``nis`` is the sum over slices of the normalised innovation squared of
    all prior innovations (not down-weighted) and ``nis_dof`` how many there were. ``one_sided`` counts quotes without
    bid or ask that bounded a smile, which are in none of the other numbers but ``inflated``.
    ``forwards_outside_parity`` counts expiries whose forward, as the venue says it, lay outside what their tightest
    call-put pair allows; ``forwards_gated`` counts sources of a forward that were kept out for having jumped alone;
    ``executable`` counts arbitrage on the venue's own bids and asks by kind (box, butterfly, calendar). By tenor bucket
    (0 to 4: under 1, 1 to 7, 7 to 30, 30 to 90, over 90 days), ``coverage`` holds how many quotes there were and how
    many of their mids lay in the 50, 90 and 95 % predictive bands, and ``nis_by_tenor`` the NIS and its degrees of
    freedom. ``mark_alarms`` are the expiries whose smile the venue's marks have denied for a while, and still do.
    ``log_likelihood`` is the sum of ln of the predictive density at each of the ``quotes``
    (`kvd.core.measurement.log_density`).
    """

    quotes: int
    refused: dict[str, int]
    inflated: dict[str, int]
    nis: float
    nis_dof: int
    one_sided: int = 0
    forwards_outside_parity: int = 0
    forwards_gated: int = 0
    executable: Mapping[str, int] = MappingProxyType({})
    coverage: Mapping[int, tuple[int, int, int, int]] = MappingProxyType({})
    nis_by_tenor: Mapping[int, tuple[float, int]] = MappingProxyType({})
    mark_alarms: tuple[int, ...] = ()
    log_likelihood: float = 0.0


class SurfaceUpdate(NamedTuple):
    """What one batch changed on one underlying's surface: whole smiles that moved, and expiries that left."""

    venue: str
    underlying: str
    publish_us: int
    smiles: tuple[Smile, ...]
    withdrawn: tuple[int, ...]
    facts: BatchFacts
