"""What the writer thread does with a commit: offsets, a value per stream, one transaction, rotation.

Thread: the writer. Nothing a reader sees changes before the transaction is durable.
"""

from array import array
from time import perf_counter
from typing import Final

from .clock import Clock
from .disk import Space
from .record import Submission, pack, pack_ids, stream_prefix, value_key
from .segments import Segments
from .stats import CommitTimes
from .writer import Commit

_RESERVE_PAGES: Final = 24
_RESERVE_PAGES_PER_STREAM: Final = 4
"""What a commit may use beyond its bytes: partly filled last pages, copied tree pages, the free list."""
_SPACE_PER_BYTE: Final = 2
_SPACE_RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Free disk that a commit wants per byte, and beyond; more than the tables want (tables.py), so that events
stop before the checkpoints that let the WAL be trimmed.
"""


class EventCommit(Commit):
    """Events of one commit, per stream in order of appends; the writer sets `heads`, `committed_ms`."""

    __slots__ = ("committed_ms", "groups", "heads", "ids")

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, list[Submission]] = {}
        self.ids: set[int] = set()
        self.committed_ms = 0
        self.heads: dict[str, int] = {}


class EventWriter:
    """Stores commits in the open segment. `floor` is below every offset this session issues."""

    def __init__(self, segments: Segments, clock: Clock, floor: int) -> None:
        self._segments = segments
        self._clock = clock
        self._floor = floor
        self._last_ms = max((segment.last_ms for segment in segments.listed), default=0)
        self.space = Space(segments.folder, _SPACE_RESERVE_BYTES)
        self.times = CommitTimes()
        self.events = 0

    def perform(self, commit: EventCommit) -> None:
        """Make the commit durable. StoreFull: nothing was stored; any other error: the outcome is unknown."""
        self.space.demand(_SPACE_PER_BYTE * commit.size_bytes)
        self._make_room(commit)
        committed_ms = self._last_ms = max(self._clock.wall_ms(), self._last_ms)
        values = []
        placed: list[tuple[str, int, array[int]]] = []
        for stream, groups in commit.groups.items():
            first = self._next_offset(stream)
            ids = pack_ids(groups)
            values.append(
                (value_key(stream_prefix(stream), first), pack(stream, first, committed_ms, groups, ids))
            )
            placed.append((stream, first, ids))
        environment = self._segments.active.environment
        assert environment is not None
        began_s = perf_counter()
        environment.put_all(values)
        self.times.add(perf_counter() - began_s)
        commit.committed_ms = committed_ms
        self._publish(commit, placed)

    def _make_room(self, commit: EventCommit) -> None:
        """Rotate unless the commit surely fits: the map must never be full. Also once there is a segment that
        is written faster.
        """
        segment = self._segments.active
        environment = segment.environment
        assert environment is not None
        pages = _RESERVE_PAGES + _RESERVE_PAGES_PER_STREAM * len(commit.groups)
        needed_bytes = commit.size_bytes + pages * environment.page_bytes
        full = environment.end_bytes + needed_bytes > environment.map_bytes
        if segment.spans and (full or self._segments.outdone):
            self._segments.rotate()

    def _next_offset(self, stream: str) -> int:
        segment = self._segments.active
        span = segment.spans.get(stream)
        last = span.last if span is not None else segment.heads_before.get(stream, 0)
        return max(last, self._floor) + 1

    def _publish(self, commit: EventCommit, placed: "list[tuple[str, int, array[int]]]") -> None:
        """Show readers what is durable now."""
        segment, index = self._segments.active, self._segments.index
        for stream, first, ids in placed:
            last = first + len(ids) - 1
            index.cover(stream, first, last, commit.committed_ms)
            index.add_ids(stream, first, ids)
            commit.heads[stream] = last
            self.events += len(ids)
        segment.first_ms, segment.last_ms = index.first_ms, index.last_ms
        if segment.environment is not None:
            segment.size_bytes = segment.environment.end_bytes
            self._segments.blank.want(segment.size_bytes)
