"""Moves one stream to one destination: the loop of one link.

The order of writes is what makes it exactly once: (1) the intent is durable in the catalog; (2) one Postgres
transaction takes rows, progress and outcome; (3) the outcome and the new checkpoint are one catalog write
(which holds the intent of the next batch, if that is ready); only then comes the next batch. Whatever dies in
between, the start asks the progress row which of the three happened. One batch is in flight, the next is
prepared meanwhile.

Failures: what names rows (RowsRefused) goes into the outcome of the retried batch, unless the breaker takes
it for a fault of the destination; Foreign stops the link; everything else is tried again for ever, in order,
with a status in words. Thread: the event loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final, TypeVar

from server.clock import SystemClock
from server.warehouse import (
    AnyRow,
    Batch,
    Destination,
    Flushed,
    Foreign,
    InDoubt,
    LinkKey,
    LocalProgress,
    OutOfStep,
    RowsRefused,
    TakeoverCase,
    WarehouseError,
)
from storage import StorageError, StoreClosed, StorePoisoned

from . import outcome as outcomes
from .backoff import Backoff
from .breaker import ALIKE_MAX, Breaker
from .checkpoint import Intent
from .ledger import Ledger
from .links import LinkConfig, LinkState, table_options
from .outcome import Outcome, Refused
from .preparer import Prepared, Preparer

_LET_GO: Final = 500
_Result = TypeVar("_Result")
_log: Final = logging.getLogger("penstock.delivery")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a link waits after a failed attempt: ceilings of the back-off, in seconds. `pause_*` are the
    breaker's.
    """

    retry_first_s: float = 0.5
    retry_cap_s: float = 60.0
    pause_first_s: float = 120.0
    pause_cap_s: float = 900.0


DEFAULT_PATIENCE: Final = Patience()


class _StoppedError(Exception):
    """The link was told to stop while it could not go on."""


