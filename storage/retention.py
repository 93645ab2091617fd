"""Which segments may go: sealed, passed by every link, rested, and old or too many; oldest first.

One thread at a time (whoever trims). Age is wall time and is not trusted while the wall clock has moved by
more than an hour against the monotonic one since the open; the size bound goes on working then.
"""

from collections.abc import Mapping
from typing import Final

from .clock import Clock
from .options import StoreOptions
from .segment import Segment
from .segments import Segments
from .stats import Trimmed

_DIVERGENCE_MS_MAX: Final = 3_600_000


class Retention:
    """Trims one WAL. A stream that `keep_after` does not name pins nothing: no link reads it."""

    def __init__(self, segments: Segments, options: StoreOptions, clock: Clock) -> None:
        self._segments = segments
        self._options = options
        self._clock = clock
        self._drift_ms = self._drift()
        self._passed_at_s: dict[int, float] = {}
        self.trimmed_segments = 0
        self.unread_events = 0

    @property
    def clocks_diverged(self) -> bool:
        """Whether age is suspended as a reason to delete."""
        return abs(self._drift() - self._drift_ms) > _DIVERGENCE_MS_MAX

    def trim(self, keep_after: Mapping[str, int]) -> Trimmed:
        """Unlink what may go. Raises StorageError."""
        self._note_passed(keep_after)
        removed, removed_bytes, unread = 0, 0, 0
        for segment in self._segments.listed:
            if not self._may_go(segment) or not self._segments.drop(segment):
                break
            del self._passed_at_s[segment.number]
            removed += 1
            removed_bytes += segment.size_bytes
            unread += sum(span.events for stream, span in segment.spans.items() if stream not in keep_after)
        self.trimmed_segments += removed
        self.unread_events += unread
        return Trimmed(removed, removed_bytes, unread)

    def _note_passed(self, keep_after: Mapping[str, int]) -> None:
        """Remember since when each segment holds nothing that anyone still wants."""
        now_s = self._clock.monotonic_s()
        for segment in self._segments.listed:
            wanted = any(
                span.last > keep_after[stream]
                for stream, span in segment.spans.items()
                if stream in keep_after
            )
            if not segment.sealed or wanted:
                self._passed_at_s.pop(segment.number, None)
            else:
                self._passed_at_s.setdefault(segment.number, now_s)

    def _may_go(self, segment: Segment) -> bool:
        passed_at_s = self._passed_at_s.get(segment.number)
        if passed_at_s is None:
            return False
        rested_s = self._clock.monotonic_s() - max(segment.sealed_at_s, passed_at_s)
        return rested_s >= self._options.trim_lag_s and (self._too_many() or self._too_old(segment))

    def _too_many(self) -> bool:
        return 0 < self._options.retention_bytes_max < self._segments.total_bytes

    def _too_old(self, segment: Segment) -> bool:
        age_s = (self._clock.wall_ms() - segment.last_ms) / 1000
        return age_s >= self._options.retention_s and not self.clocks_diverged

    def _drift(self) -> float:
        return self._clock.wall_ms() - self._clock.monotonic_s() * 1000
