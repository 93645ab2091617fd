"""Delivery as a whole: one flusher per enabled link, one `Destination` per destination, one reader per
stream.

Invariants: a destination is opened by whoever needs it first and closed last; a failing link touches nothing
of another one. What is asked per request (`backlog_exceeded`) is answered from numbers kept up to date by
commits, without a read. Thread: the event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final, Literal

from server.clock import SystemClock
from server.warehouse import Counters, Destination, Limits, PostgresConfig
from storage import Store, Wal

from .dead_letters import DeadLetters
from .flusher import Flusher
from .ledger import Ledger
from .links import Fate, LinkConfig, LinkOutcome, LinkState, LinkStatus, ParkedTable
from .pacer import Pacer, no_pressure
from .preparer import Preparer
from .reader import StreamReader
from .waits import DEFAULT_PATIENCE, Patience

_QUOTA_EVERY_S: Final = 0.1
_THREADS_MAX: Final = 2
_BATCHES_AHEAD: Final = 4
"""Batches in memory of one destination, whatever the number of its links: these and one per connection."""


class _Quota:
    """Whether a link of one stream is too far behind; asked per request, measured at most every 0.1 s."""

    def __init__(self, wal: Wal, links: list[Flusher]) -> None:
        self.links = links
        self._wal = wal
        self._next_s = 0.0
        self._exceeded = False

    def exceeded(self, now_s: float) -> bool:
        if now_s >= self._next_s:
            self._next_s = now_s + _QUOTA_EVERY_S
            self._exceeded = any(map(self._too_far, self.links))
        return self._exceeded

    def _too_far(self, flusher: Flusher) -> bool:
        backlog = self._wal.backlog(flusher.link.stream_id, flusher.ledger.keep_after)
        return backlog.size_bytes > flusher.link.backlog_bytes_max


class Delivery:
    """`start`, then `stop` once. `destinations` has every id that a link names."""

    def __init__(
        self,
        store: Store,
        links: Sequence[LinkConfig],
        destinations: Mapping[str, PostgresConfig],
        clock: SystemClock,
        *,
        pressure: Callable[[], float] = no_pressure,
        patience: Patience = DEFAULT_PATIENCE,
        connections_max: int = 4,
        limits: Limits | None = None,
        random: Random | None = None,
    ) -> None:
        self._store = store
        self._links = tuple(links)
        self._clock = clock
        self._patience = patience
        self._random = random or Random()
        self._pacer = Pacer(pressure)
        self._destinations = {
            id_: Destination(destinations[id_], connections_max, limits)
            for id_ in {link.destination_id for link in links}
        }
        self._slots = {id_: asyncio.Semaphore(connections_max + _BATCHES_AHEAD) for id_ in self._destinations}
        self._threads = ThreadPoolExecutor(_THREADS_MAX, "delivery")
        streams = Counter(link.stream_id for link in links)
        self._readers = {
            id_: StreamReader(store.wal, id_, self._threads, shared=n > 1) for id_, n in streams.items()
        }
        self._flushers: dict[str, Flusher] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._quotas: dict[str, _Quota] = {}
        self.dead_letters = DeadLetters(store)

    def start(self) -> None:
        """Loads every checkpoint and starts the flushers. Returns before any destination was reached."""
        self._flushers = {link.id: self._flusher(link) for link in self._links}
        self._quotas = {id_: quota for id_ in self._readers if (quota := self._quota(id_)).links}
        self._store.wal.subscribe(self._committed)
        self._tasks = [
            asyncio.create_task(flusher.run(), name=f"link {link_id}")
            for link_id, flusher in self._flushers.items()
        ]

    async def stop(self, timeout_s: float) -> None:
        """Flushes what is due and can be flushed within the bound, then lets go; what did not make it stays
        in the WAL.
        """
        self._store.wal.unsubscribe(self._committed)
        for flusher in self._flushers.values():
            flusher.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(destination.close() for destination in self._destinations.values()))
        # A cancelled task leaves its read of the WAL running; the store must not be closed under it.
        await asyncio.to_thread(self._threads.shutdown)

    def status(self) -> list[LinkStatus]:
        """Every link, in the order of the configuration."""
        return [self._status(flusher) for flusher in self._flushers.values()]

    def counters(self) -> dict[str, Counters]:
        """What each destination has counted since the start."""
        return {id_: destination.counters for id_, destination in self._destinations.items()}

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
        flusher = self._flushers.get(link_id)
        if flusher is not None:
            await flusher.ledger.set_paused(True)
            flusher.pause()
        return flusher is not None

    async def resume(self, link_id: str) -> bool:
        """Goes on, at once if the link waits for its next attempt or is paused by the breaker; as `pause`."""
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

    def _flusher(self, link: LinkConfig) -> Flusher:
        ledger = Ledger(self._store, link, self._clock, self._threads)
        reader = self._readers[link.stream_id]
        destination = self._destinations[link.destination_id]
        slots = self._slots[link.destination_id]
        wal, clock = self._store.wal, self._clock
        preparer = Preparer(link, wal, reader, destination, ledger, self._pacer, clock, slots)
        return Flusher(
            link,
            self._store.store_id,
            self._store.former,
            destination,
            preparer,
            ledger,
            self._clock,
            self._patience,
            self._random,
        )

    def _quota(self, stream_id: str) -> "_Quota":
        bounded = [
            f for f in self._flushers.values() if f.link.stream_id == stream_id and f.link.backlog_bytes_max
        ]
        return _Quota(self._store.wal, bounded)

    def _committed(self, heads: Mapping[str, int]) -> None:
        self._pacer.committed()
        for flusher in self._flushers.values():
            head = heads.get(flusher.link.stream_id)
            if head is not None:
                flusher.preparer.committed(head)

    def _fate(self, flusher: Flusher, offset: int) -> LinkOutcome:
        link_id = flusher.link.id
        if offset > flusher.ledger.checkpoint.last:
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
            warnings=tuple(self._destinations[link.destination_id].warnings),
        )

    def _lag_s(self, flusher: Flusher) -> float:
        """Age of the oldest event not delivered: parked, else in flight, else waiting for a batch."""
        since_ms = flusher.parked_since_ms or flusher.oldest_ms or flusher.preparer.waiting_since_ms
        return 0.0 if since_ms is None else max(0.0, (self._clock.wall_ms() - since_ms) / 1000)


def _paused_by(flusher: Flusher) -> Literal["operator", "breaker"] | None:
    if flusher.waits.paused:
        return "operator"
    return "breaker" if flusher.waits.state is LinkState.PAUSED else None
