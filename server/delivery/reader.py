"""Reads one stream of the WAL for every link of that stream: a block is read and decoded once, and shared.

Invariants: events come in offset order; what cannot be decoded is named with a reason, never raised (a
poisoned item must not stop the stream); a hole of the WAL is passed on as a dropped range. Decoded chunks
are shared: nobody may change an event. Thread: the event loop; the WAL itself is read in a worker thread,
decoding runs in slices of the loop's time.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from server.ingest import restorer
from storage import Chunk, Group, Wal

from .outcome import Dropped, Refused
from .pacer import Pacer

CHUNK_EVENTS_MAX: Final = 1_000
CHUNK_BYTES_MAX: Final = 1024 * 1024
CHUNKS_KEPT: Final = 4
"""Decoded chunks kept for links that follow close behind: about 5 MB each at the most, as an event of 700
bytes makes 4 KB of objects.
"""

_CLOCK_EVERY: Final = 16


@dataclass(slots=True)
class Events:
    """What (after, last] of the stream holds: parallel lists, one entry per event; a value is None if it is
    among `refused`.

    `sizes` are raw bytes; `committed_ms` is when the first event became durable, None without events.
    """

    after: int
    last: int
    committed_ms: int | None = None
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    values: list[dict[str, Any] | None] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)

    def index_after(self, offset: int) -> int:
        """Index of the first event behind `offset`."""
        return bisect_right(self.offsets, offset)


class StreamReader:
    """One per stream that has links."""

    def __init__(self, wal: Wal, stream_id: str, pacer: Pacer) -> None:
        self._wal = wal
        self._stream_id = stream_id
        self._pacer = pacer
        self._kept: deque[Events] = deque(maxlen=CHUNKS_KEPT)
        self._reading = asyncio.Lock()

    async def read(self, after: int) -> Events:
        """The events from some offset ≤ `after` on to some offset > `after`, or nothing (`last` ≤ `after`)
        at the end.

        Raises StorageError when the WAL cannot be read at all.
        """
        async with self._reading:
            for events in self._kept:
                if events.after <= after < events.last:
                    return events
            chunk = await asyncio.to_thread(
                self._wal.read, self._stream_id, after, CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX
            )
            events = await self._decode(after, chunk)
            if events.last > after:
                self._kept.append(events)
            return events

    async def _decode(self, after: int, chunk: Chunk) -> Events:
        events = Events(after, chunk.last)
        events.dropped.extend(Dropped(hole.first, hole.last, f"WAL: {hole.reason}") for hole in chunk.holes)
        await self._pacer.begin()
        try:
            for group in chunk.groups:
                if events.committed_ms is None:
                    events.committed_ms = group.committed_ms
                await self._decode_group(group, events)
        finally:
            self._pacer.end()
        return events

    async def _decode_group(self, group: Group, events: Events) -> None:
        restore = _restorer(group.head)
        for at, item in enumerate(group.items):
            offset = group.first_offset + at
            try:
                value: dict[str, Any] | None = restore(item)
            except Exception as error:
                events.refused[offset] = Refused(
                    offset, f"cannot be decoded: {type(error).__name__}: {error}"
                )
                value = None
            events.offsets.append(offset)
            events.sizes.append(len(item))
            events.values.append(value)
            if not at % _CLOCK_EVERY and self._pacer.spent:
                await self._pacer.breathe()


def _restorer(head: bytes) -> Callable[[bytes], dict[str, Any]]:
    """The decoder of a group; for a head that cannot be read, one that says so for each of its items."""
    try:
        return restorer(head)
    except Exception as error:
        reason = f"the head of its request: {error}"

    def refuse(_item: bytes) -> dict[str, Any]:
        raise ValueError(reason)

    return refuse
