"""What a table is like now: its columns, its unique keys, and whether Penstock made it. Reads only; ddl.py
changes.

Penstock marks what it makes with comments: a table, so that names taken from events reach no table of
anyone else's; a unique index, so that it is known which link's primaryKey it carries out.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from server.warehouse.connection import Session
from server.warehouse.copy import CellEncoder, cell_encoder
from server.warehouse.types import ColumnType, fit_check, wire_type

STREAM: Final = "_stream"
UNMAPPED: Final = "_unmapped_data"
RESERVED: Final = frozenset({STREAM, UNMAPPED})

TABLE_MARK: Final = "penstock: event table"
KEY_MARK: Final = "penstock: merge key of link "

_TABLE = """
SELECT c.oid, c.relkind::text AS kind, coalesce(obj_description(c.oid, 'pg_class'), '') AS comment
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
"""
_COLUMNS = """
SELECT a.attname::text AS name, a.atttypmod AS typmod, a.atthasdef OR a.attidentity <> '' AS has_default,
       a.attgenerated <> '' OR a.attidentity = 'a' AS generated,
       pg_catalog.format_type(a.atttypid, NULL) AS sql_type,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text ELSE '' END AS type_name
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_KEYS = """
SELECT ic.relname::text AS index, i.indisprimary AS is_primary,
       coalesce(obj_description(i.indexrelid, 'pg_class'), '') AS comment,
       (SELECT array_agg(a.attname::text ORDER BY k.position)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.position <= i.indnkeyatts) AS columns
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, ic.relname
"""
_CHARACTER_TYPES = ("varchar", "bpchar")
_TYPMOD_HEADER = 4


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an existing table.

    `exact`: the wire type is its type, so COPY can go straight into it. `checked`: it holds less than that.
    """

    name: str
    wire: ColumnType
    exact: bool
    sql_type: str
    encode: CellEncoder
    checked: bool = False
    has_default: bool = False
    generated: bool = False

    @property
    def cast(self) -> str:
        """The SQL behind a staged value; character types are left to assignment, which refuses what is too
        long.
        """
        return "" if self.exact or self.sql_type.startswith("character") else f"::{self.sql_type}"


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A unique index that ON CONFLICT can use. `owner`: the link whose primaryKey it is; "" if Penstock did
    not make it.
    """

    index: str
    columns: tuple[str, ...]
    is_primary: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as last read. Frozen: a change of the table makes a new shape."""

    schema: str
    name: str
    kind: str
    ours: bool
    columns: dict[str, Column]
    keys: tuple[UniqueKey, ...]

    @property
    def partitioned(self) -> bool:
        return self.kind == "p"

    @property
    def loadable(self) -> bool:
        """A table; not a view, a sequence or a foreign table."""
        return self.kind in ("r", "p")


async def read_table(session: Session, schema: str, table: str) -> TableShape | None:
    """The table as it is now, or None."""
    connection = session.connection
    found = await session.step(connection.fetchrow(_TABLE, schema, table))
    if found is None:
        return None
    columns = await session.step(connection.fetch(_COLUMNS, found["oid"]))
    keys = await session.step(connection.fetch(_KEYS, found["oid"]))
    return TableShape(
        schema,
        table,
        found["kind"],
        found["comment"].startswith(TABLE_MARK),
        {record["name"]: _column(record) for record in columns},
        tuple(_key(record) for record in keys),
    )


def _column(record: asyncpg.Record) -> Column:
    type_name = record["type_name"]
    wire, exact = wire_type(type_name)
    chars_max = None
    if type_name in _CHARACTER_TYPES and record["typmod"] >= _TYPMOD_HEADER:
        chars_max = record["typmod"] - _TYPMOD_HEADER
    check = fit_check(type_name, chars_max)
    return Column(
        record["name"],
        wire,
        exact,
        record["sql_type"],
        cell_encoder(wire, check),
        check is not None,
        record["has_default"],
        record["generated"],
    )


def _key(record: asyncpg.Record) -> UniqueKey:
    comment = record["comment"]
    owner = comment.removeprefix(KEY_MARK) if comment.startswith(KEY_MARK) else ""
    return UniqueKey(record["index"], tuple(record["columns"]), record["is_primary"], owner)
