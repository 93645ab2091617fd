"""What the writer thread does with appends: repeats, offsets, a value per stream, one transaction, rotation.

Thread: the writer. Nothing a reader sees changes before the transaction is durable. Invariants: offsets of a
stream only grow and are never issued twice; an id is durable once, and known as soon as it is.
"""

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain
from time import perf_counter
from typing import Final

from .append import Append
from .clock import Clock
from .dedupe import Dedupe
from .disk import Space
from .record import Part, Submission, pack, pack_ids, stream_prefix, value_key
from .segments import Segments
from .stats import CommitTimes

_RESERVE_PAGES: Final = 24
_RESERVE_PAGES_PER_STREAM: Final = 4
"""What a commit may use beyond its bytes: partly filled last pages, copied tree pages, the free list."""
_SPACE_PER_BYTE: Final = 2
_SPACE_RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Free disk that a commit wants per byte, and beyond; more than the tables want (tables.py), so that events
stop before the checkpoints that let the WAL be trimmed.
"""

_Streams = Mapping[str, Sequence[Submission]]


class EventWriter:
    """Stores appends in the open segment. `floor` is below every offset this session issues."""

    def __init__(self, segments: Segments, dedupe: Dedupe, clock: Clock, floor: int) -> None:
        self._segments = segments
        self._dedupe = dedupe
        self._clock = clock
        self._floor = floor
        self._last_ms = max((segment.last_ms for segment in segments.listed), default=0)
        self._lost: deque[array[int]] = deque()
        self.space = Space(segments.folder, _SPACE_RESERVE_BYTES)
        self.times = CommitTimes()
        self.events = 0
        self.duplicates = 0
        self._stored_ids = 0
        """Of the last commit."""

    def forget(self, ids: "array[int]") -> None:
        """Ids of events that turned out to be lost: an append that brings one is taken. Any thread."""
        self._lost.append(ids)

    def perform(self, appends: Sequence[Append], size_bytes: int) -> Mapping[str, int]:
        """Make what is new of the appends, which have so many bytes, durable; stream → last durable offset,
        where it grew. StoreFull: nothing was stored; any other error: the outcome is unknown.
        """
        self._forget_lost()
        ids = list(chain.from_iterable(append.ids for append in appends))
        if self._dedupe.knows_none(ids) and len(set(ids)) == len(ids):
            return self._store(_by_stream(appends), ids, size_bytes)
        return self._store(*self._without_repeats(appends), size_bytes)

    def tidy(self) -> bool:
        """What nobody waits for, about a millisecond of it; True if there is more."""
        self._forget_lost()
        return self._dedupe.free(2 * self._stored_ids)  # more than came with a commit, so that it keeps up

    def _forget_lost(self) -> None:
        while self._lost:
            self._dedupe.forget(self._lost.popleft())

    def _without_repeats(self, appends: Sequence[Append]) -> tuple[_Streams, Sequence[int]]:
        """What is new, and its ids."""
        new_ids: dict[int, None] = {}
        streams: dict[str, list[Submission]] = {}
        for append in appends:
            known, new = 0, []
            for at, id_hash in enumerate(append.ids):
                if id_hash in new_ids:
                    continue
                if self._dedupe.knows(id_hash):
                    known += 1
                else:
                    new_ids[id_hash] = None
                    new.append(at)
            count = len(append.ids)
            append.known = known == count
            append.duplicates = count - len(new)
            self.duplicates += append.duplicates
            if new:
                part = (
                    append
                    if len(new) == count
                    else Part(append.head, [append.items[at] for at in new], [append.ids[at] for at in new])
                )
                streams.setdefault(append.stream, []).append(part)
        return streams, list(new_ids)

    def _store(self, streams: _Streams, ids: Sequence[int], size_bytes: int) -> Mapping[str, int]:
        if not streams:
            return {}
        self.space.demand(_SPACE_PER_BYTE * size_bytes)
        self._make_room(size_bytes, len(streams))
        committed_ms = self._last_ms = max(self._clock.wall_ms(), self._last_ms)
        values = []
        placed: list[tuple[str, int, array[int]]] = []
        for stream, parts in streams.items():
            first = self._next_offset(stream)
            packed_ids = pack_ids(parts)
            values.append(
                (
                    value_key(stream_prefix(stream), first),
                    pack(stream, first, committed_ms, parts, packed_ids),
                )
            )
            placed.append((stream, first, packed_ids))
        environment = self._segments.active.environment
        assert environment is not None
        began_s = perf_counter()
        environment.put_all(values)
        self.times.add(perf_counter() - began_s)
        heads = self._publish(committed_ms, placed)
        self._dedupe.add(ids, committed_ms)
        self._dedupe.evict(committed_ms)
        self._stored_ids = len(ids)
        return heads

    def _make_room(self, size_bytes: int, streams: int) -> None:
        """Rotate unless a commit of so much surely fits: the map must never be full. Also once there is a
        segment that is written faster.
        """
        segment = self._segments.active
        environment = segment.environment
        assert environment is not None
        pages = _RESERVE_PAGES + _RESERVE_PAGES_PER_STREAM * streams
        needed_bytes = size_bytes + pages * environment.page_bytes
        full = segment.size_bytes + needed_bytes > environment.map_bytes
        if segment.spans and (full or self._segments.outdone):
            self._segments.rotate()

    def _next_offset(self, stream: str) -> int:
        segment = self._segments.active
        span = segment.spans.get(stream)
        last = span.last if span is not None else segment.heads_before.get(stream, 0)
        return max(last, self._floor) + 1

    def _publish(self, committed_ms: int, placed: "list[tuple[str, int, array[int]]]") -> Mapping[str, int]:
        """Show readers what is durable now."""
        segment, index = self._segments.active, self._segments.index
        heads = {}
        for stream, first, ids in placed:
            heads[stream] = last = first + len(ids) - 1
            index.cover(stream, first, last, committed_ms)
            index.add_ids(stream, first, ids)
            self.events += len(ids)
        segment.first_ms, segment.last_ms = index.first_ms, index.last_ms
        if segment.environment is not None:
            segment.size_bytes = segment.environment.end_bytes
            self._segments.blank.want(segment.size_bytes)
        return heads


def _by_stream(appends: Sequence[Append]) -> _Streams:
    streams: dict[str, list[Submission]] = {}
    for append in appends:
        streams.setdefault(append.stream, []).append(append)
    return streams
