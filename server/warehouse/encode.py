"""The rows of a batch for one table, as bytes in the order of loading. CPU only, in slices that give the loop back.

Folding: rows that are one row to the merge key become one before they are loaded, in offset order, by the merge's own
rule (a later value wins, nothing never overwrites). It works on encoded cells, so what is equal here is equal in the
column, and any split of a row sequence into batches gives the same table. Rows without a key value stay alone.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence

from server.warehouse.batch import Row, Value
from server.warehouse.copy import NULL, raw_json_cell, split_row
from server.warehouse.plan import Plan, Slot
from server.warehouse.schema import UNMAPPED
from server.warehouse.types import ColumnType, infer, json_object, promote

Cells = list[bytes]
Key = bytes | tuple[bytes, ...]


class Encoding:
    """One pass over `rows` under a plan. If `complete` is false afterwards, the plan must learn first and a new pass run."""

    def __init__(self, plan: Plan, rows: Sequence[Row], overflow: Mapping[str, Slot], *, fold: bool) -> None:
        self._plan = plan
        self._rows = rows
        self._slots = {**plan.slots, **overflow} if overflow else plan.slots
        self._at = 0
        self._key_cells = plan.key_cells if fold else ()
        self._seen: dict[Key, int] = {}
        self._out: list[bytes] = []
        self._loose: list[int] = []
        self._unmapped: dict[int, dict[str, Value]] = {}
        self._unmapped_cell = plan.cell_of(UNMAPPED)
        self.missing: dict[str, ColumnType] = {}
        self.unmapped_values = 0

    async def run(self, slice_s: float) -> None:
        """Encode everything, never holding the loop for much longer than `slice_s`."""
        while not self._slice(time.perf_counter() + slice_s):
            await asyncio.sleep(0)
        for at, values in self._unmapped.items():
            self._out[at] = self._with_unmapped(self._out[at], values)

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
        """By key, so that two flushes lock the rows of a table in one order; then rows without one, by offset."""
        out = self._out
        if not self._key_cells:
            return iter(out)
        keyed = (out[at] for _, at in sorted(self._seen.items()))
        loose = (out[at] for at in self._loose)
        return (row for part in (keyed, loose) for row in part)

    def _slice(self, until_s: float) -> bool:
        rows, slots, template = self._rows, self._slots, self._plan.template
        clock = time.perf_counter
        while self._at < len(rows):
            row = rows[self._at]
            self._at += 1
            cells = template.copy()
            misfits: dict[str, Value] | None = None
            try:
                for name, value in row.values.items():
                    if value is not None:
                        cell, encode = slots[name]
                        data = encode(value)
                        if data is not None:
                            cells[cell] = data
                        elif misfits is None:
                            misfits = {name: value}
                        else:
                            misfits[name] = value
            except KeyError:
                self._learn(row.values)
                continue
            at = self._place(cells)
            if misfits is not None:
                self._set_aside(at, misfits)
            if clock() >= until_s:
                return self._at == len(rows)
        return True

    def _place(self, cells: Cells) -> int:
        """Append the row, or fold it into the one with its key; its place in `_out`."""
        out = self._out
        at = len(out)
        if not self._key_cells:
            out.append(b"".join(cells))
            return at
        key = self._key_of(cells)
        if key is None:
            self._loose.append(at)
            out.append(b"".join(cells))
            return at
        first = self._seen.setdefault(key, at)
        if first == at:
            out.append(b"".join(cells))
        else:
            out[first] = b"".join(self._folded(split_row(out[first]), cells))
        return first

    def _key_of(self, cells: Cells) -> Key | None:
        if len(self._key_cells) == 1:
            key = cells[self._key_cells[0]]
            return None if key is NULL else key
        keys = tuple(cells[cell] for cell in self._key_cells)
        return None if any(key is NULL for key in keys) else keys

    def _folded(self, earlier: Cells, later: Cells) -> Cells:
        if self._plan.options.existing_wins:
            earlier, later = later, earlier
        return [old if new == NULL else new for old, new in zip(earlier, later, strict=True)]

    def _set_aside(self, at: int, misfits: dict[str, Value]) -> None:
        self.unmapped_values += len(misfits)
        before = self._unmapped.get(at, {})
        self._unmapped[at] = misfits | before if self._plan.options.existing_wins else before | misfits

    def _with_unmapped(self, row: bytes, values: dict[str, Value]) -> bytes:
        if self._unmapped_cell is None:
            return row
        cells = split_row(row)
        cells[self._unmapped_cell] = raw_json_cell(json_object(values))
        return b"".join(cells)

    def _learn(self, values: dict[str, Value]) -> None:
        for name, value in values.items():
            if value is not None and name not in self._slots:
                self.missing[name] = promote(self.missing.get(name), infer(value))
