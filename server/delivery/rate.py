"""How many events a link delivered lately. Pure: the caller passes the monotonic time."""

from collections import deque
from typing import Final

WINDOW_S: Final = 30
"""What counts as lately."""


class Rate:
    """Counts by whole seconds, so that memory does not depend on the number of batches."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque(maxlen=WINDOW_S + 1)

    def add(self, now_s: float, events: int) -> None:
        """So many were delivered now."""
        second = int(now_s)
        if self._counts and self._counts[-1][0] == second:
            events += self._counts.pop()[1]
        self._counts.append((second, events))

    def per_s(self, now_s: float) -> float:
        """Events per second over the last WINDOW_S seconds."""
        since = int(now_s) - WINDOW_S
        return sum(events for second, events in list(self._counts) if second > since) / WINDOW_S
