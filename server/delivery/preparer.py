"""Makes the batches of one link: waits until a flush is due, reads on from an offset, lays events out as
rows, and encodes them while the batch before is in flight.

Invariants: a batch covers (after, last] without a gap: every offset in it is a row, refused, in a dropped
range, or belongs to another database (stays.py). An event that cannot be laid out is refused, never raised.
CPU runs in slices under the pacer. Thread: the event loop. Works one batch ahead of the flusher, so two
batches at most are in memory.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from server.clock import SystemClock
from server.warehouse import AnyRow, Destination, Encoded, shortened
from storage import Wal

from .batch_size import BatchSize
from .cadence import Cadence
from .layouts import layout_of
from .ledger import Ledger
from .links import LinkConfig, table_options
from .outcome import Dropped, Refused
from .pacer import Pacer
from .reader import EventGroup, Events, StreamReader

_CLOCK_EVERY: Final = 16
_RECHECK_S_MAX: Final = 60.0
"""The wall clock may be set while a mode-batch link waits for its due time: look again this often."""


@dataclass(slots=True)
class Prepared:
    """One batch, ready to be flushed. `committed_ms` is when its first event became durable.

    A batch of parked events says which table they waited for (`lane`) and which chunks of the lane they are;
    its `after` and `last` are the checkpoint. `slots` is where the batch counts as being in memory. It takes
    `events_max` events.
    """

    batch_id: str
    after: int
    last: int
    events_max: int
    offsets: list[int] = field(default_factory=list)
    rows: list[AnyRow] = field(default_factory=list)
    encoded: Encoded | None = None
    refused: dict[int, Refused] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    raw_bytes: int = 0
    committed_ms: int | None = None
    lane: str | None = None
    taken: list[tuple[str, int]] = field(default_factory=list)
    slots: asyncio.Semaphore | None = None

    def give_back(self) -> None:
        """The batch is done with: another one may be made in its place."""
        slots, self.slots = self.slots, None
        if slots is not None:
            slots.release()


class Preparer:
    """One per link. `head` is the last durable offset of the stream, `waiting_since_ms` when the oldest event
    that is in no batch was noticed.
    """

    def __init__(
        self,
        link: LinkConfig,
        wal: Wal,
        reader: StreamReader,
        destination: Destination,
        ledger: Ledger,
        pacer: Pacer,
        clock: SystemClock,
        slots: asyncio.Semaphore,
    ) -> None:
        self._link = link
        self._wal = wal
        self._reader = reader
        self._destination = destination
        self._options = table_options(link)
        self._ledger = ledger
        self._pacer = pacer
        self._clock = clock
        self._slots = slots
        self._layout = layout_of(link)
        self.size = BatchSize(link.batch_events_max)
        self.head = wal.head(link.stream_id)
        self.waiting_since_ms: int | None = clock.wall_ms()
        self._cadence = self._new_cadence()
        self._barren = 0  # a head that was reached without finding an event: the WAL was trimmed up to it
        self._wake_at = 0
        self._news = asyncio.Event()
        self._stopping = False

    def _new_cadence(self) -> Cadence:
        link = self._link
        if link.mode == "batch":
            due_ms = self._ledger.checkpoint.due_ms
            return Cadence(link.frequency_minutes * 60_000, link.batch_events_max, due_ms)
        cadence = Cadence(round(link.flush_interval_s * 1000), link.batch_events_max)
        cadence.sweep(self.head)
        return cadence

    @property
    def due_ms(self) -> int | None:
        """The due time to keep in the catalog; None for mode stream, whose interval starts anew with the
        process.
        """
        return self._cadence.due_ms if self._link.mode == "batch" else None

    def committed(self, head: int) -> None:
        """Events up to `head` are durable now."""
        self.head = head
        if self.waiting_since_ms is None:
            self.waiting_since_ms = self._clock.wall_ms()
        if head >= self._wake_at:
            self._news.set()

    def stop(self) -> None:
        """Mode stream: what is committed is still prepared, at once. Mode batch: its due time outlives the
        process.
        """
        self._stopping = True
        if self._link.mode == "stream":
            self._cadence.sweep(self.head)
        self._news.set()

    async def next(self, after: int) -> Prepared | None:
        """The next batch behind `after`, when it is due; None when the link is stopping and has nothing left
        to flush.

        Raises StorageError if the WAL cannot be read or the due time not be kept.
        """
        while await self._due(after):
            await self._slots.acquire()
            begin = max(after, self._ledger.checkpoint.begin)
            events_max = self._pacer.batch_events(self.size.events_max)
            batch = Prepared(uuid4().hex, after, begin, events_max, slots=self._slots)
            head = self.head
            try:
                await self._fill(batch, head)
                if batch.last > begin:
                    self._cadence.taken(batch.last)
                    await self._encode(batch)
                    await self.look(batch.last)
                    return batch
            except BaseException:
                batch.give_back()
                raise
            batch.give_back()
            self._barren = head
        return None

    async def parked(self, table: str) -> Prepared:
        """The oldest events that wait for that table. Raises StorageError if they cannot be read."""
        last = self._ledger.checkpoint.last
        batch = Prepared(uuid4().hex, last, last, self.size.events_max, lane=table)
        for chunk in self._ledger.lanes.chunks(table):
            await self._lay_out_parked(chunk.offsets, batch)
            batch.taken.append((table, chunk.first))
            if self._full(batch):
                break
        await self._encode(batch)
        return batch

    async def look(self, after: int) -> None:
        """Learns since when the first event behind `after` waits. Raises StorageError."""
        self.waiting_since_ms = None
        checkpoint = self._ledger.checkpoint
        after, _ = checkpoint.stays.own(max(after, checkpoint.begin))
        if after < self.head:
            since_ms = await self._reader.committed_ms(after)
            self.waiting_since_ms = since_ms or self.waiting_since_ms

    async def committed_ms(self, offset: int) -> int | None:
        """When the event at that offset, or the next one there is, became durable. Raises StorageError."""
        return await self._reader.committed_ms(offset - 1)

    async def _fill(self, batch: Prepared, head: int) -> None:
        while batch.last < head and not self._full(batch):
            batch.last, own_last = self._ledger.checkpoint.stays.own(batch.last)
            events = await self._reader.read(batch.last)
            if events.last <= batch.last:
                break
            await self._lay_out(events if own_last is None else events.up_to(own_last), batch)

    async def _due(self, after: int) -> bool:
        """Waits until a flush is due. False = the link is stopping and nothing is due."""
        while True:
            head = self.head if self.head > self._barren else 0
            waiting = self._wal.backlog(self._link.stream_id, after).events
            wait_ms = self._cadence.wait_ms(after, head, waiting, self._now_ms())
            if wait_ms == 0:
                return True
            if self._stopping:
                return False
            self._news.clear()
            self._wake_at = head + (1 if wait_ms is None else self._link.batch_events_max - waiting)
            if self.due_ms is not None:
                await self._ledger.set_due(self.due_ms)
            try:
                async with asyncio.timeout(None if wait_ms is None else min(wait_ms / 1000, _RECHECK_S_MAX)):
                    await self._news.wait()
            except TimeoutError:
                pass

    def _now_ms(self) -> int:
        if self._link.mode == "batch":
            return self._clock.wall_ms()
        return round(self._clock.monotonic_s() * 1000)

    def _full(self, batch: Prepared) -> bool:
        return len(batch.offsets) >= batch.events_max or batch.raw_bytes >= self._link.batch_bytes_max

    async def _lay_out(self, events: Events, batch: Prepared) -> None:
        """Adds what follows `batch.last` of `events`, as far as the batch has room."""
        begin = batch.last
        if batch.committed_ms is None:
            batch.committed_ms = events.committed_ms
        async with self._pacer.turn() as turn:
            for group in events.groups:
                at = max(0, batch.last + 1 - group.first_offset)
                while at < len(group.items) and not self._full(batch):
                    at = self._lay_out_some(group, at, batch)
                    if turn.spent:
                        await turn.breathe()
        if not self._full(batch):
            batch.last = events.last
        batch.dropped.extend(dropped for dropped in events.dropped if begin < dropped.first <= batch.last)

    async def _lay_out_parked(self, offsets: Sequence[int], batch: Prepared) -> None:
        """Adds these events, ascending, to the batch; one that the WAL does not have any more is dropped."""
        at = 0
        while at < len(offsets):
            events = await self._reader.read(offsets[at] - 1)
            reachable = bisect_right(offsets, events.last, at) if events.last >= offsets[at] else len(offsets)
            there = {
                group.first_offset + index: (group, index)
                for group in events.groups
                for index in range(len(group.items))
            }
            async with self._pacer.turn() as turn:
                for offset in offsets[at:reachable]:
                    self._lay_out_one(offset, there.get(offset), batch)
                    await turn.rest()
            at = reachable

    def _lay_out_one(self, offset: int, place: tuple[EventGroup, int] | None, batch: Prepared) -> None:
        if place is None:
            batch.dropped.append(Dropped(offset, offset, "WAL: not readable any more"))
            return
        batch.offsets.append(offset)
        group, at = place
        batch.raw_bytes += len(group.items[at])
        try:
            self._layout.lay_out(offset, group.event(at), batch.rows)
        except Exception as error:
            batch.refused[offset] = _undecodable(offset, error)

    async def _encode(self, batch: Prepared) -> None:
        async with self._pacer.turn() as turn:
            batch.encoded = await self._destination.encode_ahead(
                self._link.id, batch.rows, self._options, turn.rest
            )

    def _lay_out_some(self, group: EventGroup, at: int, batch: Prepared) -> int:
        """A few events, between two looks at the clock. An event for which that raises is refused."""
        first = group.first_offset + at
        room_bytes = self._link.batch_bytes_max - batch.raw_bytes
        room = batch.events_max - len(batch.offsets)
        lay_out, rows, items = self._layout.lay_out, batch.rows, group.items
        end = min(at + _CLOCK_EVERY, at + room, len(items))
        while at < end and room_bytes > 0:
            offset = group.first_offset + at
            try:
                lay_out(offset, group.event(at), rows)
            except Exception as error:
                batch.refused[offset] = _undecodable(offset, error)
            room_bytes -= len(items[at])
            at += 1
        batch.raw_bytes = self._link.batch_bytes_max - room_bytes
        batch.last = group.first_offset + at - 1
        batch.offsets.extend(range(first, batch.last + 1))
        return at


def _undecodable(offset: int, error: Exception) -> Refused:
    return Refused(offset, f"cannot be decoded: {type(error).__name__}: {shortened(str(error))}")
