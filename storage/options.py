"""What whoever opens a store may choose. Bytes are bytes on disk or in memory, times are seconds."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

SEGMENT_BYTES_MIN: Final = 256 * KIB
COMMIT_BYTES_MAX: Final = 16 * MIB
"""A larger commit gains nothing and makes its waiters wait longer."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Bounds and times of a store. 0 means no limit where noted."""

    segment_bytes: int = 64 * MIB
    """Map size of one WAL segment: what is mapped, and so resident, while a segment is written or read."""
    pending_bytes_max: int = 64 * MIB
    """Bytes appended but not yet durable; beyond it appends are refused."""
    wal_bytes_max: int = 0
    """Bytes of all segments together; beyond it appends are refused. 0 = no limit."""
    free_bytes_min: int = 256 * MIB
    """Free disk space below which appends are refused: room for the catalog and an embedded Postgres."""
    dedupe_window_s: float = 86_400
    dedupe_bytes_max: int = 64 * MIB
    """Memory of the set of message-id hashes (dedupe.ID_BYTES each); the oldest leave first."""
    retention_s: float = 86_400
    """Age at which a segment that every link has passed may go."""
    retention_bytes_max: int = 2048 * MIB
    """WAL size beyond which passed segments go whatever their age. 0 = age alone decides."""
    trim_lag_s: float = 900
    """A segment stays this long after it was sealed and after the last link passed it."""
    catalog_bytes_max: int = 1024 * MIB
    scratch_bytes_max: int = 1024 * MIB
    close_timeout_s: float = 10
    """How long close() waits for what is queued to become durable."""

    def __post_init__(self) -> None:
        if self.segment_bytes < SEGMENT_BYTES_MIN:
            raise ValueError(f"segment_bytes must be at least {SEGMENT_BYTES_MIN}")

    @property
    def append_bytes_max(self) -> int:
        """The largest single append; the rest of a segment is for pages around it."""
        return self.segment_bytes * 3 // 4

    @property
    def commit_bytes_max(self) -> int:
        """Appends are joined into one commit up to this size."""
        return min(COMMIT_BYTES_MAX, self.segment_bytes // 2)
