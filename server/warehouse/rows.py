"""Rows as the layouts make them: names and plain values; and how the tables for them are filled. Any thread.

Invariant: a name that begins with `/` is no column (names.py): its value is kept in `_unmapped_data`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

Value = str | int | float | bool | None


@dataclass(slots=True)
class Row:
    """One row for one table, made from the event at `offset`. `values` is flat; a None value means nothing
    was said.
    """

    offset: int
    table: str
    values: dict[str, Value]
    shape: ClassVar[None] = None


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The names of rows that have the same ones. What is not the same object is another shape."""

    names: tuple[str, ...]


class ShapedRow(msgspec.Struct, gc=False):
    """As `Row`, for one of many rows with the same names: `cells[i]` is the value of `shape.names[i]`.

    Thousands live for as long as a batch: the cyclic collector, which would stop the loop to look at them
    all, does not see them.
    """

    offset: int
    table: str
    shape: Shape
    cells: Sequence[Value]

    @property
    def values(self) -> dict[str, Value]:
        """What was said."""
        pairs = zip(self.shape.names, self.cells, strict=True)
        return {name: value for name, value in pairs if value is not None}


AnyRow = Row | ShapedRow


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How the tables of one link are filled.

    stream              goes into column `_stream`, part of the merge key of the tables that Penstock made.
    primary_key         columns that make a row; empty = never merge. Used only with `deduplicate`.
    timestamp_column    gets type timestamptz when Penstock makes the table, and an index (upkeep.py).
    schema_freeze       no new column; what has no column goes to `_unmapped_data`.
    existing_wins       a replay: values already in the table are kept, only gaps are filled.
    trusted_tables      table names that come from configuration. Any other name may come from an event and
                        reaches only tables that Penstock made.
    generic_table       takes the rows of a table that is not made because the link has `tables_max` already.
    partition           day: tables that Penstock makes from now on are partitioned by the UTC day of
                        `received_column`, and rows are one if that is equal too (it must be in the key).
    """

    stream: str
    primary_key: tuple[str, ...] = ("message_id",)
    deduplicate: bool = True
    timestamp_column: str | None = "timestamp"
    schema_freeze: bool = False
    existing_wins: bool = False
    trusted_tables: frozenset[str] = frozenset({"events"})
    generic_table: str = "events"
    partition: Literal["none", "day"] = "none"
    received_column: str = "received_at"

    @property
    def merge_key(self) -> tuple[str, ...]:
        return self.primary_key if self.deduplicate else ()
