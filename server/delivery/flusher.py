"""Moves one stream to one destination: the loop of one link.

The order of writes is what makes it exactly once: (1) the intent is durable in the catalog; (2) one Postgres
transaction takes rows, progress and outcome; (3) the outcome and the new checkpoint are one catalog write
(which holds the intent of the next batch, if that is ready); only then comes the next batch. Whatever dies in
between, the start asks the progress row which of the three happened. One batch is in flight, the next is
prepared meanwhile. A batch is changed or given up only while it is certain that no attempt of it landed;
else the progress row is asked first. After a statement timeout smaller batches begin so, too.

Failures: what names rows (RowsRefused) goes into the outcome of the retried batch, unless the breaker takes
it for a fault of the destination; a table that is locked (TableLocked) parks its events in a lane (lanes.py),
which batches of their own deliver later under the same progress row, if the link has other tables; Foreign
stops the link; everything else is tried again for ever, in order, with a status in words. A link that cannot
flush lets go of its batch after a few attempts: many links waiting for one destination hold no rows. Thread:
the event loop.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import islice
from random import Random
from typing import Any, Final, TypeVar

from server.clock import SystemClock
from server.warehouse import (
    AnyRow,
    Batch,
    Destination,
    Foreign,
    OutOfStep,
    RowsRefused,
    TableLocked,
    Unavailable,
    WarehouseError,
    table_name,
)
from storage import Former, StorageError, StoreClosed, StorePoisoned

from . import outcome as outcomes
from .breaker import ALIKE_MAX, Breaker
from .checkpoint import Intent
from .lane_watch import LaneWatch
from .lanes import LANES_MAX, PARKED_MAX, pack
from .ledger import Ledger
from .links import LinkConfig, LinkState, several_tables, table_options
from .outcome import Outcome, Parked, Refused
from .ownership import Ownership
from .preparer import Prepared, Preparer
from .rate import Rate
from .waits import Patience, PausedError, StoppedError, Waits

_LET_GO: Final = 500
_TABLES_KNOWN: Final = 2
"""Names of tables that a link keeps in mind: whether there are others than one. Clients choose the names."""
_ATTEMPTS_HELD: Final = 3
"""Failed attempts running after which a batch is let go of, to be made again when the destination answers."""
_LANE_LOCK_TIMEOUT_S: Final = 1.0
"""A batch of parked events waits no longer for a lock: its table looked free, and the link waits with it."""
_Result = TypeVar("_Result")
_Ahead = asyncio.Task[Prepared | None]
_log: Final = logging.getLogger("penstock.delivery")


class _StartAgainError(Exception):
    """Let go of every batch, wait, and ask the progress row where to go on."""


_PASSED_ON: Final = (
    _StartAgainError,
    RowsRefused,
    Foreign,
    OutOfStep,
    TableLocked,
    StoreClosed,
    StorePoisoned,
)
"""What must not be answered by trying the same again."""


class _LaneLockedError(Exception):
    """The table of a lane is locked still; nothing of its batch landed."""

    def __init__(self, locked: TableLocked) -> None:
        super().__init__(locked.reason)
        self.locked = locked


class Flusher:
    """One per enabled link. `run` is its task; what it is doing is readable at any time."""

    def __init__(
        self,
        link: LinkConfig,
        store_id: str,
        former: tuple[Former, ...],
        destination: Destination,
        preparer: Preparer,
        ledger: Ledger,
        clock: SystemClock,
        patience: Patience,
        random: Random,
    ) -> None:
        self.link = link
        self.ledger = ledger
        self.preparer = preparer
        self.waits = Waits(clock, patience, random, paused=ledger.checkpoint.paused)
        self.watch = LaneWatch(clock, patience, random)
        self.rate = Rate()
        self.last_error: str | None = None
        self.oldest_ms: int | None = None
        self.parked_since_ms: int | None = None
        self._alarm: str | None = None
        self._ownership = Ownership(link, store_id, former, destination, ledger)
        self._destination = destination
        self._clock = clock
        self._breaker = Breaker()
        self._options = table_options(link)
        self._tables: set[str] = set()
        self._several_tables = several_tables(link)
        self._in_doubt = ledger.checkpoint.in_doubt is not None  # may it have landed?
        self._settling = False
        self._stuck = False  # a batch was let go of: what was wrong is so until one lands

    @property
    def alarm(self) -> str | None:
        """What an operator should look at: why the link is paused or stopped, what is parked, or what was odd
        when it started.
        """
        if self._alarm is None and self.waits.paused:
            return "paused by an operator"
        lanes = self.ledger.lanes
        parked = "; ".join(f"parked: {self.watch.words(table)}" for table in lanes.tables)
        return self._alarm or parked or self._ownership.warning

    def stop(self) -> None:
        """Ends `run` soon: after what can be flushed at once, or at the next failure."""
        self.waits.stop()
        self.preparer.stop()

    def leave(self) -> None:
        """The batch in flight is the last one; then `run` ends, whatever else could be flushed."""
        self.waits.leave()

    @property
    def in_flight(self) -> bool:
        """Whether a batch may land now, or has landed and is not in the books yet. Else the destination holds
        nothing of the link, and its task may be cut.
        """
        return self._settling or self._destination.is_landing(self._ownership.key)

    def cut(self) -> None:
        """The task of `run` is about to be cancelled: what is in flight is in doubt."""
        self._in_doubt = self._in_doubt or self.in_flight

    async def withdraw(self) -> None:
        """After `run`: a batch that certainly did not land is none that anybody is to be asked about."""
        await self.ledger.quiet()
        if not self._in_doubt:
            with contextlib.suppress(StorageError):  # then the destination is asked: it knows
                await self.ledger.withdraw()

    async def resolve(self) -> None:
        """After `run`: asks the destination whether the batch in doubt landed, before another one is asked.
        Raises WarehouseError, StorageError.
        """
        if self._in_doubt:
            await self._take_over()

    def hold(self, reason: str) -> Coroutine[Any, Any, None]:
        """In the place of `run`, while there is no destination to reach yet: only where the link begins is
        decided. What it returns never raises but CancelledError.
        """
        self.last_error = reason
        if not self.waits.paused:
            self.waits.state = LinkState.BACKING_OFF
        return self._hold(reason)

    async def _hold(self, reason: str) -> None:
        with contextlib.suppress(StoppedError, PausedError, StoreClosed, StorePoisoned):
            await self._until_done(self.ledger.start)
            await self._look()
        self.last_error = reason

    def pause(self) -> None:
        """The batch in flight is the last one, until `resume`."""
        self.waits.pause()

    def resume(self) -> None:
        """Goes on at once, also if the link waited for a next attempt or was paused by the breaker."""
        self.watch.hurry()
        self.waits.resume()

    async def run(self) -> None:
        """Delivers until stopped. Never raises but CancelledError; a link that cannot go on says why in
        `alarm`.
        """
        try:
            await self._until_done(self.ledger.start)
            await self._look()
            while not await self._goes_on():
                pass
        except StoppedError:
            pass
        except Foreign as error:
            self._sound(f"stopped: {error.reason}")
        except (StoreClosed, StorePoisoned) as error:
            self._sound(f"stopped: the store cannot be written: {error}")
        finally:
            self.waits.state = LinkState.STOPPED
            self.waits.next_attempt_ms = None

    async def _goes_on(self) -> bool:
        """From a take-over to the next reason for one; True when the link is stopping and has nothing left to
        flush.
        """
        try:
            try:
                await self.waits.until_resumed()
                await self._until_done(self._take_over)
                await self._deliver_all()
                return True
            except OutOfStep as error:
                await self._back_off(error)
            except _StartAgainError as error:
                self._stuck = True
                await self._back_off(error)
        except PausedError:
            self._alarm = None
        await self._look()
        self.oldest_ms = None
        return False

    async def _look(self) -> None:
        """Since when the oldest events wait: the WAL knows."""
        try:
            await self.preparer.look(self.ledger.checkpoint.last)
            await self._look_at_lanes()
        except StorageError as error:
            _log.warning("link %s: %s", self.link.id, error)

    async def _look_at_lanes(self) -> None:
        first = self.ledger.lanes.first
        self.parked_since_ms = None if first is None else await self.preparer.committed_ms(first)

    async def _take_over(self) -> None:
        """Makes this process the owner of the link and learns from the progress row where to go on."""
        await self._ownership.take(self.preparer.due_ms)
        self._in_doubt = self.ledger.checkpoint.in_doubt is not None  # in another database than this one
        await self._look_at_lanes()

    async def _deliver_all(self) -> None:
        """Batch after batch; returns when the link is stopping and has nothing left to flush."""
        ahead = self._prepare(self.ledger.checkpoint.last)
        try:
            while True:
                await self._until_prepared(ahead)
                try:
                    batch = ahead.result()
                except Exception as error:
                    await self._back_off(error)
                    ahead = self._prepare(self.ledger.checkpoint.last)
                    continue
                if batch is None:
                    return
                ahead = self._prepare(batch.last)
                await self._deliver(batch, ahead)
                rows, batch = batch.rows, None
                await _let_go(rows)
        finally:
            ahead.cancel()
            for unused in await asyncio.gather(ahead, return_exceptions=True):
                if isinstance(unused, Prepared):
                    unused.give_back()

    def _prepare(self, after: int) -> _Ahead:
        return asyncio.create_task(self.preparer.next(after))

    async def _until_prepared(self, ahead: _Ahead) -> None:
        """Waits for the next batch; meanwhile, and between batches, tries lanes whose tables may be free."""
        lanes = self.ledger.lanes
        while True:
            self.waits.check()
            if (due := self.watch.due(lanes.tables)) is not None:
                await self._try_lane(due, ahead)
            if ahead.done() and lanes.events < PARKED_MAX:
                return
            if ahead.done():
                raise _StartAgainError(f"{lanes.events} events are parked: no more until a table is free")
            wait_s = self.watch.wait_s(lanes.tables)
            if wait_s != 0.0:
                await self.waits.for_task(ahead, wait_s)

    async def _try_lane(self, table: str, ahead: _Ahead) -> None:
        """Delivers some of what waits for that table, if it is free."""
        known = self.watch.known(table)
        if known is not None:
            locked = await self._until_done(partial(self._destination.still_locked, known))
            if locked is not None:
                self.watch.locked(locked)
                return
        batch = await self._until_done(partial(self.preparer.parked, table))
        try:
            await self._deliver(batch, ahead)
        except _LaneLockedError as error:
            self.watch.locked(error.locked)
        else:
            if table not in self.ledger.lanes.tables:
                self.watch.free(table)
                _log.info("link %s: table %s is free, nothing waits for it any more", self.link.id, table)

    async def _deliver(self, batch: Prepared, ahead: _Ahead) -> None:
        """Flushes one batch to its end: landed, and its outcome applied. `ahead` makes the next one."""
        try:
            self.waits.state = LinkState.FLUSHING
            if batch.lane is None:
                self.oldest_ms = batch.committed_ms
            await self._until_done(partial(self.ledger.begin, self._intent(batch)))
            self._in_doubt = False
            outcome, refused = await self._land(batch)
            await self._until_done(partial(self._settle, batch, outcome, ahead))
            self._in_doubt = False
        finally:
            self._settling = False
            batch.give_back()
            self.waits.state = LinkState.WAITING
        self._breaker.settled(batch.offsets, refused)
        self.preparer.size.landed(len(batch.offsets))
        self.rate.add(self._clock.monotonic_s(), outcome.delivered)
        self.waits.breaker.reset()
        self.waits.retry.reset()
        self._alarm = self.last_error = None
        self._stuck = False
        if batch.lane is None:
            self.oldest_ms = None
        if outcome.parked or batch.lane is not None:
            await self._until_done(self._look_at_lanes)

    async def _land(self, batch: Prepared) -> tuple[Outcome, dict[int, Refused]]:
        """Tries until the batch landed; what became of its events, and which were refused."""
        refused = dict(batch.refused)
        tables = set(map(table_name, {row.table for row in batch.rows}))
        self._tables = set(islice(self._tables | tables, _TABLES_KNOWN))
        locked = set(self.ledger.lanes.tables) - {batch.lane}
        while True:
            if tripped := self._breaker.tripped_by(batch.offsets, refused):
                await self._trip(tripped)
                refused = dict(batch.refused)
                continue
            parked = _parked(batch, locked, refused)
            outcome = self._outcome(batch, refused, parked)
            try:
                await self._until_done(partial(self._flush, batch, {*refused, *parked}, outcome))
                return outcome, refused
            except RowsRefused as error:
                self._require_certainty(error)
                refused |= {r.offset: Refused(r.offset, r.reason, r.sqlstate) for r in error.refusals}
            except TableLocked as error:
                self._require_certainty(error)
                if error.table == batch.lane:
                    raise _LaneLockedError(error) from error
                if error.table in tables - locked and self._may_park(error.table, locked):
                    locked.add(error.table)
                    self.watch.locked(error)
                    _log.warning("link %s: parked: %s", self.link.id, error.reason)
                else:
                    await self._fail(error)

    def _require_certainty(self, error: WarehouseError) -> None:
        """An earlier attempt of this very batch may have landed as it was then: it must not change now."""
        if self._in_doubt:
            raise _StartAgainError(_in_words(error)) from error

    def _may_park(self, table: str, locked: set[str]) -> bool:
        """Whether others can go on while the events of that table wait, beside those of `locked`."""
        others = self._several_tables or not self._tables <= {table}
        return others and len(locked | {*self.ledger.lanes.tables, table}) <= LANES_MAX

    def _outcome(self, batch: Prepared, refused: dict[int, Refused], parked: dict[int, str]) -> Outcome:
        by_table: dict[str, list[int]] = {}
        for offset, table in sorted(parked.items()):
            by_table.setdefault(table, []).append(offset)
        return Outcome(
            len(batch.offsets) - len(refused) - len(parked),
            tuple(refused.values()),
            tuple(batch.dropped),
            tuple(Parked(table, pack(offsets)) for table, offsets in by_table.items()),
            tuple(batch.taken),
            self.ledger.checkpoint.release + bool(batch.taken),
            self.ledger.checkpoint.left_out + len(refused) + len(parked) + len(batch.dropped),
        )

    async def _flush(self, batch: Prepared, left_out: set[int], outcome: Outcome) -> None:
        rows, encoded = batch.rows, batch.encoded
        if left_out and any(row.offset in left_out for row in rows):
            rows, encoded = [row for row in rows if row.offset not in left_out], None
        try:
            await self._destination.flush(
                self._ownership.key,
                Batch(
                    self.ledger.checkpoint.epoch,
                    batch.batch_id,
                    batch.after,
                    batch.last,
                    rows,
                    outcomes.encode(outcome),
                    self._options,
                    encoded,
                    None if batch.lane is None else _LANE_LOCK_TIMEOUT_S,
                ),
            )
        except Unavailable as error:
            self._in_doubt = self._in_doubt or error.in_doubt
            if error.too_slow and self.preparer.size.too_slow(len(batch.offsets)):
                raise _StartAgainError(_in_words(error)) from error  # with smaller batches
            raise
        self._in_doubt = self._settling = True

    async def _settle(self, batch: Prepared, outcome: Outcome, ahead: _Ahead) -> None:
        ready = (
            ahead.done() and not ahead.cancelled() and ahead.exception() is None and not self.waits.leaving
        )
        following = ahead.result() if ready else None
        intent = self._intent(following) if following else None
        await self.ledger.settle(batch.last, outcome, self.preparer.due_ms, intent)

    def _intent(self, batch: Prepared) -> Intent:
        return Intent(batch.batch_id, batch.after, batch.last, self.ledger.checkpoint.stays.place)

    async def _until_done(self, step: Callable[[], Awaitable[_Result]]) -> _Result:
        """Runs `step` until it succeeds, backing off in between. What must not be repeated passes through."""
        while True:
            try:
                result = await step()
            except _PASSED_ON:
                raise
            except Exception as error:
                if not isinstance(error, WarehouseError | StorageError):
                    _log.exception("link %s: unexpected error, will try again", self.link.id)
                await self._fail(error)
            else:
                self.waits.next_attempt_ms = None
                if not self._stuck:
                    self.last_error = self._alarm
                return result

    async def _fail(self, error: Exception) -> None:
        """Waits before the next attempt. After a few with a batch in hand: raises _StartAgainError."""
        if self.waits.state is LinkState.FLUSHING and self.waits.retry.attempts >= _ATTEMPTS_HELD:
            raise _StartAgainError(_in_words(error)) from error
        await self._back_off(error)

    async def _back_off(self, error: Exception) -> None:
        self.last_error = _in_words(error)
        _log.warning("link %s: %s", self.link.id, self.last_error)
        await self.waits.before_retry(LinkState.BACKING_OFF, self.waits.retry.next_s())

    async def _trip(self, example: Refused) -> None:
        self._sound(
            f"paused: {ALIKE_MAX} events running are refused alike, the last one for: {example.reason}"
        )
        await self.waits.before_retry(LinkState.PAUSED, self.waits.breaker.next_s())

    def _sound(self, words: str) -> None:
        self._alarm = self.last_error = words
        _log.error("link %s: %s", self.link.id, words)


def _parked(batch: Prepared, locked: set[str], refused: dict[int, Refused]) -> dict[int, str]:
    """Offset → table, of the events that have a row in a locked table. An event is parked whole, once."""
    if not locked:
        return {}
    rows = ((row.offset, table_name(row.table)) for row in batch.rows if row.offset not in refused)
    return {offset: table for offset, table in rows if table in locked}


async def _let_go(rows: list[AnyRow]) -> None:
    """Frees the rows of a batch a few at a time: all at once would hold the loop for milliseconds."""
    while rows:
        del rows[-_LET_GO:]
        await asyncio.sleep(0)


def _in_words(error: Exception) -> str:
    """One line for the status: what was attempted, what happened, what to do."""
    hint = getattr(error, "hint", "")
    words = str(error) or type(error).__name__
    return f"{words}: {hint}" if hint and hint not in words else words
