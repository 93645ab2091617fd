"""Lanes: the events of tables that somebody keeps locked, waiting apart while their link goes on.

A lane is a queue of offsets, one for each locked table, kept in the catalog. An event is parked whole, in
the lane of one of its locked tables, and stands in one lane at most. Every change is made by the catalog
write that applies an outcome, and the outcome travels in the transaction that it tells of; so an event is
parked, landed, dead-lettered or dropped, and never two of these. What left a lane is remembered by the number
of the batch that took it (a *release*) for as long as the WAL has its events: a destination put back from an
older copy gets it again.

Tables of the catalog: `parked` (link, generation, table, first offset → offsets) and `released` (link,
generation, release, table, first offset → offsets). Thread: the event loop; `table_of` any.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from storage import Delete, Put, TableEnv

from .stays import Stays

PARKED_TABLE: Final = "parked"
RELEASED_TABLE: Final = "released"
LANES_MAX: Final = 16
"""Locked tables of one link that are waited for apart; one more, and the whole link waits."""
PARKED_MAX: Final = 1_000_000
"""Parked events of one link; with more (one batch at most) the whole link waits."""
CHUNK_EVENTS: Final = 1_000
"""Offsets under one key, unless one batch parked more."""
_SPARED: Final = 100

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[int]).decode


def pack(offsets: Iterable[int]) -> tuple[int, ...]:
    """Ascending offsets as the first one and the steps to the others: mostly a byte each."""
    listed = list(offsets)
    return (*listed[:1], *(right - left for left, right in pairwise(listed)))


def unpack(packed: Iterable[int]) -> list[int]:
    """The reverse of `pack`."""
    return list(accumulate(packed))


@dataclass(frozen=True, slots=True)
class Change:
    """One chunk of a lane as it will be; without offsets it is gone."""

    table: str
    first: int
    offsets: tuple[int, ...] = ()


class Lanes:
    """The lanes of one link. Reads the whole queue of the link once, to count it."""

    def __init__(self, catalog: TableEnv, link_id: str, generation: int) -> None:
        self._catalog = catalog
        self._prefix = link_id.encode() + b"\0" + generation.to_bytes(8, "big")
        self._chunks: dict[str, dict[int, int]] = {}
        self.events = 0
        self.first: int | None = None
        """The oldest parked offset; the WAL is kept from there on."""
        self.apply(list(self._stored()))

    @property
    def tables(self) -> list[str]:
        """Tables that events wait for."""
        return list(self._chunks)

    def count(self, table: str) -> int:
        """Events waiting for that table."""
        return sum(list(self._chunks.get(table, {}).values()))

    def chunks(self, table: str) -> Iterator[Change]:
        """What waits for that table, oldest first."""
        for first in sorted(self._chunks.get(table, ())):
            yield Change(table, first, tuple(self._offsets(table, first)))

    def table_of(self, offset: int) -> str | None:
        """The lane in which that event waits, None if it is not parked."""
        for table in self.tables:
            below = self._catalog.scan(
                PARKED_TABLE, self._lane(table), after=self._key(table, offset + 1), limit=1, reverse=True
            )
            if below and offset in unpack(_decode(below[0][1])):
                return table
        return None

    def parking(self, table: str, offsets: list[int]) -> Change:
        """Adds ascending offsets, which are in no lane, to the last chunk or to one of their own."""
        chunks = self._chunks.get(table, {})
        last = max(chunks, default=None)
        if last is None or last > offsets[0] or chunks[last] + len(offsets) > CHUNK_EVENTS:
            return Change(table, offsets[0], tuple(offsets))
        return Change(table, last, tuple(sorted({*self._offsets(table, last), *offsets})))

    def releasing(self, release: int, taken: Iterable[tuple[str, int]]) -> tuple[list[Change], list[Put]]:
        """Takes chunks off their lanes, and remembers them under the number of the release."""
        changes = [Change(table, first) for table, first in taken]
        waited = [(change, self._offsets(change.table, change.first)) for change in changes]
        puts = [
            Put(RELEASED_TABLE, self._released_key(release, change), _packed(offsets))
            for change, offsets in waited
            if offsets
        ]
        return changes, puts

    def rewinding(self, release: int, last: int, stays: Stays) -> tuple[list[Change], list[Delete]]:
        """The destination has no more than `release` and `last`: what was released there later waits again,
        and what is behind `last` and belongs there is read again and does not wait here.
        """
        kept: dict[tuple[str, int], list[int]] = {}
        changes: list[Change] = []
        for chunk in [chunk for table in self.tables for chunk in self.chunks(table)]:
            offsets = [offset for offset in chunk.offsets if offset <= last or stays.elsewhere(offset)]
            if len(offsets) < len(chunk.offsets):
                changes.append(Change(chunk.table, chunk.first, tuple(offsets)))
            if offsets:
                kept[chunk.table, chunk.first] = offsets
        waiting = {offset for offsets in kept.values() for offset in offsets}
        deletes = []
        after = self._prefix + (release + 1).to_bytes(8, "big")
        for key, value in self._catalog.scan(RELEASED_TABLE, self._prefix, after=after):
            begin = len(self._prefix)
            if stays.released_elsewhere(int.from_bytes(key[begin : begin + 8], "big")):
                continue
            deletes.append(Delete(RELEASED_TABLE, key))
            table = key[begin + 8 : -8].decode()
            there = unpack(_decode(value))
            again = [o for o in there if (o <= last or stays.elsewhere(o)) and o not in waiting]
            waiting.update(again)
            if again:
                changes.append(Change(table, again[0], tuple(again)))
        return changes, deletes

    def forgetting(self, retained: int) -> list[Delete]:
        """Of the releases that are remembered, some whose events the WAL does not have any more."""
        oldest = self._catalog.scan(RELEASED_TABLE, self._prefix, limit=_SPARED)
        return [Delete(RELEASED_TABLE, key) for key, value in oldest if unpack(_decode(value))[-1] < retained]

    def writes(self, changes: Iterable[Change]) -> list[Put | Delete]:
        """The catalog writes of the changes."""
        return [
            Put(PARKED_TABLE, self._key(c.table, c.first), _packed(c.offsets))
            if c.offsets
            else Delete(PARKED_TABLE, self._key(c.table, c.first))
            for c in changes
        ]

    def apply(self, changes: Sequence[Change]) -> None:
        """The changes are in the catalog."""
        if not changes:
            return
        for change in changes:
            chunks = self._chunks.setdefault(change.table, {})
            if change.offsets:
                chunks[change.first] = len(change.offsets)
            else:
                chunks.pop(change.first, None)
            if not chunks:
                del self._chunks[change.table]
        self.events = sum(map(self.count, self._chunks))
        self.first = min((min(chunks) for chunks in self._chunks.values()), default=None)

    def _stored(self) -> Iterator[Change]:
        for key, value in self._catalog.scan(PARKED_TABLE, self._prefix):
            table = key[len(self._prefix) : -9].decode()
            yield Change(table, int.from_bytes(key[-8:], "big"), tuple(_decode(value)))

    def _offsets(self, table: str, first: int) -> list[int]:
        value = self._catalog.get(PARKED_TABLE, self._key(table, first))
        return unpack(_decode(value)) if value is not None else []

    def _lane(self, table: str) -> bytes:
        return self._prefix + table.encode() + b"\0"

    def _key(self, table: str, first: int) -> bytes:
        return self._lane(table) + first.to_bytes(8, "big")

    def _released_key(self, release: int, change: Change) -> bytes:
        number, first = release.to_bytes(8, "big"), change.first.to_bytes(8, "big")
        return self._prefix + number + change.table.encode() + first


def _packed(offsets: Iterable[int]) -> bytes:
    return _encode(pack(offsets))
