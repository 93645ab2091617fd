"""Reads the WAL: events of a stream in offset order across segments, stepping over what is damaged or gone.

Only durable offsets are shown: the open segment's spans grow after the fsync, while LMDB shows a commit a
moment before. A read is one short transaction per segment; everything is copied out. Any thread.
"""

from array import array
from collections.abc import Callable
from typing import Final

from .chunk import Chunk, Group, Hole, Position, StoredEvent
from .environment import Environment
from .record import Block, Damaged, Value, split_key, stream_prefix, value_key
from .segment import Segment
from .segments import SegmentGone, Segments

OnHole = Callable[[str, Hole, "array[int] | None"], None]
_TAIL_BYTES_MAX: Final = 64 * 1024 * 1024


class _Collection:
    """A chunk being filled. `position` is the last offset dealt with."""

    def __init__(self, after: int, bytes_max: int, events_max: int) -> None:
        self.groups: list[Group] = []
        self.holes: list[Hole] = []
        self.position = after
        self._bytes_left = bytes_max
        self._events_left = events_max

    @property
    def full(self) -> bool:
        return self._events_left <= 0 or self._bytes_left <= 0

    def add(self, first: int, committed_ms: int, head: bytes, items: list[bytes]) -> None:
        """Take the part of a group that is behind `position` and within the bounds; at least one event."""
        skip = max(0, self.position + 1 - first)
        if skip >= len(items) or self.full:
            return
        if skip or len(items) > self._events_left:
            items = items[skip : skip + self._events_left]
        size_bytes = len(head) + sum(map(len, items))
        if size_bytes > self._bytes_left:
            items, size_bytes = self._fitting(head, items)
        self.groups.append(Group(first + skip, committed_ms, head, items))
        self._events_left -= len(items)
        self._bytes_left -= size_bytes
        self.position = first + skip + len(items) - 1

    def _fitting(self, head: bytes, items: list[bytes]) -> tuple[list[bytes], int]:
        size_bytes = len(head)
        for count, item in enumerate(items):
            if count and size_bytes + len(item) > self._bytes_left:
                # What is left is not enough for the next event: the chunk is full.
                return items[:count], self._bytes_left
            size_bytes += len(item)
        return items, size_bytes

    def skip(self, last: int, reason: str) -> Hole | None:
        """Step over the offsets up to `last`; the hole, if there is one."""
        if last <= self.position:
            return None
        hole = Hole(self.position + 1, last, reason)
        self.holes.append(hole)
        self.position = last
        return hole


class WalReader:
    """Reads of one WAL. `on_hole` gets every hole met, with the ids of its events where they are known."""

    def __init__(self, segments: Segments, on_hole: OnHole) -> None:
        self._segments = segments
        self._on_hole = on_hole

    def read(self, stream: str, after: int, bytes_max: int, events_max: int) -> Chunk:
        """See Wal.read."""
        into = _Collection(after, bytes_max, events_max)
        number = 0
        for segment in self._segments.since(stream, after):
            before = segment.heads_before.get(stream, 0)
            if before > into.position:
                self._skip(into, stream, before, self._segments.reason_missing(number, segment.number))
            number = segment.number
            span = segment.spans.get(stream)
            if span is not None and span.last > into.position:
                self._read_segment(segment, stream, span.first, span.last, into)
            if into.full:
                break
        return Chunk(into.groups, into.holes, into.position)

    def get(self, position: Position) -> StoredEvent | None:
        """The event at a position; None if it cannot be read any more."""
        chunk = self.read(position.stream, position.offset - 1, 1, 1)
        for group in chunk.groups:
            if group.first_offset == position.offset:
                return StoredEvent(
                    position.stream, position.offset, group.committed_ms, group.head, group.items[0]
                )
        return None

    def locate(self, id_hash: int) -> list[Position]:
        """Where the retained events with this id are, oldest first."""
        found = []
        for segment in self._segments.listed:
            index = self._segments.index_of(segment)
            if index is not None:
                found += [Position(stream, offset) for stream, offset in index.find(id_hash)]
        return found

    def tail(self, stream: str | None, count: int) -> list[StoredEvent]:
        """The newest `count` events, oldest first."""
        found: list[StoredEvent] = []
        for segment in reversed(self._segments.listed):
            if len(found) >= count:
                break
            for name in [stream] if stream is not None else list(segment.spans):
                found += self._tail_of(segment, name, count)
        found.sort(key=lambda event: (event.committed_ms, event.stream, event.offset))
        return found[-count:] if count > 0 else []

    def _tail_of(self, segment: Segment, stream: str, count: int) -> list[StoredEvent]:
        span = segment.spans.get(stream)
        if span is None:
            return []
        last = span.last
        into = _Collection(max(span.first, last - count + 1) - 1, _TAIL_BYTES_MAX, count)
        self._read_segment(segment, stream, span.first, last, into)
        return [
            StoredEvent(stream, group.first_offset + at, group.committed_ms, group.head, item)
            for group in into.groups
            for at, item in enumerate(group.items)
        ]

    def _read_segment(self, segment: Segment, stream: str, first: int, last: int, into: _Collection) -> None:
        """Take what the segment has of the stream behind the position, offsets `first` to `last`."""
        into.position = max(into.position, first - 1)
        try:
            with self._segments.reading(segment) as environment:
                reason = self._read_values(environment, stream, last, into)
        except SegmentGone:
            reason = f"segment {segment.number}: {self._segments.missing.get(segment.number, 'trimmed')}"
        if not into.full:
            self._skip(into, stream, last, reason)

    def _read_values(self, environment: Environment, stream: str, last: int, into: _Collection) -> str:
        """Returns why whatever is not covered by then is missing."""
        prefix = stream_prefix(stream)
        reason = "no value covers it"
        for key, view in environment.walk(prefix, value_key(prefix, into.position + 1)):
            first = split_key(key)[1]
            if first > last or into.full:
                break
            try:
                value = Value(view, stream, first)
            except Damaged as damage:
                reason = str(damage)
                continue
            if value.last <= into.position:
                continue
            self._skip(into, stream, first - 1, reason)
            for block in value.blocks:
                if block.last > into.position and not into.full:
                    self._read_block(value, block, stream, into)
            reason = "no value covers it"
        return reason

    def _read_block(self, value: Value, block: Block, stream: str, into: _Collection) -> None:
        try:
            groups = value.groups(block)
        except Damaged as damage:
            self._skip(into, stream, block.last, str(damage), _ids_of(value, block))
            return
        for first, head, items in groups:
            into.add(first, value.committed_ms, head, items)

    def _skip(
        self, into: _Collection, stream: str, last: int, reason: str, ids: "array[int] | None" = None
    ) -> None:
        hole = into.skip(last, reason)
        if hole is not None:
            self._on_hole(stream, hole, ids)


def _ids_of(value: Value, block: Block) -> "array[int] | None":
    try:
        return value.ids()[block.first - value.first : block.last - value.first + 1]
    except Damaged:
        return None
