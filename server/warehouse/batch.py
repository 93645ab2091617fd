"""What crosses the door of the warehouse: batches in, what became of them out. Plain values, no behaviour."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from server.warehouse.encode import Encoded
from server.warehouse.rows import AnyRow, TableOptions

__all__ = [
    "AnyRow",
    "Batch",
    "Flushed",
    "InDoubt",
    "Inherited",
    "LinkKey",
    "LocalProgress",
    "TableOptions",
    "Takeover",
    "TakeoverCase",
]


@dataclass(frozen=True, slots=True)
class LinkKey:
    """Whose progress: `generation` grows when the local store was found to be older than the destination."""

    store_id: str
    link_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of the offsets in (after_offset, last_offset], in offset order.

    `outcome` is opaque to the warehouse: it is stored beside the progress row by the same transaction, and
    handed back by `take_over`. A batch without rows is legal (every event was dropped or refused): it moves
    the progress row, and one of parked events leaves it where it is (`last_offset` = `after_offset`).
    `encoded` is what `encode_ahead` made of these very rows, if anything. `lock_timeout_s`: a wait for a
    lock ends sooner than the limit of the destination.
    """

    epoch: int
    batch_id: str
    after_offset: int
    last_offset: int
    rows: Sequence[AnyRow]
    outcome: bytes
    options: TableOptions
    encoded: Encoded | None = None
    lock_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A batch that was sent and whose fate is unknown."""

    batch_id: str
    last_offset: int


@dataclass(frozen=True, slots=True)
class LocalProgress:
    """What the local catalog knows about a link. `in_doubt` must have been made durable before its flush
    began. It holds for the database `place` ("" = not known); the link was at `places`, that one included,
    and had passed everything up to `frontier` when it came there.
    """

    epoch: int
    last_offset: int
    in_doubt: InDoubt | None = None
    place: str = ""
    places: Collection[str] = ()
    frontier: int = 0


class TakeoverCase(Enum):
    """What the progress row says against the local checkpoint (ARCHITECTURE.md, Progress)."""

    FIRST = "first"
    ABSENT = "absent"
    EQUAL = "equal"
    LANDED = "landed"
    BEHIND = "behind"
    MOVED = "moved"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class Takeover:
    """The answer to "where do I go on from?".

    key             the key to flush under from now on; its generation has grown if case is AHEAD: make it
                    durable before the first flush.
    epoch           the epoch to flush under.
    resume_after    redeliver what is after this offset.
    row_offset      what the progress row said; None if there was none.
    outcome         the outcome of the last batch that landed; apply it (idempotently) if case is LANDED.
    changed         the progress row was written to another database, or another schema of it.
    foreign         the row's epoch is not the local one: another process had taken over in between.
    warning         a sentence for the log if anything is unusual, else "".
    place           the database that this is.
    row_place       the database that the progress row was written in; None if there was no row.
    """

    case: TakeoverCase
    key: LinkKey
    epoch: int
    resume_after: int
    row_offset: int | None
    outcome: bytes
    changed: bool
    foreign: bool
    warning: str
    place: str
    row_place: str | None


@dataclass(frozen=True, slots=True)
class Inherited:
    """The progress row of the store that this one was restored from."""

    store_id: str
    last_offset: int
    batch_id: str
    outcome: bytes
    place: str
    """The database that this is."""
    row_place: str
    """The database that the row was written in."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """What one flush did. `already_landed`: the progress row carried this batch id before; nothing was
    written.

    Of `unmapped_values`, `overflow_values` got no column because the table may have no more, now or ever;
    `overflow_rows` went to the generic table because the link may have no more tables.
    """

    rows: int
    bytes: int
    unmapped_values: int
    columns_added: int
    seconds: float
    already_landed: bool = False
    overflow_values: int = 0
    overflow_rows: int = 0
