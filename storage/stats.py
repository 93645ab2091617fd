"""What the store says of itself, for metrics and people. Totals count from the open of the store."""

from dataclasses import dataclass
from typing import Final

COMMIT_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of commit times; one more bucket has what is above."""


class CommitTimes:
    """A histogram of how long commits took, fsync included. The writer thread adds, others read."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(COMMIT_BOUNDS_S) + 1)
        self.count = 0
        self.total_s = 0.0
        self.longest_s = 0.0

    def add(self, duration_s: float) -> None:
        """One commit."""
        at = next((i for i, bound in enumerate(COMMIT_BOUNDS_S) if duration_s <= bound), len(COMMIT_BOUNDS_S))
        self.buckets[at] += 1
        self.count += 1
        self.total_s += duration_s
        self.longest_s = max(self.longest_s, duration_s)


@dataclass(frozen=True, slots=True)
class WalStats:
    """Times in seconds, sizes in bytes, wall times in ms since the epoch."""

    commits: int
    commit_buckets: tuple[int, ...]
    """Commits per bucket of COMMIT_BOUNDS_S, not cumulative."""
    commit_total_s: float
    commit_longest_s: float
    events: int
    duplicates: int
    refused_full: int
    """Commits that failed for want of room; their events were not taken."""
    pending_bytes: int
    wal_bytes: int
    segments: int
    oldest_ms: int | None
    """Commit time of the oldest retained event: the horizon of `locate`."""
    dedupe_ids: int
    dedupe_window_s: float
    """How far back a repeat is recognised now; at most the option."""
    holes: int
    missing_segments: tuple[str, ...]
    trimmed_segments: int
    trimmed_unread_events: int
    """Events trimmed that no link had asked for."""
    clocks_diverged: bool
    """Age-based deletion is suspended: wall and monotonic clock disagree by more than an hour."""
    free_bytes: int
    writer_alive: bool
    unclean_open: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """Retained events of one stream behind an offset, and their share of the bytes of their segments."""

    events: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one trim removed."""

    segments: int
    size_bytes: int
    unread_events: int
