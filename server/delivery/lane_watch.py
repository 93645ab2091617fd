"""When to look again whether a locked table is free. In memory: after a start every lane is tried at once.

Thread: the event loop; `words` any.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from server.clock import SystemClock
from server.warehouse import TableLocked

from .backoff import Backoff
from .waits import Patience


@dataclass(slots=True)
class _Watched:
    backoff: Backoff
    locked: TableLocked
    due_s: float


class LaneWatch:
    """Of one link. A table that is not watched is due."""

    def __init__(self, clock: SystemClock, patience: Patience, random: Random) -> None:
        self._clock = clock
        self._patience = patience
        self._random = random
        self._watched: dict[str, _Watched] = {}

    def locked(self, locked: TableLocked) -> None:
        """It is locked still, or again: look later."""
        watched = self._watched.get(locked.table)
        if watched is None:
            patience = self._patience
            backoff = Backoff(patience.retry_first_s, patience.retry_cap_s, self._random)
            watched = self._watched[locked.table] = _Watched(backoff, locked, 0.0)
        watched.locked = locked
        watched.due_s = self._clock.monotonic_s() + watched.backoff.next_s()

    def known(self, table: str) -> TableLocked | None:
        """What was last seen of it; None if it was not locked then."""
        watched = self._watched.get(table)
        return None if watched is None else watched.locked

    def free(self, table: str) -> None:
        """Its rows are taken again."""
        self._watched.pop(table, None)

    def hurry(self) -> None:
        """Look at every table now."""
        for watched in self._watched.values():
            watched.backoff.reset()
            watched.due_s = 0.0

    def due(self, tables: Iterable[str]) -> str | None:
        """One of the tables that should be looked at now."""
        return next((table for table in tables if self._due_s(table) <= self._clock.monotonic_s()), None)

    def wait_s(self, tables: Iterable[str]) -> float | None:
        """Seconds until one of the tables is due; None without tables."""
        first_s = min(map(self._due_s, tables), default=None)
        return None if first_s is None else max(0.0, first_s - self._clock.monotonic_s())

    def words(self, table: str) -> str:
        """Why events wait for that table."""
        watched = self._watched.get(table)
        return f"table {table} was locked" if watched is None else watched.locked.reason

    def _due_s(self, table: str) -> float:
        watched = self._watched.get(table)
        return 0.0 if watched is None else watched.due_s
