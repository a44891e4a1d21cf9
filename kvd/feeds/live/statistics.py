"""What a feed has done so far."""

from typing import NamedTuple


class FeedStatistics(NamedTuple):
    """Counted since the feed was made. ``last_data_age_s`` and ``clock_skew_s`` are None before the first data.

    ``connected`` speaks of the socket; ``flowing`` of the data: the canary has spoken and no outage has begun since.
    ``reconnects`` are attempts, ``handovers`` those of them that took over from a connection which still spoke.
    ``channels_silent`` were confirmed and have not said what they had to say at once. ``clock_skew_s`` is by how much
    our clock is ahead of the venue's: the least arrival time less the venue's own over the last minute or two, with
    the shortest journey in it.
    """

    frames: int
    bytes: int
    bad_frames: int
    refusals: dict[str, int]
    gaps: int
    reconnects: int
    handovers: int
    connected: bool
    flowing: bool
    last_data_age_s: float | None
    clock_skew_s: float | None
    channels_wanted: int
    channels_acked: int
    channels_silent: int
    last_error: str
