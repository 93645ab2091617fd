"""The tables of one destination as it knows them, and the decision what happens to a name without a column.

`Tables` turns the rows of a batch into loads (plan + bytes), reading and growing tables on the way. What it
remembers of a table can be stale; `forget` makes the next batch look again.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter

from server.warehouse import ddl
from server.warehouse.batch import AnyRow, TableOptions
from server.warehouse.connection import Connections, Session
from server.warehouse.encode import Breathe, Encoding
from server.warehouse.errors import TRANSLATED, Refused, RowsRefused, Unavailable, unavailable
from server.warehouse.limits import Limits
from server.warehouse.locks import touching
from server.warehouse.names import column_name, table_name
from server.warehouse.plan import (
    NO_SLOT,
    Plan,
    Slot,
    by_day,
    choose_key,
    lacks_key,
    new_plan,
    spent_keys,
    wanted_key,
)
from server.warehouse.rows import Row
from server.warehouse.schema import STREAM, UNMAPPED, TableShape, count_tables, present, read_table
from server.warehouse.types import ColumnType, infer, promote
from server.warehouse.upkeep import days_of

_PASSES_MAX = (
    6  # learn names, grow, add _unmapped_data; more means that somebody else keeps changing the table
)
WANTED_TABLE = "/JITSU_TABLE_NAME"
"""Under this name a row in the generic table says where it was to go."""

_TAKEN = "42710"
_MINUTE_S = 60.0
_SLOTS_MAX = 8192  # names that differ only in what identifiers cannot hold share columns; then begin anew


class Tables:
    """The cache of shapes and plans, and the growth limits."""

    def __init__(self, schema: str, connections: Connections, limits: Limits) -> None:
        self._schema = schema
        self._connections = connections
        self._limits = limits
        self._shapes: dict[str, TableShape] = {}
        self._plans: dict[tuple[str, str, TableOptions], Plan] = {}
        self._growth: dict[str, tuple[float, int]] = {}
        self._counts: dict[str, tuple[float, int]] = {}
        self._ahead: set[tuple[str, str]] = set()
        self._new_tables: dict[str, set[str]] = defaultdict(set)
        self.columns_added = 0

    def learned(self, shape: TableShape) -> None:
        """The table was changed by somebody who has read it anew."""
        self.forget([shape.name])
        self._shapes[shape.name] = shape

    async def admit(
        self, grouped: dict[str, list[AnyRow]], options: TableOptions, owner: str
    ) -> tuple[dict[str, list[AnyRow]], int]:
        """The rows by the table that takes them, and how many of them go to the generic one because the link
        may have no more tables. These keep the name of the table they are meant for in `_unmapped_data`.
        """
        spare = await self._beyond_cap(grouped, options, owner)
        if not spare:
            return grouped, 0
        generic = table_name(options.generic_table)
        if not self._ahead.isdisjoint(known := {(table, owner) for table in spare}):
            self._ahead -= known
            self.forget([generic])  # what was encoded ahead for it lacks the rows that are moved there now
        kept = {table: rows for table, rows in grouped.items() if table not in spare}
        moved: list[AnyRow] = [
            Row(row.offset, generic, {**row.values, WANTED_TABLE: table})
            for table in spare
            for row in grouped[table]
        ]
        kept[generic] = sorted([*kept.get(generic, []), *moved], key=attrgetter("offset"))
        return kept, len(moved)

    async def _beyond_cap(self, tables: Iterable[str], options: TableOptions, owner: str) -> list[str]:
        """Which of the tables would have to be made and may not be."""
        free = {table_name(options.generic_table), *map(table_name, options.trusted_tables)}
        mine = self._new_tables[owner]  # a link flushes one batch at a time: nobody else adds to it meanwhile
        unknown = [t for t in tables if t not in self._shapes and t not in free and t not in mine]
        if not unknown:
            return []
        async with self._connections.turn() as session:
            there = await present(session, self._schema, unknown)
            new = [table for table in unknown if table not in there]
            if len(new) > self._room(owner) and self._may_count(owner):
                await self._count(session, owner, free)
                mine.intersection_update(set(tables) - self._shapes.keys())  # the others were counted
        room = self._room(owner)
        mine.update(new[:room])
        return new[room:]

    def _room(self, owner: str) -> int:
        """How many tables the link may still have, by what was counted and what it was let make since."""
        counted = self._counts.get(owner)
        if counted is None:
            return 0
        return max(0, self._limits.tables_max - counted[1] - len(self._new_tables[owner]))

    def _may_count(self, owner: str) -> bool:
        counted = self._counts.get(owner)
        return counted is None or time.monotonic() - counted[0] >= self._limits.upkeep_retry_s

    async def _count(self, session: Session, owner: str, free: Collection[str]) -> None:
        """Count the tables of a link: again, for those that were dropped make room."""
        there = await present(session, self._schema, list(self._shapes))
        self.forget([table for table in self._shapes if table not in there])
        count = await count_tables(session, self._schema, owner, free)
        self._counts[owner] = (time.monotonic(), count)

    def forget(self, tables: Sequence[str]) -> None:
        """Read these tables again before they are used."""
        for table in tables:
            self._shapes.pop(table, None)
        self._plans = {place: plan for place, plan in self._plans.items() if place[0] not in tables}

    async def encode(
        self, table: str, rows: Sequence[AnyRow], options: TableOptions, owner: str, *, fold: bool = True
    ) -> Encoding:
        """The rows as bytes, for a `reachable` table; afterwards it has every column that they need."""
        plan = self._plans.get((table, owner, options))
        if plan is None or len(plan.slots) > _SLOTS_MAX:
            plan = await self._planned(table, rows, options, owner)
        overflow: dict[str, Slot] = {}
        for _ in range(_PASSES_MAX):
            encoding = Encoding(plan, rows, overflow, fold=fold)
            await encoding.run(self._limits.slice_s)
            if encoding.complete:
                return encoding
            learned = await self._learn(plan, encoding, overflow, owner)
            if learned is None:
                overflow.clear()
                learned = await self._planned(table, rows, options, owner)
            plan = learned
        raise _restless(table)

    async def encode_ahead(
        self, table: str, rows: Sequence[AnyRow], options: TableOptions, owner: str, breathe: Breathe
    ) -> Encoding | None:
        """The rows as bytes by what is known, without a question to the server; None if that is not enough.

        Good for a load as long as `is_current` says so of its plan.
        """
        plan = self._plans.get((table, owner, options))
        if plan is None:
            return None
        encoding = Encoding(plan.frozen(), rows, {}, fold=True)
        await encoding.run(self._limits.slice_s, breathe)
        if not encoding.complete:
            return None
        self._ahead.add((table, owner))
        return encoding

    def is_current(self, plan: Plan) -> bool:
        """Whether the table is still what it was when the plan was made, as far as is known here."""
        return self._shapes.get(plan.shape.name) is plan.shape

    async def reachable(self, table: str, rows: Sequence[AnyRow], options: TableOptions) -> TableShape | None:
        """The table; None if it is yet to be made. RowsRefused or Unavailable if it is not for them."""
        shape = await self._shape(table)
        if shape is None:
            return None
        if not shape.ours and not _is_trusted(table, options):
            raise _refused(
                rows, f"table {table} was not made by Penstock, and events do not reach tables of others"
            )
        if not shape.loadable:
            raise Unavailable(f"{table} is not a table", "rows can be loaded into tables only")
        unmapped = shape.columns.get(UNMAPPED)
        # Objects of json cannot be merged, only those of jsonb.
        if unmapped is not None and (
            unmapped.wire is not ColumnType.JSONB or (options.merge_key and not unmapped.exact)
        ):
            raise Unavailable(f"column {UNMAPPED} of table {table} is {unmapped.sql_type}", "make it jsonb")
        return shape

    async def _shape(self, table: str) -> TableShape | None:
        if table not in self._shapes:
            async with self._connections.turn() as session:
                shape = await read_table(session, self._schema, table)
            if shape is None:
                return None
            self._shapes[table] = shape
        return self._shapes[table]

    async def _planned(self, table: str, rows: Sequence[AnyRow], options: TableOptions, owner: str) -> Plan:
        """A plan that merges if the link does: the table is made, or given its key, as often as it is found
        without.
        """
        for _ in range(_PASSES_MAX):
            shape = await self.reachable(table, rows, options)
            key = None if shape is None else choose_key(shape, options)
            if shape is None or lacks_key(shape, options, key):
                wanted = self._first(table, shape, rows, options, owner)
            elif spent := spent_keys(shape, owner, key):
                trusted = _is_trusted(table, options)
                wanted = ddl.Wanted(
                    self._schema, table, {}, spent=spent, owner=owner, seen=True, trusted=trusted
                )
            else:
                plan = self._plans[table, owner, options] = new_plan(shape, options, key)
                return plan
            try:
                await self._grow(wanted)
            except ddl.Gone:
                continue
            except Unavailable as error:
                if wanted.trusted or error.sqlstate != _TAKEN:
                    raise
                raise _refused(rows, f"table {table} cannot be made: a type is called so") from error
        raise _restless(table)

    def _first(
        self, table: str, shape: TableShape | None, rows: Sequence[AnyRow], options: TableOptions, owner: str
    ) -> ddl.Wanted:
        """What a table needs before its first plan: the stream, the key, and (if it is new) the timestamp
        column.
        """
        by = by_day(shape, options)
        key = wanted_key(options, by)
        columns = {STREAM: ColumnType.TEXT}
        indexed = None
        if shape is None and options.timestamp_column:
            indexed = column_name(options.timestamp_column)
            columns[indexed] = ColumnType.TIMESTAMPTZ
        if by is not None:
            columns[by] = ColumnType.TIMESTAMPTZ
        for name in key:
            columns.setdefault(name, _key_type(name, rows))
        return ddl.Wanted(
            self._schema,
            table,
            columns,
            key=(STREAM, *key) if key else (),
            owner=owner,
            seen=shape is not None,
            indexed=indexed,
            trusted=_is_trusted(table, options),
            by_day=by,
            days=tuple(days_of(rows, by, self._limits.days_max)) if by else (),
        )

    async def _grow(self, wanted: ddl.Wanted) -> TableShape:
        try:
            async with self._connections.turn() as session:
                with touching(wanted.schema, wanted.table, change=True):
                    shape = await ddl.make(session, wanted)
        except TRANSLATED as error:
            # Not the fault of a row whatever its class: a unique index that cannot be built says 23505 too.
            self.forget([wanted.table])
            raise unavailable(f"change table {wanted.target}", error) from error
        except ddl.Gone:
            self.forget([wanted.table])
            raise
        self.learned(shape)
        return shape

    async def _learn(
        self, plan: Plan, encoding: Encoding, overflow: dict[str, Slot], owner: str
    ) -> Plan | None:
        """Give every name of the pass a slot: an existing column, a new one, or none for this batch. None if
        the table, or its key, is no longer there: then a new plan is due.
        """
        absent = {raw: kind for raw, kind in encoding.missing.items() if not plan.take(raw)}
        new = self._admitted(plan, absent)
        if encoding.wants_unmapped and UNMAPPED not in plan.shape.columns:
            new[UNMAPPED] = ColumnType.JSONB
        if new:
            shape = await self._widened(plan, new, owner)
            if shape is None or lacks_key(shape, plan.options, choose_key(shape, plan.options)):
                self.forget([plan.shape.name])
                return None
            plan = self._replanted(plan, shape, absent, owner)
        if encoding.wants_unmapped:
            plan.use(UNMAPPED)
        overflow.update((raw, NO_SLOT) for raw in absent if raw not in plan.slots)
        return plan

    async def _widened(self, plan: Plan, new: Mapping[str, ColumnType], owner: str) -> TableShape | None:
        """The table with the columns; None if it is gone. Only columns that were made use up the budget."""
        table, trusted = plan.shape.name, _is_trusted(plan.shape.name, plan.options)
        wanted = ddl.Wanted(self._schema, table, new, owner=owner, seen=True, trusted=trusted)
        budgeted = len(new.keys() - {UNMAPPED})
        self._use_up(table, budgeted)  # at once: other links widen the table at the same time
        made = False
        try:
            shape = await self._grow(wanted)
            made = True
        except ddl.Gone:
            return None
        finally:
            if not made:
                self._use_up(table, -budgeted)
        self.columns_added += len(new)
        return shape

    def _replanted(self, old: Plan, shape: TableShape, names: Iterable[str], owner: str) -> Plan:
        plan = new_plan(shape, old.options, choose_key(shape, old.options))
        for raw in (*old.slots, *names):
            plan.take(raw)
        self._plans[shape.name, owner, old.options] = plan
        return plan

    def _admitted(self, plan: Plan, absent: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
        """Which of the names may become columns; the others go to `_unmapped_data` in this batch."""
        new: dict[str, ColumnType] = {}
        if plan.options.schema_freeze:
            return new
        shape, limits = plan.shape, self._limits
        room = min(
            limits.columns_max - 1 - len(shape.columns),  # one is for `_unmapped_data`
            limits.columns_ever_max - 1 - shape.columns_ever,
            self._allowance(shape.name),
        )
        for raw, kind in absent.items():
            name = column_name(raw)
            if name in new or len(new) < room:
                new[name] = promote(new.get(name), kind)
        return new

    def _use_up(self, table: str, columns: int) -> None:
        begun, used = self._growth.get(table, (time.monotonic(), 0))
        self._growth[table] = (begun, max(0, used + columns))

    def _allowance(self, table: str) -> int:
        """New columns that the table may still get within the current minute."""
        now = time.monotonic()
        begun, used = self._growth.get(table, (now, 0))
        if now - begun >= _MINUTE_S:
            begun, used = now, 0
        self._growth[table] = (begun, used)
        return self._limits.new_columns_per_minute - used


def _refused(rows: Sequence[AnyRow], reason: str) -> RowsRefused:
    return RowsRefused([Refused(row.offset, reason, "") for row in rows])


def _restless(table: str) -> Unavailable:
    return Unavailable(f"table {table} keeps changing while a batch is prepared for it")


def _is_trusted(table: str, options: TableOptions) -> bool:
    return table in map(table_name, options.trusted_tables)


def _key_type(name: str, rows: Sequence[AnyRow]) -> ColumnType:
    """The type of a key column to be made. Text that looks like a time stays text: the next id may not."""
    kind: ColumnType | None = None
    said = [row.values for row in rows]
    named = [raw for raw in set().union(*said) if column_name(raw) == name]
    for value in (values.get(raw) for values in said for raw in named):
        if value is not None:
            kind = promote(kind, ColumnType.TEXT if isinstance(value, str) else infer(value))
    return kind or ColumnType.TEXT
