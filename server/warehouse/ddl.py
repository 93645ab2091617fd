"""How a table grows: schema, table, columns, merge key; each change in its own short, idempotent transaction.

Processes that change one table take turns by an advisory lock on its name, look again under the lock, and
do only what is still missing. Existing columns are never altered. A waiting lock gives up after
lock_timeout_s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from server.warehouse.connection import Session
from server.warehouse.errors import Unavailable
from server.warehouse.locks import advisory
from server.warehouse.names import quote, quote_literal
from server.warehouse.schema import KEY_MARK, STREAM, TABLE_MARK, TableShape, UniqueKey, read_table
from server.warehouse.types import ColumnType


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a table must have.

    `key`: columns of a merge key to make, () if none; `owner`: the link that wants it; `indexed`: column to
    index if the table is made now; `trusted`: whether a table that Penstock did not make may be changed.
    """

    schema: str
    table: str
    columns: Mapping[str, ColumnType]
    key: tuple[str, ...] = ()
    owner: str = ""
    indexed: str | None = None
    trusted: bool = True

    @property
    def target(self) -> str:
        return f"{quote(self.schema)}.{quote(self.table)}"


async def make(session: Session, wanted: Wanted) -> TableShape:
    """Bring the table to what is wanted and read it again. Raises asyncpg's errors, or Unavailable."""
    # A little longer than the server's own limit, so that its answer comes first.
    seconds = session.limits.ddl_timeout_s + session.limits.connect_timeout_s
    await session.execute(_begin(wanted, session.limits.ddl_timeout_s))
    before = await read_table(session, wanted.schema, wanted.table)
    if before is not None and not (before.ours or wanted.trusted):
        raise Unavailable(f"table {wanted.target} was made by somebody else at this moment")
    statements = _create(wanted) if before is None else _grow(wanted, before)
    if before is None:
        statements = await _schema(session, wanted.schema) + statements
    if statements:
        await session.execute(";".join(statements), seconds)
    await session.execute("COMMIT")
    after = await read_table(session, wanted.schema, wanted.table)
    if after is None:
        raise Unavailable(f"table {wanted.target} vanished after it was made")
    return after


def _begin(wanted: Wanted, seconds: float) -> str:
    return (
        f"BEGIN; SET LOCAL statement_timeout = {int(seconds * 1000)}; "
        f"SELECT pg_advisory_xact_lock({advisory(wanted.target)})"
    )


async def _schema(session: Session, schema: str) -> list[str]:
    # CREATE SCHEMA IF NOT EXISTS asks for the right to create even if there is nothing to do.
    present = await session.step(
        session.connection.fetchval("SELECT true FROM pg_catalog.pg_namespace WHERE nspname = $1", schema)
    )
    return [] if present else [f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}"]


def _create(wanted: Wanted) -> list[str]:
    columns = [f"{quote(STREAM)} text NOT NULL DEFAULT ''"]
    columns += [f"{quote(name)} {kind.value}" for name, kind in wanted.columns.items() if name != STREAM]
    statements = [
        f"CREATE TABLE {wanted.target} ({', '.join(columns)})",
        f"COMMENT ON TABLE {wanted.target} IS {quote_literal(TABLE_MARK + ', filled by penstock')}",
    ]
    if wanted.indexed is not None:
        statements.append(f"CREATE INDEX ON {wanted.target} ({quote(wanted.indexed)})")
    return statements + (_unique(wanted) if wanted.key else [])


def _grow(wanted: Wanted, shape: TableShape) -> list[str]:
    missing = {name: kind for name, kind in wanted.columns.items() if name not in shape.columns}
    adds = [
        f"ADD COLUMN {quote(name)} text NOT NULL DEFAULT ''"
        if name == STREAM
        else f"ADD COLUMN {quote(name)} {kind.value}"
        for name, kind in missing.items()
    ]
    statements = [f"ALTER TABLE {wanted.target} {', '.join(adds)}"] if adds else []
    if wanted.key and not any(key.columns == wanted.key for key in shape.keys):
        statements += [_drop(wanted, key) for key in shape.keys if key.owner] + _unique(wanted)
    return statements


def _drop(wanted: Wanted, key: UniqueKey) -> str:
    """The key that the same link made for its former primaryKey gives way; another link's does not."""
    if key.owner != wanted.owner:
        raise Unavailable(
            f"table {wanted.target} is merged by ({', '.join(key.columns)}) for link {key.owner}; "
            f"link {wanted.owner} wants ({', '.join(wanted.key)})",
            f"give both links the same primaryKey, use another table, or drop index {quote(key.index)}",
        )
    return f"DROP INDEX {quote(wanted.schema)}.{quote(key.index)}"


def _unique(wanted: Wanted) -> list[str]:
    digest = blake2b(repr((wanted.table, wanted.key)).encode(errors="replace"), digest_size=8).hexdigest()
    index = quote(f"penstock_key_{digest}")
    columns = ", ".join(quote(name) for name in wanted.key)
    return [
        f"CREATE UNIQUE INDEX {index} ON {wanted.target} ({columns})",
        f"COMMENT ON INDEX {quote(wanted.schema)}.{index} IS {quote_literal(KEY_MARK + wanted.owner)}",
    ]
