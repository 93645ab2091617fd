"""The rate limit of a write key: a token bucket whose cost is the number of events.

Time is the monotonic clock's, passed in. Event-loop thread only. Invariant: in any stretch of t seconds no
more than `rate * t + burst` events are let through (a batch larger than the burst counts as the burst), and
a full bucket lets every batch through.
"""

from dataclasses import dataclass

# Refills are floats: a wait that was served in full may leave this much of a token missing.
_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many events of a key pass: `events_per_second` for ever, `burst` at once. Both above zero."""

    events_per_second: float
    burst: int


class TokenBucket:
    """Starts full. `limit` is what it was made with."""

    __slots__ = ("_at_s", "_tokens", "limit")

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._tokens = float(limit.burst)
        self._at_s = 0.0

    def take(self, cost: int, now_s: float) -> float:
        """Takes `cost` tokens, at most the burst, and returns 0.0; or none, and returns the seconds until it
        could.
        """
        self._refill(now_s)
        needed = min(cost, self.limit.burst)
        if self._tokens >= needed - _SLACK:
            self._tokens -= needed
            return 0.0
        return (needed - self._tokens) / self.limit.events_per_second

    def remaining(self, now_s: float) -> int:
        """Whole events that would pass now."""
        self._refill(now_s)
        return max(0, int(self._tokens + _SLACK))

    def _refill(self, now_s: float) -> None:
        elapsed_s = now_s - self._at_s
        if elapsed_s > 0:
            self._tokens = min(self.limit.burst, self._tokens + elapsed_s * self.limit.events_per_second)
            self._at_s = now_s
