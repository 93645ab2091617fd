"""Liveness of the background loops: each must report within its deadline, or the process is unhealthy.

A loop that hangs answers nothing and logs nothing; a missed deadline is the only trace it leaves. Event-loop
thread only.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class _Loop:
    deadline_s: float
    last_s: float


class Heartbeats:
    """The registry of loops. `now_s` is monotonic time throughout."""

    def __init__(self) -> None:
        self._loops: dict[str, _Loop] = {}

    def beat(self, name: str, deadline_s: float, now_s: float) -> None:
        """Report that loop `name` runs; it must report again within `deadline_s` seconds."""
        self._loops[name] = _Loop(deadline_s, now_s)

    def late(self, now_s: float) -> dict[str, float]:
        """Loops that missed their deadline → seconds since their last report. Empty = healthy."""
        return {
            name: round(now_s - loop.last_s, 1)
            for name, loop in self._loops.items()
            if now_s - loop.last_s > loop.deadline_s
        }
