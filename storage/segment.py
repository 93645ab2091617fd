"""One segment of the WAL: a file, what is in it, who uses it. Guarded by the lock of segments.py."""

import threading
from pathlib import Path

from .environment import Environment
from .sidecar import Span


class Segment:
    """A segment on disk. `spans`, times and `heads_before` come from its index; the open one grows."""

    __slots__ = (
        "environment",
        "first_ms",
        "gone",
        "grows",
        "heads_before",
        "last_ms",
        "number",
        "path",
        "sealed",
        "sealed_at_s",
        "size_bytes",
        "spans",
        "users",
        "verified",
        "verifying",
    )

    def __init__(self, path: Path, number: int, heads_before: dict[str, int], *, sealed_at_s: float) -> None:
        self.path = path
        self.number = number
        self.heads_before = heads_before
        self.spans: dict[str, Span] = {}
        self.first_ms = 0
        self.last_ms = 0
        self.size_bytes = 0
        self.sealed = True
        self.sealed_at_s = sealed_at_s
        self.verified = False
        self.verifying = threading.Lock()
        self.environment: Environment | None = None
        self.users = 0
        self.gone = False
        self.grows = False
        """Whether commits make the file longer: it was not made ahead (blank.py)."""

    @property
    def sidecar(self) -> Path:
        """The file that holds this segment's index."""
        return self.path.with_suffix(".ids")

    @property
    def lock_file(self) -> Path:
        """LMDB's table of readers, there only while the segment is open for writing."""
        return self.path.with_name(self.path.name + "-lock")

    @property
    def events(self) -> int:
        """Events in it, damaged ones included."""
        return sum(span.events for span in list(self.spans.values()))
