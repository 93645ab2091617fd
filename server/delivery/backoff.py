"""Waiting between attempts that may go on for ever: exponential, capped, full jitter. Pure; one instance per
link.
"""

from random import Random


class Backoff:
    """Delays drawn evenly from 0 … min(cap, first × 2ⁿ); `reset` after a success. Full jitter keeps links
    from marching in step.
    """

    __slots__ = ("_cap_s", "_first_s", "_random", "attempts")

    def __init__(self, first_s: float, cap_s: float, random: Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._random = random
        self.attempts = 0

    def next_s(self) -> float:
        """Seconds to wait before the next attempt; counts one failed attempt."""
        ceiling_s = min(self._cap_s, self._first_s * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return self._random.uniform(0.0, ceiling_s)

    def reset(self) -> None:
        """The last attempt succeeded."""
        self.attempts = 0
