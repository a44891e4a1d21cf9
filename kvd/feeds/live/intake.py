"""Where frames come in: recorded before they are read, read, counted, passed on."""

from collections import Counter
from collections.abc import Callable

from kvd.feeds.clock import ArrivalClock
from kvd.quotes import BadFrame, Event
from kvd.venues import Reading, VenueSession


class Intake:
    """What all the connections of a feed hand their frames to; what a frame says they `put` themselves.

    Counts since the feed was made.
    """

    def __init__(
        self,
        clock: ArrivalClock,
        put: Callable[[Event], object],
        record: Callable[[bytes, int], object] | None,
        record_lasting: Callable[[str], object] | None,
    ) -> None:
        self._clock = clock
        self.put = put
        self._record = record
        self._record_lasting = record_lasting
        self.frames = self.bytes = self.bad_frames = 0
        self.refusals: Counter[str] = Counter()
        self.last_us = 0  # arrival of the newest frame
        self.last_error = ""

    def read(self, session: VenueSession, frame: bytes) -> Reading:
        """Stamp a frame and read it; a bad one says nothing."""
        self.last_us = receive_us = self._clock.now_us()
        self.frames += 1
        self.bytes += len(frame)
        if self._record is not None:
            self._record(frame, receive_us)
        try:
            reading = session.parse(frame, receive_us)
        except BadFrame as error:
            self.bad_frames += 1
            self.last_error = f"bad frame: {error}"
            return Reading()
        if reading.lasting and self._record_lasting is not None:
            self._record_lasting(reading.lasting)
        for refusal in reading.refusals:
            self.refusals[refusal.reason] += 1
        return reading
