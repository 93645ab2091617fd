"""Delivery as a whole: one flusher per enabled link, one `Destination` per destination, one reader per
stream; and their change while everything else goes on.

Invariants: a destination is opened by whoever needs it first and closed last; a failing link touches nothing
of another one. A link has one flusher at a time: its successor reads the checkpoint after it has ended, so a
change is what a restart is, for that link alone. What is asked per request (`backlog_exceeded`) is answered
from numbers kept up to date by commits, without a read. Thread: the event loop; `status`, `counters` and
`link_outcome` any, so what they go through is replaced by a change, never changed in place.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, Final, Literal

from server.clock import SystemClock
from server.warehouse import Counters, Limits, WarehouseError
from storage import StorageError, Store, Wal

from .dead_letters import DeadLetters
from .flusher import Flusher
from .ledger import Ledger
from .links import Fate, LinkConfig, LinkOutcome, LinkState, LinkStatus, ParkedTable
from .pacer import Pacer, no_pressure
from .places import NotYet, OpenDestination, Place
from .preparer import Preparer
from .reader import StreamReader
from .removed import forget_old
from .waits import DEFAULT_PATIENCE, Patience

_QUOTA_EVERY_S: Final = 0.1
_THREADS_MAX: Final = 2
_BATCHES_AHEAD: Final = 4
"""Batches in memory of one destination, whatever the number of its links: these and one per connection."""
_LEAVE_S: Final = 5.0
"""What a batch in flight may take to land when its link is changed; then it is cut, and in doubt."""
_RESOLVE_S: Final = 3.0
"""What a destination that is left may take to say whether a batch in doubt landed."""
_log: Final = logging.getLogger("penstock.delivery")


class _Quota:
    """Whether a link of one stream is too far behind; asked per request, measured at most every 0.1 s."""

    def __init__(self, wal: Wal, links: list[Flusher]) -> None:
        self._links = links
        self._wal = wal
        self._next_s = 0.0
        self._exceeded = False

    def exceeded(self, now_s: float) -> bool:
        if now_s >= self._next_s:
            self._next_s = now_s + _QUOTA_EVERY_S
            self._exceeded = any(map(self._too_far, self._links))
        return self._exceeded

    def _too_far(self, flusher: Flusher) -> bool:
        backlog = self._wal.backlog(flusher.link.stream_id, flusher.ledger.keep_after)
        return backlog.size_bytes > flusher.link.backlog_bytes_max


class Delivery:
    """`start`, then `stop` once; `apply` in between. `destinations` has every id that a link names."""

    def __init__(
        self,
        store: Store,
        links: Sequence[LinkConfig],
        destinations: Mapping[str, Place],
        clock: SystemClock,
        *,
        pressure: Callable[[], float] = no_pressure,
        patience: Patience = DEFAULT_PATIENCE,
        connections_max: int = 4,
        limits: Limits | None = None,
        random: Random | None = None,
    ) -> None:
        self._store = store
        self._first = (tuple(links), dict(destinations))
        self._clock = clock
        self._patience = patience
        self._random = random or Random()
        self._pacer = Pacer(pressure)
        self._connections_max = connections_max
        self._limits = limits
        self._threads = ThreadPoolExecutor(_THREADS_MAX, "delivery")
        self._changing = asyncio.Lock()
        self._destinations: dict[str, OpenDestination] = {}
        self._readers: dict[str, StreamReader] = {}
        self._flushers: dict[str, Flusher] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._quotas: dict[str, _Quota] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self.dead_letters = DeadLetters(store)

    async def start(self, existing: Collection[str] = ()) -> None:
        """Loads every checkpoint and starts the flushers. Returns before any destination was reached; where
        a new link begins is durable then. `existing`: links that are kept though they do not run.
        """
        links, destinations = self._first
        made = self._install(links, destinations)
        self._store.wal.subscribe(self._committed)
        await asyncio.gather(*map(self._begin, made))
        self._run(made)
        self._chore(self._forget_old({*existing, *self._flushers}))

    async def apply(
        self,
        links: Sequence[LinkConfig],
        destinations: Mapping[str, Place],
        existing: Collection[str] = (),
    ) -> None:
        """From now on these links; those that are as they were go on undisturbed. A changed one, or one whose
        destination changed, ends with the batch in flight and starts at its checkpoint. Where a new one
        begins is durable on return. `existing` as of `start`.

        Who only waits for a destination is ended at once. Bounded by some seconds, also if one stops to
        answer while a batch is in flight there.
        """
        async with self._changing:
            wanted = {link.id: link for link in links}
            leaving = [f for f in self._flushers.values() if not self._stays(f, wanted, destinations)]
            await self._end(leaving)
            await asyncio.gather(*(self._resolve(f) for f in leaving if self._moves(f, wanted, destinations)))
            for flusher in leaving:
                if flusher.link.id not in wanted and flusher.link.id not in existing:
                    await self._remove(flusher)
                del self._tasks[flusher.link.id]
            self._flushers = {id_: f for id_, f in self._flushers.items() if f not in leaving}
            made = self._install(links, destinations)
            await asyncio.gather(*map(self._begin, made))
            self._run(made)

    async def stop(self, timeout_s: float) -> None:
        """Flushes what is due and can be flushed within the bound, then lets go; what did not make it stays
        in the WAL.
        """
        async with self._changing:
            self._store.wal.unsubscribe(self._committed)
            for flusher in self._flushers.values():
                flusher.stop()
            tasks = list(self._tasks.values())
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=timeout_s)
                for task in late:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(opened.destination.close() for opened in self._destinations.values()))
        await asyncio.gather(*self._chores, return_exceptions=True)
        # A cancelled task leaves its read of the WAL running; the store must not be closed under it.
        await asyncio.to_thread(self._threads.shutdown)

    def status(self) -> list[LinkStatus]:
        """Every link, in the order of the configuration."""
        return [self._status(flusher) for flusher in self._flushers.values()]

    def counters(self) -> dict[str, Counters]:
        """What each destination has counted since the start."""
        return {id_: opened.destination.counters for id_, opened in self._destinations.items()}

    def keep_after(self) -> dict[str, int]:
        """Stream → the offset up to which every enabled link is done, for `Wal.trim`. Only streams that have
        links.
        """
        kept: dict[str, int] = {}
        for flusher in self._flushers.values():
            stream_id, after = flusher.link.stream_id, flusher.ledger.keep_after
            kept[stream_id] = min(after, kept.get(stream_id, after))
        return kept

    def link_outcome(self, stream_id: str, offset: int) -> list[LinkOutcome]:
        """What became of that event on each link of its stream; a link that began behind it has no say."""
        links = [f for f in self._flushers.values() if f.link.stream_id == stream_id]
        return [self._fate(f, offset) for f in links if offset > f.ledger.checkpoint.begin]

    async def pause(self, link_id: str) -> bool:
        """Delivers nothing more of the link, also after a restart, until `resume`; what comes in is kept.
        False if there is no such link. Raises StorageError: then nothing has changed.
        """
        async with self._changing:
            flusher = self._flushers.get(link_id)
            if flusher is not None:
                await flusher.ledger.set_paused(True)
                flusher.pause()
            return flusher is not None

    async def resume(self, link_id: str) -> bool:
        """Goes on, at once if the link waits for its next attempt or is paused by the breaker; as `pause`."""
        async with self._changing:
            flusher = self._flushers.get(link_id)
            if flusher is not None:
                await flusher.ledger.set_paused(False)
                flusher.resume()
            return flusher is not None

    def backlog_exceeded(self, stream_id: str) -> bool:
        """Whether a link of the stream is further behind than its quota: the stream takes nothing until it
        caught up.
        """
        quota = self._quotas.get(stream_id)
        return quota is not None and quota.exceeded(self._clock.monotonic_s())

    def _stays(
        self, flusher: Flusher, wanted: Mapping[str, LinkConfig], destinations: Mapping[str, Place]
    ) -> bool:
        return wanted.get(flusher.link.id) == flusher.link and self._stays_there(
            flusher, wanted, destinations
        )

    def _stays_there(
        self, flusher: Flusher, wanted: Mapping[str, LinkConfig], destinations: Mapping[str, Place]
    ) -> bool:
        """Whether the link goes on to the very destination that it has now."""
        link = wanted.get(flusher.link.id)
        return link is not None and destinations[link.destination_id] == self._place(flusher)

    def _moves(
        self, flusher: Flusher, wanted: Mapping[str, LinkConfig], destinations: Mapping[str, Place]
    ) -> bool:
        """Whether it leaves a destination that can be asked for what landed."""
        return not (
            isinstance(self._place(flusher), NotYet) or self._stays_there(flusher, wanted, destinations)
        )

    def _place(self, flusher: Flusher) -> Place:
        return self._destinations[flusher.link.destination_id].place

    async def _end(self, flushers: Sequence[Flusher]) -> None:
        """Ends these flushers: what they have in flight lands, or is in doubt. Who has nothing in flight (it
        connects, waits, asks where to go on) is not waited for.
        """
        tasks = {self._tasks[flusher.link.id]: flusher for flusher in flushers}
        landing = [task for task, flusher in tasks.items() if flusher.in_flight]
        for task, flusher in tasks.items():
            flusher.leave()
            if task not in landing:
                task.cancel()
        if landing:
            _, late = await asyncio.wait(landing, timeout=_LEAVE_S)
            for task in late:
                tasks[task].cut()
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(flusher.withdraw() for flusher in flushers))

    async def _resolve(self, flusher: Flusher) -> None:
        """The destination that is left is asked about a batch in doubt, for the next one does not know of it.
        If it does not answer, another database gets the batch too: rather twice than not at all.
        """
        try:
            async with asyncio.timeout(_RESOLVE_S):
                await flusher.resolve()
        except (WarehouseError, StorageError, TimeoutError) as error:
            _log.warning(
                "link %s: the destination that it leaves does not say whether the last batch landed; if it "
                "goes on in another database, that gets the batch too: %s",
                flusher.link.id,
                str(error) or "no answer",
            )
        await flusher.ledger.quiet()

    async def _remove(self, flusher: Flusher) -> None:
        try:
            await flusher.ledger.remove()
        except StorageError as error:
            _log.warning("link %s is deleted, but its checkpoint stays for ever: %s", flusher.link.id, error)

    async def _begin(self, flusher: Flusher) -> None:
        """Where the link begins is decided before a change is answered; else its own task tries again."""
        with contextlib.suppress(StorageError):
            await flusher.ledger.start()

    def _install(self, links: Sequence[LinkConfig], destinations: Mapping[str, Place]) -> list[Flusher]:
        """Has the destinations, readers and flushers of these links, and no others; the new flushers."""
        self._open({link.destination_id: destinations[link.destination_id] for link in links})
        streams = Counter(link.stream_id for link in links)
        for id_, n in streams.items():
            if id_ in self._readers:
                self._readers[id_].share(n > 1)
            else:
                self._readers[id_] = StreamReader(self._store.wal, id_, self._threads, shared=n > 1)
        self._readers = {id_: self._readers[id_] for id_ in streams}
        before = self._flushers
        self._flushers = {link.id: before.get(link.id) or self._flusher(link) for link in links}
        self._quotas = self._made_quotas()
        return [flusher for id_, flusher in self._flushers.items() if id_ not in before]

    def _open(self, wanted: Mapping[str, Place]) -> None:
        """Makes the destinations that are new or changed; those that nobody needs are closed beside all else,
        for one that is away takes its time.
        """
        batches_max = self._connections_max + _BATCHES_AHEAD
        before, after = self._destinations, dict[str, OpenDestination]()
        for id_, place in wanted.items():
            known = before.get(id_)
            if known is not None and known.place == place:
                after[id_] = known
            else:
                after[id_] = OpenDestination(place, self._connections_max, self._limits, batches_max)
        self._destinations = after
        for id_, opened in before.items():
            if after.get(id_) is not opened:
                self._chore(opened.destination.close())

    def _run(self, flushers: Sequence[Flusher]) -> None:
        for flusher in flushers:
            link = flusher.link
            place = self._destinations[link.destination_id].place
            running = flusher.hold(place.reason) if isinstance(place, NotYet) else flusher.run()
            self._tasks[link.id] = asyncio.create_task(running, name=f"link {link.id}")

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _forget_old(self, existing: Collection[str]) -> None:
        async with self._changing:
            try:
                await forget_old(self._store, existing, self._clock.wall_ms())
            except StorageError as error:
                _log.warning("links that were deleted long ago are forgotten later: %s", error)

    def _flusher(self, link: LinkConfig) -> Flusher:
        ledger = Ledger(self._store, link, self._clock, self._threads)
        reader = self._readers[link.stream_id]
        opened = self._destinations[link.destination_id]
        wal, clock = self._store.wal, self._clock
        destination, slots = opened.destination, opened.slots
        preparer = Preparer(link, wal, reader, destination, ledger, self._pacer, clock, slots)
        return Flusher(
            link,
            self._store.store_id,
            self._store.former,
            opened.destination,
            preparer,
            ledger,
            self._clock,
            self._patience,
            self._random,
        )

    def _made_quotas(self) -> dict[str, _Quota]:
        bounded: dict[str, list[Flusher]] = {}
        for flusher in self._flushers.values():
            if flusher.link.backlog_bytes_max:
                bounded.setdefault(flusher.link.stream_id, []).append(flusher)
        return {id_: _Quota(self._store.wal, flushers) for id_, flushers in bounded.items()}

    def _committed(self, heads: Mapping[str, int]) -> None:
        self._pacer.committed()
        for flusher in self._flushers.values():
            head = heads.get(flusher.link.stream_id)
            if head is not None:
                flusher.preparer.committed(head)

    def _fate(self, flusher: Flusher, offset: int) -> LinkOutcome:
        link_id = flusher.link.id
        if offset > flusher.ledger.checkpoint.reached:
            return LinkOutcome(link_id, Fate.WAITING)
        parked = flusher.ledger.lanes.table_of(offset)
        if parked is not None:
            return LinkOutcome(link_id, Fate.WAITING, f"parked: {flusher.watch.words(parked)}")
        letter = self.dead_letters.get(link_id, offset)
        if letter is not None:
            return LinkOutcome(link_id, Fate.DEAD_LETTERED, letter.reason)
        dropped = self.dead_letters.drop_reason(link_id, offset)
        if dropped is not None:
            return LinkOutcome(link_id, Fate.DROPPED, dropped)
        return LinkOutcome(link_id, Fate.DELIVERED)

    def _status(self, flusher: Flusher) -> LinkStatus:
        link, ledger, wal = flusher.link, flusher.ledger, self._store.wal
        opened = self._destinations.get(link.destination_id)  # gone, if a change comes in between
        checkpoint = ledger.checkpoint
        waiting = wal.backlog(link.stream_id, checkpoint.reached).events + ledger.lanes.events
        return LinkStatus(
            link_id=link.id,
            stream_id=link.stream_id,
            destination_id=link.destination_id,
            state=flusher.waits.state,
            alarm=flusher.alarm,
            last_error=flusher.last_error,
            next_attempt_ms=flusher.waits.next_attempt_ms,
            checkpoint=checkpoint.last,
            lag_events=waiting,
            lag_bytes=wal.backlog(link.stream_id, ledger.keep_after).size_bytes,
            lag_s=self._lag_s(flusher) if waiting else 0.0,
            delivered=checkpoint.delivered,
            dead_letters=checkpoint.dead_letters,
            dropped=checkpoint.dropped,
            rate_per_s=flusher.rate.per_s(self._clock.monotonic_s()),
            paused_by=_paused_by(flusher),
            parked=tuple(
                ParkedTable(table, ledger.lanes.count(table), flusher.watch.words(table))
                for table in ledger.lanes.tables
            ),
            warnings=tuple(opened.destination.warnings) if opened is not None else (),
        )

    def _lag_s(self, flusher: Flusher) -> float:
        """Age of the oldest event not delivered: parked, else in flight, else waiting for a batch."""
        since_ms = flusher.parked_since_ms or flusher.oldest_ms or flusher.preparer.waiting_since_ms
        return 0.0 if since_ms is None else max(0.0, (self._clock.wall_ms() - since_ms) / 1000)


def _paused_by(flusher: Flusher) -> Literal["operator", "breaker"] | None:
    if flusher.waits.paused:
        return "operator"
    return "breaker" if flusher.waits.state is LinkState.PAUSED else None
