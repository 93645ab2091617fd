"""From bytes to rows of the table, inside the transaction of a flush.

With a merge key (or whenever a column is not of a wire type): COPY into a temporary table, then INSERT …
SELECT … ON CONFLICT. Without: COPY straight into the table. Staging tables belong to the connection and are
kept; their columns are pools by wire type (t0, t1, … text, i0, … bigint), so one table serves every shape
and Postgres empties it at COMMIT. It looks at all of them then, so they are few: a batch of many tables uses
one after the other.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from server.warehouse.connection import Session
from server.warehouse.copy import copy_stream
from server.warehouse.names import quote
from server.warehouse.plan import Plan
from server.warehouse.schema import STREAM, UNMAPPED, Column
from server.warehouse.types import ColumnType

ORDINAL: Final = "n"
_POOLS: Final = {
    ColumnType.TEXT: "t",
    ColumnType.BIGINT: "i",
    ColumnType.DOUBLE: "f",
    ColumnType.TIMESTAMPTZ: "z",
    ColumnType.BOOLEAN: "b",
    ColumnType.JSONB: "j",
}
_POOL_TYPE: Final = {letter: kind.value for kind, letter in _POOLS.items()}
STAGING_MAX: Final = 16
"""Staging tables of a connection, unless a batch has more tables with hundreds of columns."""

_STAGING_COLUMNS_MAX: Final = 1200


class Staging:
    """A staging table as seen by one plan. `used`: by a table of the batch before this one."""

    def __init__(self, plan: Plan) -> None:
        self.name = ""
        self.used = False
        self.need: dict[str, int] = {}
        self.columns = [self._pooled(column.wire) for column in plan.columns]

    def _pooled(self, wire: ColumnType) -> str:
        letter = _POOLS[wire]
        at = self.need.get(letter, 0)
        self.need[letter] = at + 1
        return f"{letter}{at}"

    async def begin(self, session: Session) -> None:
        """Before its rows are copied."""
        if self.used:
            await session.execute(f"DELETE FROM pg_temp.{self.name}")

    async def prepare(self, session: Session) -> None:
        """Make or widen the table; outside of any transaction, so that a rollback does not take it away."""
        have = session.staging.get(self.name)
        if have is not None and sum(_joined(have, self.need).values()) > _STAGING_COLUMNS_MAX:
            await session.execute(f"DROP TABLE pg_temp.{self.name}")
            del session.staging[self.name]
            have = None
        if have is None:
            columns = ", ".join([f"{ORDINAL} int4", *_pool_columns({}, self.need)])
            await session.execute(f"CREATE TEMP TABLE {self.name} ({columns}) ON COMMIT DELETE ROWS")
            session.staging[self.name] = dict(self.need)
            return
        added = [f"ADD COLUMN {column}" for column in _pool_columns(have, self.need)]
        if added:
            await session.execute(f"ALTER TABLE pg_temp.{self.name} {', '.join(added)}")
            session.staging[self.name] = _joined(have, self.need)


def share(stagings: Sequence[Staging]) -> None:
    """Give the tables of one batch their staging tables: each is wide enough for all that use it in turn."""
    needs: list[dict[str, int]] = []
    for at, staging in enumerate(stagings):
        number = at % STAGING_MAX
        staging.used = number < len(needs)
        joined = _joined(needs[number], staging.need) if staging.used else staging.need
        if sum(joined.values()) > _STAGING_COLUMNS_MAX:
            number, joined, staging.used = len(needs), staging.need, False
        needs[number : number + 1] = [joined]
        staging.name = f"penstock_staging_{number}"
    by_name = {f"penstock_staging_{number}": need for number, need in enumerate(needs)}
    for staging in stagings:
        staging.need = by_name[staging.name]


def _joined(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {letter: max(one.get(letter, 0), other.get(letter, 0)) for letter in one | other}


def _pool_columns(have: dict[str, int], need: dict[str, int]) -> list[str]:
    return [
        f"{letter}{at} {_POOL_TYPE[letter]}"
        for letter, count in need.items()
        for at in range(have.get(letter, 0), count)
    ]


async def copy_rows(
    session: Session, schema: str, table: str, columns: list[str], rows: Iterable[bytes]
) -> None:
    """COPY; the stall limit runs anew each time the socket takes a chunk."""
    loop, connection = asyncio.get_running_loop(), session.connection
    limit_s = session.limits.stall_timeout_s
    try:
        async with asyncio.timeout(limit_s) as stall:

            def lost(_connection: object) -> None:
                # asyncpg waits until a full socket drains, and goes on waiting when it is lost meanwhile.
                if not stall.expired():
                    stall.reschedule(loop.time())

            connection.add_termination_listener(lost)
            try:
                await connection.copy_to_table(
                    table,
                    schema_name=schema,
                    columns=columns,
                    format="binary",
                    source=copy_stream(rows, lambda: stall.reschedule(loop.time() + limit_s)),
                )
            finally:
                connection.remove_termination_listener(lost)
    except (AttributeError, TimeoutError) as error:
        # asyncpg writes to its transport without looking whether it is still there.
        if not connection.is_closed():
            raise
        raise ConnectionResetError("the connection was lost in the middle of COPY") from error


async def load(session: Session, plan: Plan, staging: Staging | None, rows: Iterable[bytes]) -> None:
    """Put the encoded rows where they belong. `staging` is None for a straight COPY."""
    if staging is None:
        names = [column.name for column in plan.columns]
        await copy_rows(session, plan.shape.schema, plan.shape.name, names, rows)
        return
    await staging.begin(session)
    await copy_rows(session, "pg_temp", staging.name, staging.columns, rows)
    await merge(session, plan, staging, "")


async def merge(session: Session, plan: Plan, staging: Staging, rows: str) -> None:
    """Merge the staged rows that satisfy `rows` (SQL, "" = all). Rows that leave a defaulted column open go
    apart.
    """
    defaulted = plan.defaulted_cells
    if not defaulted:
        await session.execute(merge_sql(plan, staging, rows, frozenset()))
        return
    gaps = ", ".join(f"s.{staging.columns[cell - 1]} IS NULL" for cell in defaulted)
    sql = f"SELECT DISTINCT {gaps} FROM pg_temp.{staging.name} s {_where(rows)} ORDER BY {gaps}"
    for pattern in await session.step(session.connection.fetch(sql)):
        open_cells = frozenset(cell for cell, is_open in zip(defaulted, pattern, strict=True) if is_open)
        tests = [
            f"s.{staging.columns[cell - 1]} IS {'NULL' if cell in open_cells else 'NOT NULL'}"
            for cell in defaulted
        ]
        await session.execute(
            merge_sql(plan, staging, " AND ".join([*tests, *([rows] if rows else [])]), open_cells)
        )


def merge_sql(plan: Plan, staging: Staging, rows: str, left_out: frozenset[int]) -> str:
    """INSERT … SELECT …, with ON CONFLICT if the plan has a key; columns of cells in `left_out` keep their
    defaults.
    """
    pairs = [
        (column, staged)
        for cell, (column, staged) in enumerate(zip(plan.columns, staging.columns, strict=True), 1)
        if cell not in left_out
    ]
    names = ", ".join(quote(column.name) for column, _ in pairs)
    values = ", ".join(f"s.{staged}{column.cast}" for column, staged in pairs)
    order = f" ORDER BY s.{ORDINAL}" if rows and ORDINAL in rows else ""
    insert = (
        f"INSERT INTO {quote(plan.shape.schema)}.{quote(plan.shape.name)} AS t ({names}) "
        f"SELECT {values} FROM pg_temp.{staging.name} s {_where(rows)}{order}"
    )
    if plan.key is None:
        return insert
    key = ", ".join(quote(name) for name in plan.key.columns)
    sets = [
        _set(column, plan.options.existing_wins)
        for column, _ in pairs
        if column.name != STREAM and column.name not in plan.key.columns
    ]
    action = f"UPDATE SET {', '.join(sets)}" if sets else "NOTHING"
    return f"{insert} ON CONFLICT ({key}) DO {action}"


def _where(rows: str) -> str:
    return f"WHERE {rows}" if rows else ""


def _set(column: Column, existing_wins: bool) -> str:
    name = quote(column.name)
    old, new = f"t.{name}", f"EXCLUDED.{name}"
    first, second = (old, new) if existing_wins else (new, old)
    if column.name == UNMAPPED:
        # Of two JSON objects the right one wins.
        return f"{name} = COALESCE({second} || {first}, {first}, {second})"
    return f"{name} = COALESCE({first}, {second})"