class Flusher:
    """One per enabled link. `run` is its task; what it is doing is readable at any time."""

    def __init__(
        self,
        link: LinkConfig,
        store_id: str,
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
        self.state = LinkState.WAITING
        self._alarm: str | None = None
        self._warning: str | None = None
        self.last_error: str | None = None
        self.next_attempt_ms: int | None = None
        self.oldest_ms: int | None = None
        self._key = LinkKey(store_id, link.id, ledger.checkpoint.key_generation)
        self._destination = destination
        self._clock = clock
        self._retry = Backoff(patience.retry_first_s, patience.retry_cap_s, random)
        self._pause = Backoff(patience.pause_first_s, patience.pause_cap_s, random)
        self._breaker = Breaker()
        self._stopping = asyncio.Event()
        self._options = table_options(link)

    @property
    def alarm(self) -> str | None:
        """What an operator should look at: why the link is paused or stopped, or what was odd when it
        started.
        """
        return self._alarm or self._warning

    def stop(self) -> None:
        """Ends `run` soon: after what can be flushed at once, or at the next failure."""
        self._stopping.set()
        self.preparer.stop()

    async def run(self) -> None:
        """Delivers until stopped. Never raises but CancelledError; a link that cannot go on says why in
        `alarm`.
        """
        try:
            while True:
                try:
                    await self._until_done(self._take_over)
                    await self._deliver_all()
                    return
                except OutOfStep as error:
                    await self._back_off(error)
        except _StoppedError:
            pass
        except Foreign as error:
            self._sound(f"stopped: {error.reason}")
        except (StoreClosed, StorePoisoned) as error:
            self._sound(f"stopped: the store cannot be written: {error}")
        finally:
            self.state = LinkState.STOPPED
            self.next_attempt_ms = None

    async def _take_over(self) -> None:
        """Makes this process the owner of the link and learns from the progress row where to go on."""
        known = self.ledger.checkpoint
        doubt = known.in_doubt
        local = LocalProgress(known.epoch, known.last, InDoubt(doubt.batch_id, doubt.last) if doubt else None)
        self._key = LinkKey(self._key.store_id, self.link.id, known.key_generation)
        taken = await self._destination.take_over(self._key, local)
        if taken.warning:
            _log.warning("link %s: %s", self.link.id, taken.warning)
            self._warning = taken.warning
        if taken.case is TakeoverCase.LANDED and doubt is not None:
            await self.ledger.settle(doubt.last, outcomes.decode(taken.outcome), self.preparer.due_ms)
        await self.ledger.resume(taken.epoch, taken.key.generation, taken.resume_after)
        self._key = taken.key

    async def _deliver_all(self) -> None:
        """Batch after batch; returns when the link is stopping and has nothing left to flush."""
        batch = await self._until_done(partial(self.preparer.next, self.ledger.checkpoint.last))
        while batch is not None:
            ahead = asyncio.create_task(self.preparer.next(batch.last))
            try:
                await self._deliver(batch, ahead)
                self.state = LinkState.WAITING
                last, rows, batch = batch.last, batch.rows, None
                await _let_go(rows)
                try:
                    batch = await ahead
                except Exception as error:
                    await self._back_off(error)
                    batch = await self._until_done(partial(self.preparer.next, last))
            finally:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _deliver(self, batch: Prepared, ahead: asyncio.Task[Prepared | None]) -> None:
        """Flushes one batch to its end: landed, and its outcome applied. `ahead` makes the next one."""
        self.state = LinkState.FLUSHING
        self.oldest_ms = batch.committed_ms
        await self._until_done(partial(self.ledger.begin, _intent(batch)))
        refused = dict(batch.refused)
        while True:
            if tripped := self._breaker.tripped_by(batch.offsets, refused):
                await self._trip(tripped)
                refused = dict(batch.refused)
                continue
            outcome = Outcome(
                len(batch.offsets) - len(refused), tuple(refused.values()), tuple(batch.dropped)
            )
            try:
                await self._until_done(partial(self._flush, batch, refused, outcome))
                break
            except RowsRefused as error:
                refused |= {r.offset: Refused(r.offset, r.reason, r.sqlstate) for r in error.refusals}
        await self._until_done(partial(self._settle, batch, outcome, ahead))
        self._breaker.settled(batch.offsets, refused)
        self._pause.reset()
        self._retry.reset()
        self._alarm = self.last_error = self.oldest_ms = None

    async def _flush(self, batch: Prepared, refused: dict[int, Refused], outcome: Outcome) -> Flushed:
        rows, encoded = batch.rows, batch.encoded
        if any(row.offset in refused for row in rows):
            rows, encoded = [row for row in rows if row.offset not in refused], None
        return await self._destination.flush(
            self._key,
            Batch(
                self.ledger.checkpoint.epoch,
                batch.batch_id,
                batch.after,
                batch.last,
                rows,
                outcomes.encode(outcome),
                self._options,
                encoded,
            ),
        )

    async def _settle(self, batch: Prepared, outcome: Outcome, ahead: asyncio.Task[Prepared | None]) -> None:
        ready = ahead.done() and not ahead.cancelled() and ahead.exception() is None
        following = ahead.result() if ready else None
        intent = _intent(following) if following else None
        await self.ledger.settle(batch.last, outcome, self.preparer.due_ms, intent)

    async def _until_done(self, step: Callable[[], Awaitable[_Result]]) -> _Result:
        """Runs `step` until it succeeds, backing off in between. What must not be repeated passes through."""
        while True:
            try:
                result = await step()
            except (RowsRefused, Foreign, OutOfStep, StoreClosed, StorePoisoned):
                raise
            except Exception as error:
                if not isinstance(error, WarehouseError | StorageError):
                    _log.exception("link %s: unexpected error, will try again", self.link.id)
                await self._back_off(error)
            else:
                self.next_attempt_ms = None
                self.last_error = self._alarm
                return result

    async def _back_off(self, error: Exception) -> None:
        self.last_error = _in_words(error)
        _log.warning("link %s: %s", self.link.id, self.last_error)
        await self._wait(LinkState.BACKING_OFF, self._retry.next_s())

    async def _trip(self, example: Refused) -> None:
        self._sound(
            f"paused: {ALIKE_MAX} events running are refused alike, the last one for: {example.reason}"
        )
        await self._wait(LinkState.PAUSED, self._pause.next_s())

    def _sound(self, words: str) -> None:
        self._alarm = self.last_error = words
        _log.error("link %s: %s", self.link.id, words)

    async def _wait(self, state: LinkState, seconds: float) -> None:
        """Raises _StoppedError instead of waiting once the link is told to stop."""
        before, self.state = self.state, state
        self.next_attempt_ms = self._clock.wall_ms() + round(seconds * 1000)
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
            raise _StoppedError
        except TimeoutError:
            self.state = before


async def _let_go(rows: list[AnyRow]) -> None:
    """Frees the rows of a batch a few at a time: all at once would hold the loop for milliseconds."""
    while rows:
        del rows[-_LET_GO:]
        await asyncio.sleep(0)


def _intent(batch: Prepared) -> Intent:
    return Intent(batch.batch_id, batch.after, batch.last)


def _in_words(error: Exception) -> str:
    """One line for the status: what was attempted, what happened, what to do."""
    hint = getattr(error, "hint", "")
    words = str(error) or type(error).__name__
    return f"{words}: {hint}" if hint else words
