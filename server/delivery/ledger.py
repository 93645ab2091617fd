"""The books of one link: its checkpoint in memory and in the catalog, and the applying of outcomes.

Invariants: the catalog is written before the step that relies on it goes on; an outcome, its counters and
the new checkpoint are one write; applying it again writes the same bytes. Events of dead letters are read
from the WAL again (it is kept up to the checkpoint), so that an outcome found after a crash is applied by
the same code as one just made. Thread: the event loop. Raises StorageError of whatever store part could not
be written; nothing is changed in memory then.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final

from msgspec.structs import replace

from server.clock import SystemClock
from storage import Delete, Position, Put, Store

from . import checkpoint as checkpoints
from .checkpoint import Checkpoint, Intent
from .dead_letters import (
    DeadLetters,
    Payload,
    drop_put,
    index_delete,
    index_put,
    payload_delete,
    payload_put,
)
from .lanes import Change, Lanes, unpack
from .links import LinkConfig
from .outcome import Dropped, Outcome
from .removed import forget
from .start import start_offset
from .stays import Stays

_PAYLOADS_PER_WRITE: Final = 64
_LEAP_MIN: Final = 1_000_000
"""Offsets leap by the microseconds between two sessions of the store: a hole as wide as this spans a leap."""


class Ledger:
    """One link's books, opened from the catalog."""

    def __init__(self, store: Store, link: LinkConfig, clock: SystemClock, threads: Executor) -> None:
        self._store = store
        self._link = link
        self._clock = clock
        self._threads = threads
        self._changing = asyncio.Lock()  # a batch settles while the due time of the next one is set
        self._writing: asyncio.Task[None] | None = None
        self.lanes = Lanes(store.catalog, link.id, link.generation)
        stored = checkpoints.load(store.catalog, link.id)
        if stored is not None and checkpoints.goes_on(
            stored, link.generation, link.stream_id, begins_anew=link.start_from is not None
        ):
            self.checkpoint = stored
            self._begun = True
        else:
            begin = start_offset(store.wal, link.stream_id, "oldest")
            self.checkpoint = checkpoints.new(stored, link.generation, link.stream_id, begin)
            self._begun = False
        self._of_another = stored is not None and not self._begun

    async def start(self) -> None:
        """Decides where the link begins if it was never seen before: durably, before anything else. One that
        was deleted and is back is deleted no more.
        """
        if self._of_another:
            await forget(self._store, self._link.id)
            self.lanes = Lanes(self._store.catalog, self._link.id, self._link.generation)
            self._of_another = False
        begin = self.checkpoint.begin
        if not self._begun:
            start_from = self._link.start_from or "oldest"
            read = partial(start_offset, self._store.wal, self._link.stream_id, start_from)
            begin = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        async with self._changing:
            after = replace(self.checkpoint, begin=begin, stream=self._link.stream_id, removed_ms=None)
            if not self._begun or after != self.checkpoint:
                await self._write(after)
        self._begun = True

    async def remove(self) -> None:
        """The link was deleted: its checkpoint is kept for a while."""
        async with self._changing:
            await self._write(replace(self.checkpoint, removed_ms=self._clock.wall_ms()))

    async def begin(self, intent: Intent) -> None:
        """The batch may land from now on."""
        async with self._changing:
            if self.checkpoint.in_doubt != intent:
                await self._write(replace(self.checkpoint, in_doubt=intent))

    async def withdraw(self) -> None:
        """The batch that was begun did not land, and will not."""
        async with self._changing:
            if self.checkpoint.in_doubt is not None:
                await self._write(replace(self.checkpoint, in_doubt=None))

    async def settle(
        self, last: int, outcome: Outcome, due_ms: int | None, following: Intent | None = None
    ) -> None:
        """The batch up to `last` landed with `outcome`: dead letters and drops are booked, the checkpoint
        moves, dead letters that landed after all are gone. The batch that follows at once is begun by the
        same write.
        """
        await self._copy_payloads(outcome)
        link_id = self._link.id
        landed = self._letters_landed(last, outcome)
        await self._store.scratch.write([payload_delete(link_id, offset) for offset in landed])
        now_ms = self._clock.wall_ms()
        puts: list[Put | Delete] = [index_put(link_id, refused, now_ms) for refused in outcome.refused]
        puts += [drop_put(link_id, dropped) for dropped in outcome.dropped]
        puts += [index_delete(link_id, offset) for offset in landed]
        changes, released = self.lanes.releasing(outcome.release, outcome.taken)
        changes += [self.lanes.parking(parked.table, unpack(parked.offsets)) for parked in outcome.parked]
        if released:
            puts += released
            puts += self.lanes.forgetting(self._store.wal.first(self._link.stream_id) or 0)
        async with self._changing:
            before = self.checkpoint
            after = replace(
                before,
                last=last,
                in_doubt=following,
                due_ms=due_ms,
                delivered=before.delivered + outcome.delivered,
                dead_letters=before.dead_letters + len(outcome.refused),
                dropped=before.dropped + sum(map(_events_at_most, outcome.dropped)),
                release=outcome.release,
                left_out=max(before.left_out, outcome.left_out),
            )
            await self._write(after, puts, changes)

    async def resume(
        self, epoch: int, key_generation: int, last: int, release: int, stays: Stays, in_doubt: Intent | None
    ) -> bool:
        """This process holds the link now, under `epoch`; delivery goes on behind `last` with what belongs
        to the place of `stays`.

        `release`: of how many batches of parked events the destination knows. True = it lost some, and what
        they brought is parked again.
        """
        async with self._changing:
            before = self.checkpoint
            changes: list[Change] = []
            deletes: list[Delete] = []
            if last < before.last or release < before.release:
                changes, deletes = self.lanes.rewinding(release, last, stays)
            after = replace(
                before,
                epoch=epoch,
                key_generation=key_generation,
                last=last,
                in_doubt=in_doubt,
                stays=stays,
            )
            await self._write(after, deletes, changes)
            return bool(deletes)

    async def set_paused(self, paused: bool) -> None:
        """Keeps what an operator wants of the link."""
        async with self._changing:
            if paused != self.checkpoint.paused:
                await self._write(replace(self.checkpoint, paused=paused))

    async def set_due(self, due_ms: int | None) -> None:
        """Keeps the due time of a mode-batch link."""
        async with self._changing:
            if due_ms != self.checkpoint.due_ms:
                await self._write(replace(self.checkpoint, due_ms=due_ms))

    @property
    def keep_after(self) -> int:
        """The WAL is needed behind this offset: from the checkpoint, or the oldest parked event, on."""
        first = self.lanes.first
        return self.checkpoint.reached if first is None else min(self.checkpoint.reached, first - 1)

    async def quiet(self) -> None:
        """Waits for a write whose caller was cancelled: what is in memory is what is in the catalog then."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(
        self, after: Checkpoint, ops: Sequence[Put | Delete] = (), changes: Sequence[Change] = ()
    ) -> None:
        self._writing = asyncio.create_task(self._apply(after, ops, changes))
        await asyncio.shield(self._writing)

    async def _apply(self, after: Checkpoint, ops: Sequence[Put | Delete], changes: Sequence[Change]) -> None:
        writes = [*ops, *self.lanes.writes(changes), checkpoints.put(self._link.id, after)]
        await self._store.catalog.write(writes)
        self.lanes.apply(changes)
        self.checkpoint = after

    async def _copy_payloads(self, outcome: Outcome) -> None:
        """Copies the events of the dead letters to scratch, a few at a time: one write must not hold
        thousands of events.
        """
        for at in range(0, len(outcome.refused), _PAYLOADS_PER_WRITE):
            offsets = [refused.offset for refused in outcome.refused[at : at + _PAYLOADS_PER_WRITE]]
            read = partial(self._payloads, offsets)
            payloads = await asyncio.get_running_loop().run_in_executor(self._threads, read)
            if payloads:
                await self._store.scratch.write(payloads)

    def _letters_landed(self, last: int, outcome: Outcome) -> list[int]:
        """The dead letters whose events landed with this batch: a database refused them that was put back
        since.
        """
        known = self.checkpoint
        letters = DeadLetters(self._store).between(self._link.id, known.last, last)
        if not letters:
            return []
        left_out = {refused.offset for refused in outcome.refused}
        left_out.update(offset for parked in outcome.parked for offset in unpack(parked.offsets))
        return [
            offset
            for offset in letters
            if offset not in left_out
            and not known.stays.elsewhere(offset)
            and not any(dropped.first <= offset <= dropped.last for dropped in outcome.dropped)
        ]

    def _payloads(self, offsets: list[int]) -> list[Put]:
        """In a thread. An event that became unreadable since has no payload; its dead letter stays without
        one.
        """
        events = [self._store.wal.get(Position(self._link.stream_id, offset)) for offset in offsets]
        return [
            payload_put(self._link.id, event.offset, Payload(event.head, event.item))
            for event in events
            if event is not None
        ]


def _events_at_most(dropped: Dropped) -> int:
    """How many events a dropped range may have held; 1 where its width says nothing."""
    width = dropped.last - dropped.first + 1
    return width if width < _LEAP_MIN else 1
