"""The rows of a batch for one table, as bytes in the order of loading. CPU only, in short slices.

Folding: rows that are one row to the merge key become one before they are loaded, in offset order, by the
merge's own rule (a later value wins, nothing never overwrites). It works on encoded cells, so what is equal
here is equal in the column, and any split of a row sequence into batches gives the same table. Rows without
a key value stay alone.

Rows are taken in blocks. A block whose rows have mostly the same columns is encoded column by column
(columns.py, several times faster), any other row by row; the bytes are the same. Rows that come with their
shape need not even be looked at for their names.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Final, NamedTuple

from server.warehouse.columns import fast_cells
from server.warehouse.copy import NULL, raw_json_cell, split_row
from server.warehouse.plan import NO_SLOT, NOWHERE, Plan, Slot
from server.warehouse.rows import AnyRow, Shape, Value
from server.warehouse.schema import UNMAPPED
from server.warehouse.types import ColumnType, infer, json_object, promote

Key = bytes | tuple[bytes, ...]
Misfits = dict[int, dict[str, Value]]
Breathe = Callable[[], Awaitable[None]]
"""Called between two blocks: lets the loop do other work if it is time to."""

_BLOCK_ROWS_MAX: Final = 256
_RUN_ROWS: Final = 1024
_SHAPE_ROWS_MIN: Final = 16  # below that, rows of several shapes are better encoded together
_SPARSE: Final = 3  # by column pays off until a block has this many holes for each value


async def give_way() -> None:
    """One round of the loop for everybody else."""
    await asyncio.sleep(0)


class _Block(NamedTuple):
    """Encoded rows, the key of each (None = no key value), and the values that fit no column, by row."""

    rows: list[bytes]
    keys: Sequence[Key | None]
    misfits: Misfits


class Encoding:
    """One pass over `rows` under a plan. If not `complete` afterwards, the plan must learn first."""

    def __init__(
        self, plan: Plan, rows: Sequence[AnyRow], overflow: Mapping[str, Slot], *, fold: bool
    ) -> None:
        self.plan = plan
        self._rows = rows
        self._slots = {**plan.slots, **overflow} if overflow else plan.slots
        self._block_rows = _BLOCK_ROWS_MAX // 4
        self._key_cells = plan.key_cells if fold else ()
        self._known_shapes: dict[Shape, bool] = {}
        self._seen: dict[Key, int] = {}
        self._out: list[bytes] = []
        self._loose: list[int] = []
        self._order: list[int] = []
        self._unmapped: Misfits = {}
        self._unmapped_cell = plan.cell_of(UNMAPPED)
        self.missing: dict[str, ColumnType] = {}
        self.unmapped_values = 0
        self.overflow_values = 0
        self._overflow = overflow

    async def run(self, slice_s: float, breathe: Breathe = give_way) -> None:
        """Encode everything, never holding the loop for much longer than `slice_s`."""
        at = 0
        while at < len(self._rows):
            started_s = time.perf_counter()
            block = self._rows[at : at + self._block_rows]
            at += len(block)
            self._add(block)
            self._pace(time.perf_counter() - started_s, slice_s)
            await breathe()
        await self._write_unmapped(slice_s, breathe)
        await self._sort(breathe)

    async def _write_unmapped(self, slice_s: float, breathe: Breathe) -> None:
        """Under a frozen schema or a full table, every row may have values that fit no column."""
        if self._unmapped_cell is None:
            return
        started_s = time.perf_counter()
        for place, values in self._unmapped.items():
            cells = split_row(self._out[place])
            cells[self._unmapped_cell] = raw_json_cell(json_object(values))
            self._out[place] = b"".join(cells)
            if time.perf_counter() - started_s > slice_s / 2:
                await breathe()
                started_s = time.perf_counter()

    async def _sort(self, breathe: Breathe) -> None:
        """Order keys in runs: each is short, and the sort of the whole only merges them."""
        keys = list(self._seen)
        for at in range(0, len(keys), _RUN_ROWS):
            keys[at : at + _RUN_ROWS] = sorted(keys[at : at + _RUN_ROWS])
            await breathe()
        keys.sort()
        self._order = [self._seen[key] for key in keys] + self._loose

    @property
    def wants_unmapped(self) -> bool:
        return bool(self._unmapped) and self._unmapped_cell is None

    @property
    def complete(self) -> bool:
        return not self.missing and not self.wants_unmapped

    @property
    def count(self) -> int:
        return len(self._out)

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return sum(map(len, self._out))

    def offset_of(self, place: int) -> int:
        """The offset of the row at this place; only for an encoding that does not fold."""
        return self._rows[place].offset

    def rows(self) -> Iterator[bytes]:
        """By key, so that any two flushes lock rows in one order; then rows without a key, by offset."""
        return map(self._out.__getitem__, self._order) if self._key_cells else iter(self._out)

    def _pace(self, took_s: float, slice_s: float) -> None:
        if took_s > slice_s / 2:
            self._block_rows = max(1, self._block_rows // 2)
        elif took_s < slice_s / 5:
            self._block_rows = min(_BLOCK_ROWS_MAX, self._block_rows * 2)

    def _add(self, rows: Sequence[AnyRow]) -> None:
        shapes = {row.shape for row in rows}
        if len(shapes) > max(1, len(rows) // _SHAPE_ROWS_MIN) or not all(map(self._takes, shapes)):
            self._add_values([row.values for row in rows])
        elif len(shapes) == 1:
            self._place(self._of_shape(rows))
        else:
            self._place(self._of_shapes(rows))

    def _takes(self, shape: Shape | None) -> bool:
        """Whether rows of a shape can be encoded as they are: no two of its names share a column."""
        if shape is None:
            return False
        takes = self._known_shapes.get(shape)
        if takes is None:
            takes = self._known_shapes[shape] = self._one_each(shape.names)
        return takes

    def _one_each(self, names: Iterable[str]) -> bool:
        """Whether no two of the names share a column."""
        cells = [cell for cell, _ in (self._slots.get(name, NO_SLOT) for name in names) if cell != NOWHERE]
        return len(set(cells)) == len(cells)

    def _of_shape(self, rows: Sequence[AnyRow]) -> _Block:
        """A block of rows of one shape."""
        shape = rows[0].shape
        assert shape is not None, "`_takes` has looked"
        columns = zip(*(row.cells for row in rows if row.shape is not None), strict=True)
        known = []
        for name, given in zip(shape.names, columns, strict=True):
            if name in self._slots:
                known.append((name, given))
            else:
                self._note(name, given)
        return self._by_column(len(rows), known)

    def _of_shapes(self, rows: Sequence[AnyRow]) -> _Block:
        """Shape by shape, and back into the order of the rows."""
        places: dict[Shape | None, list[int]] = {}
        for at, row in enumerate(rows):
            places.setdefault(row.shape, []).append(at)
        encoded: list[bytes] = [b""] * len(rows)
        keys: list[Key | None] = [None] * len(rows)
        misfits: Misfits = {}
        for ats in places.values():
            block = self._of_shape([rows[at] for at in ats])
            for at, row_bytes, key in zip(ats, block.rows, block.keys or repeat(None), strict=False):
                encoded[at], keys[at] = row_bytes, key
            misfits |= {ats[place]: values for place, values in block.misfits.items()}
        return _Block(encoded, keys, misfits)

    def _add_values(self, values: list[dict[str, Value]]) -> None:
        names: set[str] = set().union(*values)
        if not self._slots.keys() >= names and self._learn(values):
            return
        names &= self._slots.keys()
        dense = len(names) * len(values) <= _SPARSE * sum(map(len, values))
        if dense and self._one_each(names):
            self._place(self._by_column(len(values), _transposed(values, names)))
        else:
            self._place(self._by_row(values))

    def _learn(self, values: list[dict[str, Value]]) -> bool:
        """Note the names without a slot and what their values are; False if there are none after all."""
        for row in values:
            for name, value in row.items():
                if name not in self._slots:
                    self._note(name, (value,))
        return bool(self.missing)

    def _note(self, name: str, given: Iterable[Value]) -> None:
        for value in given:
            if value is not None:
                self.missing[name] = promote(self.missing.get(name), infer(value))

    def _by_column(self, count: int, columns: Iterable[tuple[str, Sequence[Value]]]) -> _Block:
        """A block of `count` rows, from each name with its values."""
        filled: dict[int, list[bytes]] = {}
        misfits: Misfits = {}
        for name, given in columns:
            cell, encode = self._slots[name]
            wire = self.plan.fast_wire(cell)
            cells = fast_cells(given, wire) if wire is not None else None
            if cells is None:
                cells = []
                for at, value in enumerate(given):
                    data = NULL if value is None else encode(value)
                    if data is None:
                        misfits.setdefault(at, {})[name] = value
                    cells.append(data or NULL)
            if cell != NOWHERE:
                filled[cell] = cells
        template = self.plan.template
        rest = (filled.get(cell) or repeat(template[cell]) for cell in range(1, len(template)))
        rows = zip(repeat(template[0], count), *rest, strict=False)
        return _Block(list(map(b"".join, rows)), self._keys(filled), misfits)

    def _keys(self, filled: dict[int, list[bytes]]) -> Sequence[Key | None]:
        parts = [filled.get(cell) for cell in self._key_cells]
        if not parts or None in parts:  # without a key, or without a value for some part of it
            return ()
        columns = [part for part in parts if part is not None]
        if len(columns) > 1:
            return [None if NULL in key else key for key in zip(*columns, strict=True)]
        keys = columns[0]
        return [None if key == NULL else key for key in keys] if NULL in keys else keys

    def _by_row(self, values: list[dict[str, Value]]) -> _Block:
        slots, template = self._slots, self.plan.template
        rows: list[bytes] = []
        keys: list[Key | None] = []
        misfits: Misfits = {}
        for at, row in enumerate(values):
            cells = template.copy()
            for name, value in row.items():
                if value is not None:
                    cell, encode = slots[name]
                    data = encode(value)
                    if data is None:
                        misfits.setdefault(at, {})[name] = value
                    else:
                        cells[cell] = data
            rows.append(b"".join(cells))
            keys.append(self._key_of(cells))
        return _Block(rows, keys, misfits)

    def _key_of(self, cells: list[bytes]) -> Key | None:
        key = tuple(cells[cell] for cell in self._key_cells)
        return None if not key or NULL in key else key[0] if len(key) == 1 else key

    def _place(self, block: _Block) -> None:
        """Append the rows, folding each into the one with its key."""
        out, seen = self._out, self._seen
        first = len(out)
        places: Sequence[int] = range(first, first + len(block.rows))
        fresh = set(block.keys)
        if not self._key_cells:
            out += block.rows
        elif None not in fresh and len(fresh) == len(block.rows) and seen.keys().isdisjoint(fresh):
            seen.update(zip(block.keys, places, strict=True))  # type: ignore[arg-type]
            out += block.rows
        else:
            places = list(map(self._place_one, block.rows, block.keys or repeat(None)))
        for at, values in sorted(block.misfits.items()):  # in offset order, for they may be one row now
            self._set_aside(places[at], values)

    def _place_one(self, row: bytes, key: Key | None) -> int:
        """Its place in `_out`."""
        place = len(self._out)
        if key is not None:
            place = self._seen.setdefault(key, place)
        if place < len(self._out):
            self._out[place] = self._folded(self._out[place], row)
            return place
        self._out.append(row)
        if key is None:
            self._loose.append(place)
        return place

    def _folded(self, earlier: bytes, later: bytes) -> bytes:
        if self.plan.options.existing_wins:
            earlier, later = later, earlier
        pairs = zip(split_row(earlier), split_row(later), strict=True)
        return b"".join([old if new == NULL else new for old, new in pairs])

    def _set_aside(self, place: int, values: dict[str, Value]) -> None:
        self.unmapped_values += len(values)
        self.overflow_values += sum(name in self._overflow for name in values)
        before = self._unmapped.get(place, {})
        self._unmapped[place] = values | before if self.plan.options.existing_wins else before | values


def _transposed(values: list[dict[str, Value]], names: set[str]) -> Iterable[tuple[str, Sequence[Value]]]:
    """Each name with its values, one for each row."""
    try:
        if len(names) > 1:
            return zip(names, zip(*map(itemgetter(*names), values), strict=True), strict=True)
    except KeyError:  # not all of them in every row
        pass
    return ((name, [row.get(name) for row in values]) for name in names)


Encoded = Mapping[str, Encoding]
"""A batch: table → its rows as bytes."""
