"""Tables that somebody else holds: which one it is, who holds it, and whether it is free again.

A lock that is waited for in vain names no table, so whoever touches one says which (`touching`). Functions
that take a session raise asyncpg's errors untranslated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from server.warehouse.connection import Session
from server.warehouse.errors import Unavailable, sqlstate
from server.warehouse.names import quote, quote_literal

LOCKED: Final = "55P03"
_READS: Final = ("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock")
_HOLDER: Final = """
SELECT a.pid, a.usename::text AS username, a.application_name AS application, l.mode,
       extract(epoch FROM clock_timestamp() - a.xact_start)::bigint AS seconds
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND n.nspname = $1 AND c.relname = $2 AND NOT l.mode = ANY ($3)
ORDER BY a.xact_start NULLS LAST LIMIT 1
"""


class TableLocked(Unavailable):
    """Nothing of the batch landed: somebody holds `table`.

    `change`: it is the table itself that was to be changed (a new column), not only rows to be written.
    """

    def __init__(self, schema: str, table: str, change: bool, holder: str = "") -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(
            f"table {quote(schema)}.{quote(table)} is locked{by}",
            "its events wait until the lock is released",
            LOCKED,
        )
        self.schema = schema
        self.table = table
        self.change = change


@contextmanager
def touching(schema: str, table: str, *, change: bool = False) -> Iterator[None]:
    """Says which table it was if a lock within is not to be had."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if sqlstate(error) != LOCKED:
            raise
        raise TableLocked(schema, table, change) from error


def advisory(target: str) -> str:
    """The SQL value of the advisory lock under which processes change a table in turns."""
    return f"hashtextextended({quote_literal('penstock ' + target)}, 0)"


async def holder(session: Session, locked: TableLocked) -> str:
    """Who holds the table, for people; "" if nobody does any more, or rows of it only."""
    harmless = () if locked.change else _READS
    row = await session.step(session.connection.fetchrow(_HOLDER, locked.schema, locked.table, harmless))
    if row is None:
        return ""
    said = [f"user {row['username']}", row["application"] or "", row["mode"]]
    said.append("" if row["seconds"] is None else f"for {row['seconds']} s")
    return f"pid {row['pid']} ({', '.join(filter(None, said))})"


async def is_free(session: Session, locked: TableLocked) -> bool:
    """Whether the lock could be had now, without waiting for it."""
    target = f"{quote(locked.schema)}.{quote(locked.table)}"
    mode = "ACCESS EXCLUSIVE" if locked.change else "ROW EXCLUSIVE"
    try:
        await session.execute("BEGIN")
        if locked.change and not await session.step(
            session.connection.fetchval(f"SELECT pg_try_advisory_xact_lock({advisory(target)})")
        ):
            return False
        await session.execute(f"LOCK TABLE {target} IN {mode} MODE NOWAIT")
    except asyncpg.PostgresError as error:
        # Whatever else it says (no such table, no such right), the next flush says better.
        return sqlstate(error) != LOCKED
    finally:
        if not session.connection.is_closed():
            await session.execute("ROLLBACK")
    return True
