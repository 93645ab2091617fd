"""Whether there is room for events: free disk space and size of the WAL, asked once a second. The log says
when there is none any more, and when there is again.
"""

import logging
import os
from pathlib import Path
from typing import Final

from .clock import Clock
from .errors import StoreFull
from .segments import Segments

_log: Final = logging.getLogger("penstock.storage")
_RECHECK_S: Final = 1.0
_RETRY_S: Final = 5.0
_CALM_S: Final = 5.0
_ATTEMPTED: Final = "append events"


class Room:
    """The floor of the disk and the ceiling of the WAL. `full`: the last answer. Any thread."""

    def __init__(
        self, path: Path, segments: Segments, clock: Clock, free_bytes_min: int, wal_bytes_max: int
    ) -> None:
        self._path = path
        self._segments = segments
        self._clock = clock
        self._free_bytes_min = free_bytes_min
        self._wal_bytes_max = wal_bytes_max
        self._due_s = clock.monotonic_s()
        self.full: StoreFull | None = None
        self._full_at_s: float | None = None

    @property
    def free_bytes(self) -> int:
        """Bytes an ordinary user can still write to this disk."""
        space = os.statvfs(self._path)
        return space.f_bavail * space.f_frsize

    def refusal(self) -> StoreFull | None:
        """Why no events can be taken; recovers by itself."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._due_s:
            self._due_s = now_s + _RECHECK_S
            self.full = self._check()
            self._tell(now_s)
        return self.full

    def recheck(self) -> None:
        """Ask again at the next `refusal`: a commit found no room."""
        self._due_s = self._clock.monotonic_s()

    def _tell(self, now_s: float) -> None:
        """Log a change; that there is room again once it has lasted, for at the bound it comes and goes."""
        if self.full is not None:
            if self._full_at_s is None:
                _log.warning("no event is taken from now on, each is answered 503: %s", self.full.hint)
            self._full_at_s = now_s
        elif self._full_at_s is not None and now_s >= self._full_at_s + _CALM_S:
            self._full_at_s = None
            _log.info("there is room again: events are taken")

    def _check(self) -> StoreFull | None:
        free_bytes = self.free_bytes
        self._segments.blank.give_way(free_bytes)
        if free_bytes < self._free_bytes_min:
            bounds = f"{free_bytes} bytes are free on the disk, {self._free_bytes_min} must stay free"
            hint = f"{bounds} (store.free_bytes_min); make room"
            return StoreFull(_ATTEMPTED, hint, _RETRY_S)
        wal_bytes = self._segments.total_bytes
        if 0 < self._wal_bytes_max <= wal_bytes:
            bounds = f"the WAL has {wal_bytes} bytes of {self._wal_bytes_max} (store.wal_bytes_max)"
            hint = f"{bounds}; see which link is behind"
            return StoreFull(_ATTEMPTED, hint, _RETRY_S)
        return None
