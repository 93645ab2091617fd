"""Reads one stream of the WAL for every link of that stream: a block is read once, and decoded once, for all
of them.

Invariants: events come in offset order; a hole of the WAL is passed on as a dropped range. Decoded events may
be shared: nobody changes one. With one link nothing is shared, so an event lives only as long as its layout
takes (kept events would be what the garbage collector walks). Thread: the event loop; the WAL itself is read
in a worker thread, decoding runs in the slices of whoever asks.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from server.ingest import restorer
from storage import Chunk, Group, Wal

from .outcome import Dropped

CHUNK_EVENTS_MAX: Final = 1_000
CHUNK_BYTES_MAX: Final = 1024 * 1024
CHUNKS_KEPT: Final = 4
"""Chunks kept for links that follow close behind. Decoded ones are about 5 MB each."""

Event = dict[str, Any]


class EventGroup:
    """Consecutive events that share a head: item i has offset `first_offset` + i."""

    __slots__ = ("_decoded", "_head", "_restore", "first_offset", "items")

    def __init__(self, group: Group, *, shared: bool) -> None:
        self.first_offset = group.first_offset
        self.items = group.items
        self._head = group.head
        self._restore: Callable[[bytes], Event] | None = None
        self._decoded: dict[int, Event] | None = {} if shared else None

    def event(self, at: int) -> Event:
        """The event of item `at`. Raises whatever is wrong with it; the caller refuses it for that."""
        restore = self._restore
        if restore is None:  # not before it is needed: a chunk of single events has a thousand heads
            restore = self._restore = _restorer(self._head)
        decoded = self._decoded
        if decoded is None:
            return restore(self.items[at])
        event = decoded.get(at)
        if event is None:
            event = decoded[at] = restore(self.items[at])
        return event

    def up_to(self, last: int) -> "EventGroup":
        """The same without what is behind `last`."""
        shorter = copy(self)
        shorter.items = self.items[: max(0, last + 1 - self.first_offset)]
        return shorter


@dataclass(slots=True)
class Events:
    """What (after, last] of the stream holds. `committed_ms` is when the first event became durable, None
    without events.
    """

    after: int
    last: int
    committed_ms: int | None = None
    groups: list[EventGroup] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    def up_to(self, last: int) -> "Events":
        """The same without what is behind `last`."""
        if self.last <= last:
            return self
        groups = [group.up_to(last) for group in self.groups]
        dropped = [Dropped(d.first, min(d.last, last), d.reason) for d in self.dropped if d.first <= last]
        return Events(self.after, last, self.committed_ms, groups, dropped)


class StreamReader:
    """One per stream that has links; `shared` if it has several."""

    def __init__(self, wal: Wal, stream_id: str, threads: Executor, *, shared: bool) -> None:
        self._wal = wal
        self._threads = threads
        self._stream_id = stream_id
        self._shared = shared
        self._kept: deque[Events] = deque(maxlen=CHUNKS_KEPT if shared else 1)
        self._reading = asyncio.Lock()

    def share(self, shared: bool) -> None:
        """The stream has several links now, or one; what was read so far stays as it is."""
        if shared != self._shared:
            self._shared = shared
            self._kept = deque(self._kept, CHUNKS_KEPT if shared else 1)

    async def read(self, after: int) -> Events:
        """The events from some offset ≤ `after` on to some offset > `after`, or nothing (`last` ≤ `after`) at
        the end.

        Raises StorageError when the WAL cannot be read at all.
        """
        async with self._reading:
            for events in self._kept:
                if events.after <= after < events.last:
                    return events
            read = partial(self._wal.read, self._stream_id, after, CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX)
            chunk = await asyncio.get_running_loop().run_in_executor(self._threads, read)
            events = self._events(after, chunk)
            if events.last > after:
                self._kept.append(events)
            return events

    async def committed_ms(self, after: int) -> int | None:
        """When the first event behind `after` became durable; None if there is none. Raises StorageError."""
        read = partial(self._wal.read, self._stream_id, after, 1, 1)
        chunk = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        return chunk.groups[0].committed_ms if chunk.groups else None

    def _events(self, after: int, chunk: Chunk) -> Events:
        return Events(
            after,
            chunk.last,
            chunk.groups[0].committed_ms if chunk.groups else None,
            [EventGroup(group, shared=self._shared) for group in chunk.groups],
            [Dropped(hole.first, hole.last, f"WAL: {hole.reason}") for hole in chunk.holes],
        )


def _restorer(head: bytes) -> Callable[[bytes], Event]:
    """The decoder of a group; for a head that cannot be read, one that says so for each of its items."""
    try:
        return restorer(head)
    except Exception as error:
        reason = f"the head of its request: {error}"

    def refuse(_item: bytes) -> Event:
        raise ValueError(reason)

    return refuse
