"""How many events a batch of one link may have: as many as configured, unless tables are slower than that.

A batch is one statement a table, and a statement that takes longer than the server lets it is undone: what
failed so is not tried again as it was, but halved, down to the single event. After each full batch that
landed the next may have a sixteenth more: one too many costs a whole statement_timeout. Pure.
"""

from typing import Final

_SHARE: Final = 16


class BatchSize:
    """Of one link."""

    __slots__ = ("_configured", "events_max")

    def __init__(self, configured: int) -> None:
        self._configured = configured
        self.events_max = configured

    def too_slow(self, events: int) -> bool:
        """A batch of so many events took too long; False if there is no smaller one."""
        if events <= 1:
            return False
        self.events_max = max(1, min(self.events_max, events) // 2)
        return True

    def landed(self, events: int) -> None:
        """A batch of so many events landed; one that was not full says nothing about larger ones."""
        if events >= self.events_max:
            self.events_max = min(self._configured, self.events_max + self.events_max // _SHARE + 1)
