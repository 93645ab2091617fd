"""How the rows of one table are loaded: which columns take part, in which order, and what makes two rows one.

A plan belongs to one link, is kept between its batches and grows with the columns that events use; it is
dropped when its table changes. Column 0 of a row's cells is the row head, the stream's cell never changes;
the rest starts as NULL in every row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from server.warehouse.copy import NULL, CellEncoder, row_head, text_cell
from server.warehouse.names import column_name, is_aside
from server.warehouse.rows import TableOptions, Value
from server.warehouse.schema import RESERVED, STREAM, Column, TableShape, UniqueKey
from server.warehouse.types import ColumnType

NOWHERE: Final = 0  # the slot of a name that has no column: its encoder never fits


def _never(_value: Value) -> None:
    return None


Slot = tuple[int, CellEncoder]
NO_SLOT: Final[Slot] = (NOWHERE, _never)


@dataclass(slots=True)
class Plan:
    """`columns[i]` is filled by cell i + 1. `slots` maps names as they come in rows to (cell, encoder)."""

    shape: TableShape
    options: TableOptions
    key: UniqueKey | None
    columns: list[Column] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    template: list[bytes] = field(default_factory=lambda: [b""])

    def frozen(self) -> "Plan":
        """The plan as it is now, whatever it learns later."""
        return replace(self, columns=list(self.columns), slots=dict(self.slots), template=list(self.template))

    def use(self, name: str) -> int:
        """Let column `name` of the table take part; its cell number."""
        cell = self.cell_of(name)
        if cell is not None:
            return cell
        column = self.shape.columns[name]
        self.columns.append(column)
        self.template.append(text_cell(self.options.stream) if name == STREAM else NULL)
        self.template[0] = row_head(len(self.columns))
        return len(self.columns)

    def take(self, raw: str) -> bool:
        """Give a name that rows use its slot; False if the table has no column for it yet."""
        name = column_name(raw)
        column = self.shape.columns.get(name)
        if is_aside(raw) or name in RESERVED or (column is not None and column.generated):
            self.slots[raw] = NO_SLOT
            return True
        if column is None:
            return False
        self.slots[raw] = (self.use(name), column.encode)
        return True

    def cell_of(self, name: str) -> int | None:
        """Its cell if the column takes part."""
        return next((at + 1 for at, column in enumerate(self.columns) if column.name == name), None)

    def fast_wire(self, cell: int) -> ColumnType | None:
        """The wire type of a cell whose column holds all of it; None: each value needs a closer look."""
        if cell == NOWHERE or self.columns[cell - 1].checked:
            return None
        return self.columns[cell - 1].wire

    @property
    def key_cells(self) -> tuple[int, ...]:
        """The cells that make two rows of a batch one; the stream is the same in all of them."""
        return tuple(self.use(name) for name in self.key.columns if name != STREAM) if self.key else ()

    @property
    def defaulted_cells(self) -> tuple[int, ...]:
        """Cells whose column has a default of its own: a row without a value must not write NULL there."""
        return tuple(
            at + 1 for at, column in enumerate(self.columns) if column.has_default and column.name != STREAM
        )

    @property
    def exact(self) -> bool:
        return all(column.exact for column in self.columns)


def new_plan(shape: TableShape, options: TableOptions, key: UniqueKey | None) -> Plan:
    """A plan with the columns that every row has: the stream, and the key."""
    plan = Plan(shape, options, key)
    names = [STREAM] if STREAM in shape.columns else []
    for name in names + list(key.columns if key else ()):
        plan.use(name)
    return plan


def wanted_key(options: TableOptions, by_day: str | None) -> tuple[str, ...]:
    """The columns of the configured primaryKey, as in the table; then the one it is partitioned by."""
    names = [name for raw in options.merge_key if (name := column_name(raw)) not in RESERVED]
    return tuple(dict.fromkeys([*names, by_day] if names and by_day else names))


def by_day(shape: TableShape | None, options: TableOptions) -> str | None:
    """The column by whose days a table of ours is partitioned, or will be if there is no table yet."""
    if shape is None:
        return column_name(options.received_column) if options.partition == "day" else None
    return shape.partitions.column if shape.ours and shape.partitions else None


def choose_key(shape: TableShape, options: TableOptions) -> UniqueKey | None:
    """The unique index that merges rows into this table; None if it has yet to be made (or nothing is to be
    merged).

    In a table of ours the key includes the stream, so that streams never merge with each other. In a table
    of the user's: an index on the configured columns, else the user's own key, unless its values come from
    defaults (a serial id says nothing about events).
    """
    wanted = wanted_key(options, by_day(shape, options))
    if not wanted:
        return None
    for key in shape.keys:
        if key.columns == (STREAM, *wanted) or (
            not shape.ours and set(key.columns) - {STREAM} == set(wanted)
        ):
            return key
    return None if shape.ours else next(_user_keys(shape), None)


def lacks_key(shape: TableShape, options: TableOptions, key: UniqueKey | None) -> bool:
    """Whether rows are to be merged and the chosen key is none: loaded so, they would only be added."""
    return key is None and bool(wanted_key(options, by_day(shape, options)))


def spent_keys(shape: TableShape, owner: str, key: UniqueKey | None) -> tuple[str, ...]:
    """Indexes that Penstock made for a primaryKey that link `owner` no longer has: they would refuse rows
    that are no repeats to it. One that the key itself implies refuses nothing.
    """
    return tuple(
        former.index
        for former in shape.keys
        if former.owner == owner and (key is None or not set(key.columns) <= set(former.columns))
    )


def _user_keys(shape: TableShape) -> Iterator[UniqueKey]:
    for key in shape.keys:
        if not key.owner and not any(_defaulted(shape, name) for name in key.columns):
            yield key


def _defaulted(shape: TableShape, name: str) -> bool:
    column = shape.columns[name]
    return column.has_default or column.generated
