"""The write-ahead log: appends of events, joined into durable commits, and the reads behind them.

Threads: `start`, `append`, `refusal`, `head`, `subscribe` on the loop; `read`, `get`, `locate`, `tail`,
`trim`, `stats` on any (they block). Invariants: what an append was settled for without an error is on disk;
offsets of a stream only grow and are never issued twice, not even after an old copy of the directory was put
back, because each session starts at the wall clock in microseconds.
"""

import asyncio
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from .append import Append
from .chunk import Chunk, Hole, Position, StoredEvent
from .clock import Clock
from .commits import EventWriter
from .dedupe import Dedupe
from .errors import StorageError, StoreFull
from .options import StoreOptions
from .poison import Poison
from .reader import WalReader
from .record import EVENT_OVERHEAD_BYTES, body_bytes, stream_prefix
from .retention import Retention
from .room import Room
from .segments import Segments
from .stats import Backlog, Trimmed, WalStats
from .writer import GroupWriter

A = TypeVar("A", bound=Append)
Heads = Mapping[str, int]
_HOLES_KEPT: Final = 1_000
_PENDING_RETRY_S: Final = 1.0


class Wal:
    """Made by Store.open."""

    def __init__(
        self,
        segments: Segments,
        dedupe: Dedupe,
        room: Room,
        options: StoreOptions,
        clock: Clock,
        poison: Poison,
        floor: int,
        unclean: bool,
    ) -> None:
        self._segments = segments
        self._dedupe = dedupe
        self._room = room
        self._options = options
        self._pending_bytes_max = options.pending_bytes_max
        self._append_bytes_max = options.append_bytes_max
        self._clock = clock
        self._unclean = unclean
        self._retention = Retention(segments, options, clock)
        self._reader = WalReader(segments, self._found_hole)
        self._events = EventWriter(segments, dedupe, clock, floor)
        self._writer: GroupWriter[Append] = GroupWriter(
            "wal", options.commit_bytes_max, self._perform, poison, self._events.tidy
        )
        self._subscribers: list[Callable[[Heads], None]] = []
        self._holes: dict[tuple[str, int], Hole] = {}
        self._refused_full = 0
        self._streams: set[str] = set()
        segments.on_lost = self._forget

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer thread, for appends on `loop`, before the first of them."""
        self._writer.start(loop)

    def close(self, timeout_s: float) -> bool:
        """Take nothing more and make what is pending durable; False if that took longer than `timeout_s`."""
        return self._writer.stop(timeout_s)

    @property
    def refusal(self) -> StorageError | None:
        """Why no events can be taken now: poisoned, closed, too much pending, or no room."""
        writer = self._writer
        error = writer.refusal
        if error is not None:
            return error
        if writer.pending_bytes >= self._pending_bytes_max:
            return StoreFull("append events", "too much waits for the disk", _PENDING_RETRY_S)
        return self._room.refusal()

    def look(self) -> None:
        """See whether there is room, also while nothing is appended: so the log says when that changes."""
        with suppress(OSError):  # whoever appends is told
            self._room.refusal()

    def append(self, append: A) -> A:
        """Queue events for the next commit, which leaves out those that repeat a known id. Gives `append`.

        Raises StoreFull, StorePoisoned, StoreClosed, and ValueError for what can never be stored: then it is
        not queued, nor settled.
        """
        writer = self._writer
        if (
            writer.refusal is not None
            or self._room.full is not None  # asked by the writer, too, as long as there is something pending
            or not 0 < writer.pending_bytes < self._pending_bytes_max
        ):
            refusal = self.refusal
            if refusal is not None:
                raise refusal.with_traceback(None)
        if append.stream not in self._streams:
            stream_prefix(append.stream)
            self._streams.add(append.stream)
        items = append.items
        if not items or len(append.ids) != len(items):
            raise ValueError(f"{len(items)} items need as many ids, and one at least, not {len(append.ids)}")
        append.body_bytes = in_block = body_bytes(append.head, items)
        append.size_bytes = size_bytes = in_block + EVENT_OVERHEAD_BYTES * len(items)
        if size_bytes > self._append_bytes_max:
            raise ValueError(f"an append of {size_bytes} bytes is above {self._append_bytes_max}")
        writer.put(append)
        return append

    def on_loop(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have `call` called on the loop that appends come from, if it still runs. Any thread."""
        self._writer.on_loop(call, *arguments)

    def subscribe(self, callback: Callable[[Heads], None]) -> None:
        """Call `callback` on the loop after each commit: stream → last durable offset, where it grew."""
        self._subscribers.append(callback)

    def unsubscribe(self, callback: Callable[[Heads], None]) -> None:
        """Ends a subscription; one that is not there is no error."""
        if callback in self._subscribers:
            self._subscribers.remove(callback)

    def read(self, stream: str, after: int, bytes_max: int, events_max: int) -> Chunk:
        """Durable events with offsets behind `after`, in order, up to the bounds but at least one.

        Damaged or missing ranges are holes of the chunk. Raises StorageError if nothing can be said.
        """
        return self._reader.read(stream, after, bytes_max, events_max)

    def get(self, position: Position) -> StoredEvent | None:
        """One event; None if it is not retained or damaged."""
        return self._reader.get(position)

    def locate(self, id_hash: int) -> list[Position]:
        """Where the retained events with this hash are, oldest first. Hashes collide: compare the id."""
        return self._reader.locate(id_hash)

    def tail(self, stream: str | None, count: int) -> list[StoredEvent]:
        """The newest `count` events of a stream, or of all, oldest first."""
        return self._reader.tail(stream, count)

    def head(self, stream: str) -> int:
        """The last durable offset; 0 if there is none."""
        segment = self._segments.active
        span = segment.spans.get(stream)
        return span.last if span is not None else segment.heads_before.get(stream, 0)

    def first(self, stream: str) -> int | None:
        """The first retained offset."""
        for segment in self._segments.listed:
            span = segment.spans.get(stream)
            if span is not None:
                return span.first
        return None

    def backlog(self, stream: str, after: int) -> Backlog:
        """What is retained of the stream behind `after`. From memory, so cheap; any thread."""
        events, size_bytes = 0, 0
        for segment in self._segments.since(stream, after):
            span = segment.spans.get(stream)
            if span is None or span.last <= after:
                continue
            # Offsets are dense within a segment.
            behind = span.events if span.first > after else span.last - after
            events += behind
            size_bytes += segment.size_bytes * behind // max(1, segment.events)
        return Backlog(events, size_bytes)

    def trim(self, keep_after: Mapping[str, int]) -> Trimmed:
        """Unlink sealed segments, oldest first, that hold nothing behind `keep_after` and may go.

        Name every stream that a link, replay or back-fill reads; the others pin nothing. One thread at a
        time.
        """
        return self._retention.trim(keep_after)

    def holes(self) -> list[tuple[str, Hole]]:
        """The holes met since the open (the newest thousand), with their streams."""
        return [(stream, hole) for (stream, _first), hole in list(self._holes.items())]

    def stats(self) -> WalStats:
        """A snapshot."""
        times = self._events.times
        listed = self._segments.listed
        oldest_ms = next((segment.first_ms for segment in listed if segment.first_ms), None)
        return WalStats(
            commits=times.count,
            commit_buckets=tuple(times.buckets),
            commit_total_s=times.total_s,
            commit_longest_s=times.longest_s,
            events=self._events.events,
            duplicates=self._events.duplicates,
            refused_full=self._refused_full,
            pending_bytes=self._writer.pending_bytes,
            wal_bytes=self._segments.total_bytes,
            segments=len(listed),
            oldest_ms=oldest_ms,
            dedupe_ids=len(self._dedupe),
            dedupe_window_s=self._dedupe.window_s(self._clock.wall_ms()),
            holes=len(self._holes),
            missing_segments=tuple(
                f"{number}: {why}" for number, why in sorted(self._segments.missing.items())
            ),
            trimmed_segments=self._retention.trimmed_segments,
            trimmed_unread_events=self._retention.unread_events,
            clocks_diverged=self._retention.clocks_diverged,
            free_bytes=self._room.free_bytes,
            writer_alive=self._writer.alive,
            unclean_open=self._unclean,
        )

    def _perform(self, appends: Sequence[Append], size_bytes: int) -> None:
        """On the writer's thread."""
        self._room.refusal()  # for the appends to come
        try:
            heads = self._events.perform(appends, size_bytes)
        except StoreFull:
            self._refused_full += 1
            self._room.recheck()
            raise
        if heads:  # who subscribes before the loop comes to it has perhaps read a head from before
            self.on_loop(self._tell_subscribers, heads)

    def _tell_subscribers(self, heads: Heads) -> None:
        for callback in tuple(self._subscribers):
            callback(heads)

    def _found_hole(self, stream: str, hole: Hole, ids: "array[int] | None") -> None:
        """Note a hole; its ids must be taken again if they come. On the reader's thread."""
        if (stream, hole.first) not in self._holes and len(self._holes) < _HOLES_KEPT:
            self._holes[stream, hole.first] = hole
        if ids is not None:
            self._forget(ids)

    def _forget(self, ids: "array[int]") -> None:
        """Ids of lost events. Any thread."""
        self._events.forget(ids)
        self._writer.wake()
