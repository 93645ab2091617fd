"""What a table should have besides its columns, and can do without for a while: an index on the
timestampColumn, and the partitions of the days to come.

Invariants: nothing here refuses a row, or holds one up for longer than a short lock (a day without a
partition goes to the default one, and is moved when it gets its own); what failed is told in `warnings` and
tried again after `upkeep_retry_s`. An index on a table that exists is built in the background, CONCURRENTLY,
one at a time and on a connection beside those of the flushes. Thread: the event loop.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from server.warehouse import ddl
from server.warehouse.connection import Connections, Session
from server.warehouse.errors import TRANSLATED, Unavailable, WarehouseError, unavailable
from server.warehouse.limits import Limits
from server.warehouse.names import column_name, own_name, quote, quote_literal
from server.warehouse.rows import AnyRow, TableOptions
from server.warehouse.schema import TableShape
from server.warehouse.types import ColumnType, to_timestamp_us

_AHEAD: Final = 2  # tomorrow and the day after
_DAY: Final = timedelta(days=1)

_log: Final = logging.getLogger("penstock.warehouse")


class Upkeep:
    """Of the tables of one destination. `learned` is told the new shape of a table that was changed."""

    def __init__(
        self, connections: Connections, limits: Limits, learned: Callable[[TableShape], None]
    ) -> None:
        self.warnings: dict[tuple[str, str], str] = {}
        self._connections = connections
        self._limits = limits
        self._learned = learned
        self._not_before_s: dict[tuple[str, str], float] = {}
        self._builds: set[asyncio.Task[None]] = set()
        self._building = asyncio.Lock()

    async def look_after(self, shape: TableShape, rows: Sequence[AnyRow], options: TableOptions) -> None:
        """Before rows are loaded: give the table the days that it lacks; begin the index. Raises nothing."""
        if options.timestamp_column:
            self._index(shape, column_name(options.timestamp_column))
        if shape.partitions is not None and shape.ours:
            await self._add_days(shape, rows)
        elif options.partition == "day" and not shape.partitioned:
            self._warn(shape, "partition", "exists and is not partitioned: it stays as it is")

    async def close(self) -> None:
        """Give up the builds under way."""
        for build in self._builds:
            build.cancel()
        await asyncio.gather(*self._builds, return_exceptions=True)

    def _index(self, shape: TableShape, name: str) -> None:
        column = shape.columns.get(name)
        if column is None or column.indexed:
            return
        if column.wire is not ColumnType.TIMESTAMPTZ or not column.exact:
            kind = f"is {column.sql_type}, not timestamp with time zone: it gets no index"
            self._warn(shape, name, f"has a timestampColumn {quote(name)} that {kind}")
        elif self._is_due(shape, name):
            self._not_before_s[shape.name, name] = math.inf  # unless it fails
            build = asyncio.create_task(self._build(shape, name))
            self._builds.add(build)
            build.add_done_callback(self._builds.discard)

    async def _build(self, shape: TableShape, column: str) -> None:
        try:
            async with self._building, self._connections.aside() as session:
                await add_index(session, shape, column)
        except (*TRANSLATED, WarehouseError) as error:
            self._failed(shape, column, f"has no index on {quote(column)} yet", error)
        else:
            self.warnings.pop((shape.name, column), None)

    async def _add_days(self, shape: TableShape, rows: Sequence[AnyRow]) -> None:
        assert shape.partitions is not None, "the caller has looked"
        column = shape.partitions.column
        lacking = [
            day for day in days_of(rows, column, self._limits.days_max) if not shape.partitions.cover(day)
        ]
        if not lacking or not self._is_due(shape, "partition"):
            return
        try:
            for day in lacking:
                async with self._connections.turn() as session:
                    shape = await ddl.add_day(session, shape, day)
        except (*TRANSLATED, WarehouseError) as error:
            self._failed(shape, "partition", "has no partition for every day yet", error)
        else:
            self.warnings.pop((shape.name, "partition"), None)
        self._learned(shape)

    def _is_due(self, shape: TableShape, what: str) -> bool:
        now_s = time.monotonic()
        return now_s >= self._not_before_s.get((shape.name, what), now_s)

    def _failed(self, shape: TableShape, what: str, words: str, error: BaseException) -> None:
        self._not_before_s[shape.name, what] = time.monotonic() + self._limits.upkeep_retry_s
        told = error if isinstance(error, WarehouseError) else unavailable("tried", error)
        self._warn(shape, what, f"{words}: {told.reason}" + (f": {told.hint}" if told.hint else ""))

    def _warn(self, shape: TableShape, what: str, words: str) -> None:
        warning = f"table {shape.name} {words}"
        if self.warnings.get((shape.name, what)) != warning:
            self.warnings[shape.name, what] = warning
            _log.warning("%s", warning)


def days_of(rows: Sequence[AnyRow], column: str, days_max: int) -> list[date]:
    """The UTC days that a partitioned table should have now: today and those ahead, then those of the rows.

    Rows come in the order of receipt: what lies between the first and the last of them is not looked at.
    """
    today = datetime.now(UTC).date()
    ahead = [today + _DAY * n for n in range(_AHEAD + 1)]
    said = (
        [day for row in (rows[0], rows[-1]) if (day := _day(row.values.get(column))) is not None]
        if rows
        else []
    )
    if not said:
        return ahead
    first, last = min(said), min(max(said), today)
    between = (first + _DAY * n for n in range(min(days_max, (last - first).days + 1)))
    return list(dict.fromkeys([*ahead, *between]))


def _day(value: object) -> date | None:
    us = to_timestamp_us(value) if isinstance(value, str) else None
    return None if us is None else (datetime(2000, 1, 1) + timedelta(microseconds=us)).date()


async def add_index(session: Session, shape: TableShape, column: str) -> None:
    """Index a column of a table that has rows, without holding up who writes to it.

    Raises asyncpg's errors, or Unavailable if another process is at it. The lock and the limit set here end
    with the session. A build that did not end leaves a useless index, which goes first the next time.
    """
    target = f"{quote(shape.schema)}.{quote(shape.name)}"
    # Of this very table: one that was renamed keeps its indexes, and their names.
    oid = await session.step(session.connection.fetchval("SELECT to_regclass($1)::oid", target))
    name = own_name(shape.name, f"index:{ddl.digest((oid, column))}")
    lock = f"pg_try_advisory_lock(hashtextextended({quote_literal('penstock index ' + target)}, 0))"
    # Not to be waited for: a session that waits counts as a transaction that the build itself waits for.
    if not await session.step(session.connection.fetchval(f"SELECT {lock}")):
        raise Unavailable("another process builds it at this moment")
    concurrently = "" if shape.partitioned else "CONCURRENTLY"
    seconds = session.limits.index_timeout_s
    await session.execute(f"SET statement_timeout = {int(seconds * 1000)}")
    await session.execute(f"DROP INDEX {concurrently} IF EXISTS {quote(shape.schema)}.{quote(name)}", seconds)
    sql = f"CREATE INDEX {concurrently} {quote(name)} ON {target} ({quote(column)})"
    await session.execute(sql, seconds + session.limits.connect_timeout_s)
