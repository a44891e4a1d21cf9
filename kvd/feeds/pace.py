"""How fast to ask: token buckets for a venue's quotas, and the wait before a reconnect. Pure: time is an argument."""

from collections import deque
from collections.abc import Mapping

from kvd.venues import Quota


class TokenBucket:
    """At most ``burst + rate_per_s * T`` requests in any span of T seconds."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._tokens = float(quota.burst)
        self._filled_at_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Take one token at `now_s` (monotonic seconds), if there is one."""
        self._fill(now_s)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait_s(self, now_s: float) -> float:
        """How long from `now_s` until there is a token."""
        self._fill(now_s)
        return max(0.0, (1.0 - self._tokens) / self._quota.rate_per_s)

    def _fill(self, now_s: float) -> None:
        if self._filled_at_s is not None and now_s > self._filled_at_s:
            gained = (now_s - self._filled_at_s) * self._quota.rate_per_s
            self._tokens = min(float(self._quota.burst), self._tokens + gained)
        self._filled_at_s = now_s if self._filled_at_s is None else max(now_s, self._filled_at_s)


class Pacer:
    """Requests waiting for their quota: in order within a quota, no quota waiting for another."""

    def __init__(self, quotas: Mapping[str, Quota]) -> None:
        self._lanes = {name: (TokenBucket(quota), deque[bytes]()) for name, quota in quotas.items()}
        self._free: deque[bytes] = deque()

    def add(self, request: bytes, quota: str | None) -> None:
        """Queue `request` under the named quota; None: it is due at once."""
        (self._free if quota is None else self._lanes[quota][1]).append(request)

    def due(self, now_s: float) -> list[bytes]:
        """Remove and return what may be sent at `now_s`."""
        ready = list(self._free)
        self._free.clear()
        for bucket, queue in self._lanes.values():
            while queue and bucket.take(now_s):
                ready.append(queue.popleft())
        return ready

    def wait_s(self, now_s: float) -> float | None:
        """How long until something is due, or None if nothing waits."""
        if self._free:
            return 0.0
        return min((bucket.wait_s(now_s) for bucket, queue in self._lanes.values() if queue), default=None)

    def beside(self) -> "Pacer":
        """Another with nothing waiting, for another connection. What was spent is spent for both: the venue says so."""
        other = Pacer({})
        other._lanes = {name: (bucket, deque()) for name, (bucket, _) in self._lanes.items()}
        return other


def backoff_s(attempt: int, first_s: float, cap_s: float, jitter: float) -> float:
    """Full jitter: before reconnect `attempt` (from 0), wait a share `jitter` in [0, 1) of a doubling, capped time."""
    return jitter * min(cap_s, first_s * 2.0 ** min(attempt, 60))
