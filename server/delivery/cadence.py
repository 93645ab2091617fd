"""When a link flushes: at once while a full batch waits, else when the oldest waiting event has waited its
interval. Pure.

A due time that fires covers everything that was committed by then (`_sweep_to`): the batches of one sweep
follow each other without waiting. Times are milliseconds of whatever clock the caller passes: monotonic for
mode stream, wall for mode batch, whose due time the caller keeps in the catalog so that it survives a
restart.
"""


class Cadence:
    """One link's decision. `due_ms` is when the waiting events are flushed, None while nothing waits."""

    __slots__ = ("_interval_ms", "_sweep_to", "due_ms", "events_max")

    def __init__(self, interval_ms: int, events_max: int, due_ms: int | None = None) -> None:
        self._interval_ms = interval_ms
        self._sweep_to = 0
        self.events_max = events_max
        self.due_ms = due_ms

    def wait_ms(self, after: int, head: int, waiting: int, now_ms: int) -> int | None:
        """Milliseconds until the next flush of the events in (after, head]: 0 = now, None = not before
        another commit.

        `waiting` is how many events those are. A due time further off than one interval is the trace of a
        clock that was set back: it is made anew.
        """
        if head <= after:
            return None
        if waiting >= self.events_max or after < self._sweep_to:
            return 0
        if self.due_ms is None or self.due_ms > now_ms + self._interval_ms:
            self.due_ms = now_ms + self._interval_ms
        if self.due_ms > now_ms:
            return self.due_ms - now_ms
        self._sweep_to = head
        return 0

    def taken(self, after: int) -> None:
        """Everything up to `after` is in a batch now; the next due time starts with the next event."""
        if after >= self._sweep_to:
            self.due_ms = None

    def sweep(self, head: int) -> None:
        """Do not wait for what is committed up to `head`: the server is stopping and flushes what it can."""
        self._sweep_to = head
