"""How this process becomes the owner of a link, and learns where to go on: what the progress row says, or the
one of the store that this one was restored from, goes into the books. Thread: the event loop.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import msgspec

from server.warehouse import (
    Destination,
    InDoubt,
    LinkKey,
    LocalProgress,
    Takeover,
    TakeoverCase,
    Unavailable,
)
from storage import Former

from . import outcome as outcomes
from .checkpoint import Checkpoint, Intent
from .inheritance import inheritance
from .ledger import Ledger
from .links import LinkConfig
from .stays import Stays

_log: Final = logging.getLogger("penstock.delivery")


class Ownership:
    """Of one link. `key` is what it is flushed under; `warning` what was odd at the last take-over."""

    def __init__(
        self,
        link: LinkConfig,
        store_id: str,
        former: tuple[Former, ...],
        destination: Destination,
        ledger: Ledger,
    ) -> None:
        self.key = LinkKey(store_id, link.id, ledger.checkpoint.key_generation)
        self.warning: str | None = None
        self._link = link
        self._former = former
        self._destination = destination
        self._ledger = ledger

    async def take(self, due_ms: int | None) -> None:
        """`due_ms` as of `Ledger.settle`. Raises WarehouseError, StorageError: then it is to be repeated."""
        inherited = await self._inherit(due_ms)
        known = self._ledger.checkpoint
        doubt = known.in_doubt
        in_doubt = InDoubt(doubt.batch_id, doubt.last) if doubt else None
        stays = known.stays
        local = LocalProgress(known.epoch, known.last, in_doubt, stays.place, stays.places, stays.frontier)
        taken = await self._destination.take_over(
            LinkKey(self.key.store_id, self._link.id, known.key_generation), local
        )
        warning = taken.warning if inherited is None else ""
        warning = await self._go_on(taken, known, due_ms) or warning
        if warning:
            _log.warning("link %s: %s", self._link.id, warning)
        self.warning = warning or inherited or self.warning
        self.key = taken.key

    async def _go_on(self, taken: Takeover, known: Checkpoint, due_ms: int | None) -> str:
        """Enters into the books what was found; what is odd about it beside what is said already."""
        epoch, generation, doubt = taken.epoch, taken.key.generation, known.in_doubt
        stays = _stays(taken, known.stays, known.last, known.release)
        if taken.case is TakeoverCase.LANDED and doubt is not None:
            with _reading(taken.key):
                outcome = outcomes.decode(taken.outcome)
            await self._ledger.resume(epoch, generation, known.last, known.release, stays, doubt)
            await self._ledger.settle(doubt.last, outcome, due_ms)
            return ""
        doubt = _not_asked(doubt, taken.place, taken.row_place)
        release = known.release
        if taken.case in (TakeoverCase.EQUAL, TakeoverCase.BEHIND, TakeoverCase.MOVED) and taken.outcome:
            with _reading(taken.key):
                release = outcomes.decode(taken.outcome).release
        lost = await self._ledger.resume(epoch, generation, taken.resume_after, release, stays, doubt)
        return self._words(taken, stays, doubt, lost)

    def _words(self, taken: Takeover, stays: Stays, doubt: Intent | None, lost: bool) -> str:
        if taken.case is TakeoverCase.MOVED and stays.lacks(taken.resume_after):
            return (
                f"the destination is back at a database ({taken.place}) that was restored from an older copy "
                "meanwhile: what that one lost is delivered again"
            )
        if lost and taken.case is not TakeoverCase.BEHIND:
            return (
                "the destination was restored from an older copy: what it lost of parked events comes again"
            )
        if doubt is not None:
            words = (
                f"nobody knows whether offsets {doubt.after + 1} to {doubt.last} landed in the database that "
                f"the link left ({doubt.place}): they are delivered here"
            )
            return f"{taken.warning}; {words}" if taken.warning else words
        if taken.case is TakeoverCase.MOVED:
            _log.info("link %s: back at %s, goes on at its checkpoint", self._link.id, taken.place)
        return ""

    async def _inherit(self, due_ms: int | None) -> str | None:
        """In a restored store, before the link has progress of its own: goes on where the former store came
        to, and ends its delivery. A warning or "" then; None = there is nothing to take.
        """
        if not self._former:
            return None
        known = self._ledger.checkpoint
        key = LinkKey(self.key.store_id, self._link.id, known.key_generation)
        row = await self._destination.inherit(key, [former.store_id for former in self._former])
        if row is None:
            return None
        former = next(former for former in self._former if former.store_id == row.store_id)
        with _reading(replace(key, store_id=row.store_id)):
            taken = inheritance(row, known, former.heads.get(self._link.stream_id, 0))
        _log.log(
            logging.WARNING if taken.warning else logging.INFO, "link %s: %s", self._link.id, taken.words
        )
        epoch, generation = known.epoch, known.key_generation
        if taken.landed is not None and known.in_doubt is not None:
            await self._ledger.resume(
                epoch, generation, known.last, known.release, taken.stays, known.in_doubt
            )
            await self._ledger.settle(known.in_doubt.last, taken.landed, due_ms)
        else:
            doubt = _not_asked(known.in_doubt, row.place, row.row_place)
            await self._ledger.resume(epoch, generation, taken.after, taken.release, taken.stays, doubt)
        return taken.words if taken.warning else ""


@contextmanager
def _reading(key: LinkKey) -> Iterator[None]:
    """Raises Unavailable where the outcome in this progress row is none that we wrote."""
    try:
        yield
    except msgspec.DecodeError as error:
        where = f"store_id '{key.store_id}', link_id '{key.link_id}', generation {key.generation}"
        raise Unavailable(
            f"the outcome in the row of penstock.progress with {where} cannot be read ({error})",
            "somebody altered it: put back what was there, or delete that row; then the link goes on where "
            "this server knows it to be, and what landed behind that comes again",
        ) from error


def _stays(taken: Takeover, known: Stays, last: int, release: int) -> Stays:
    """Where the link is now, and was. A row of a place that is not remembered says nothing about stays: all
    that it lacks is delivered again.
    """
    if taken.case is TakeoverCase.BEHIND and taken.row_place != known.place:
        return Stays(taken.place)
    return known.arrived(taken.place, taken.row_place, last, release)


def _not_asked(doubt: Intent | None, *asked: str | None) -> Intent | None:
    """The batch in doubt, if these databases know nothing of it: then it did not land here, and may have
    landed where it was sent.
    """
    return None if doubt is None or doubt.place in ("", *asked) else doubt
