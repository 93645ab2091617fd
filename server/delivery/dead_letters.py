"""Dead letters: events a link could not deliver for good, with the reason, kept until somebody replays or
deletes them.

Two tables: the index (link, offset → reason) in the catalog, moved in the same write as the checkpoint; and
a copy of the raw event with its head in scratch, written before it, because the WAL segment may be trimmed
afterwards. Both writes are idempotent: a crash between them repeats the first one. Scratch has its own
quota: when it is full the write raises StoreFull and delivery of that link pauses; nothing is lost. Thread:
reads are short and may run on the event loop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from storage import Delete, Put, Store

from .outcome import Dropped, Refused

INDEX_TABLE: Final = "dead_letters"
DROPS_TABLE: Final = "drops"
PAYLOAD_TABLE: Final = "dead_letter_payloads"
_PAGE: Final = 1_000


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    reason: str
    sqlstate: str
    at_ms: int


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """What `server.ingest.restore` makes the event of."""

    head: bytes
    item: bytes


class _Drop(msgspec.Struct, frozen=True, array_like=True):
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event a link refused for good. `sqlstate` is "" when Postgres had no say; `at_ms` is wall time."""

    link_id: str
    offset: int
    reason: str
    sqlstate: str
    at_ms: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_entry: Final = msgspec.msgpack.Decoder(_Entry).decode
_decode_drop: Final = msgspec.msgpack.Decoder(_Drop).decode
_decode_payload: Final = msgspec.msgpack.Decoder(Payload).decode


def index_put(link_id: str, refused: Refused, at_ms: int) -> Put:
    """The catalog write of one dead letter."""
    entry = _Entry(refused.reason, refused.sqlstate, at_ms)
    return Put(INDEX_TABLE, _key(link_id, refused.offset), _encode(entry))


def payload_put(link_id: str, offset: int, payload: Payload) -> Put:
    """The scratch write of the event of one dead letter."""
    return Put(PAYLOAD_TABLE, _key(link_id, offset), _encode(payload))


def drop_put(link_id: str, dropped: Dropped) -> Put:
    """The catalog write of a range of offsets that ended without delivery."""
    return Put(DROPS_TABLE, _key(link_id, dropped.first), _encode(_Drop(dropped.last, dropped.reason)))


def index_delete(link_id: str, offset: int) -> Delete:
    """The catalog write that takes a dead letter away."""
    return Delete(INDEX_TABLE, _key(link_id, offset))


def payload_delete(link_id: str, offset: int) -> Delete:
    """The scratch write that takes its event away."""
    return Delete(PAYLOAD_TABLE, _key(link_id, offset))


class DeadLetters:
    """What the admin side may ask of the dead letters of a store."""

    def __init__(self, store: Store) -> None:
        self._catalog = store.catalog
        self._scratch = store.scratch

    def page(self, link_id: str, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """At most `limit` dead letters of the link with an offset above `after`, in offset order."""
        prefix = _prefix(link_id)
        rows = self._catalog.scan(INDEX_TABLE, prefix=prefix, after=_key(link_id, after), limit=limit)
        return [_dead_letter(link_id, key[len(prefix) :], value) for key, value in rows]

    def between(self, link_id: str, after: int, last: int) -> list[int]:
        """The offsets in (after, last] that the link has dead letters of."""
        found: list[int] = []
        while after < last and (page := self.page(link_id, after, _PAGE)):
            found += [letter.offset for letter in page if letter.offset <= last]
            after = page[-1].offset
        return found

    def count(self, link_id: str) -> int:
        """How many dead letters the link has now. Reads the whole index of the link, a page at a time."""
        return sum(1 for _ in self._all(link_id))

    def get(self, link_id: str, offset: int) -> DeadLetter | None:
        """The dead letter of that event, None if the link did not refuse it."""
        value = self._catalog.get(INDEX_TABLE, _key(link_id, offset))
        return None if value is None else _dead_letter(link_id, offset.to_bytes(8, "big"), value)

    def payload(self, link_id: str, offset: int) -> Payload | None:
        """The raw event and its head; None if there is no such dead letter, or the event itself could not be
        read.
        """
        value = self._scratch.get(PAYLOAD_TABLE, _key(link_id, offset))
        return None if value is None else _decode_payload(value)

    def drop_reason(self, link_id: str, offset: int) -> str | None:
        """Why the link dropped that event, None if it did not."""
        prefix = _prefix(link_id)
        below = self._catalog.scan(
            DROPS_TABLE, prefix=prefix, after=_key(link_id, offset + 1), limit=1, reverse=True
        )
        if not below:
            return None
        drop = _decode_drop(below[0][1])
        return drop.reason if offset <= drop.last else None

    def _all(self, link_id: str) -> Iterator[DeadLetter]:
        after = 0
        while page := self.page(link_id, after, _PAGE):
            yield from page
            after = page[-1].offset


def _dead_letter(link_id: str, offset: bytes, value: bytes) -> DeadLetter:
    entry = _decode_entry(value)
    return DeadLetter(link_id, int.from_bytes(offset, "big"), entry.reason, entry.sqlstate, entry.at_ms)


def _prefix(link_id: str) -> bytes:
    return link_id.encode() + b"\0"


def _key(link_id: str, offset: int) -> bytes:
    return _prefix(link_id) + offset.to_bytes(8, "big")
